"""Laws of the losses, then agreement with slow restatements and with lightly's two-view losses."""

import itertools
import subprocess
import sys
from functools import partial

import msgspec
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entia.losses import build, redundancy
from entia.methods import BarlowTwins, Method, SimCLR, SpectralContrastive, VICReg

TWINS = [
    BarlowTwins(weight=0.02, form=form, l2_normalise=l2, standardise=over)  # pyright: ignore[reportArgumentType]
    for form, l2, over in itertools.product(("pairs", "view_mean", "as_run"), (False, True), ("per_view", "joint"))
]
VICREGS = [VICReg(form=form, epsilon=epsilon) for form in ("pairs", "leave_one_out") for epsilon in (1e-4, 0.0)]
SIMCLRS = [SimCLR(temperature=t, form=form) for form in ("pairs", "leave_one_out") for t in (0.5, 0.05)]
METHODS: list[Method] = [*TWINS, *VICREGS, *SIMCLRS, SpectralContrastive(weight=0.7)]
WEIGHTS = {
    BarlowTwins: {"redundancy": "weight"},
    VICReg: {"invariance": "invariance", "variance": "variance", "covariance": "covariance"},
    SpectralContrastive: {"redundancy": "weight"},
}
WIDE, NARROW = (5, 13), (13, 5)
"""Batch and dim: more features than images, and fewer. The losses take different routes for them."""


def ids(config: object) -> str:
    return repr(config) if isinstance(config, msgspec.Struct) else str(config)


every_method = pytest.mark.parametrize("config", METHODS, ids=ids)
both_shapes = pytest.mark.parametrize("shape", [WIDE, NARROW], ids=["wide", "narrow"])


def draw(views: int, batch: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Views that share a part, off centre, features on different scales, none with standard deviation above 1."""
    generator = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=generator, dtype=torch.float64)
    scale = torch.linspace(0.2, 0.6, dim, dtype=torch.float64)
    return (scale * (randn(batch, dim) + 0.7 * randn(views, batch, dim)) + 0.3).to(dtype)


def total(config: Method, z: Tensor) -> Tensor:
    return torch.stack(list(build(config)(z).values())).sum()


def gradient(config: Method, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(total(config, z), z)[0]


def close(left: Tensor, right: Tensor, tolerance: float) -> None:
    """Relative to the largest entry."""
    torch.testing.assert_close(left, right, rtol=0, atol=tolerance * float(right.detach().abs().max()))


# Laws


@every_method
@both_shapes
@pytest.mark.parametrize("views", [2, 3, 5])
def test_loss_ignores_the_order_of_views_and_of_images(config: Method, shape: tuple[int, int], views: int) -> None:
    z = draw(views, *shape)
    generator = torch.Generator().manual_seed(1)
    there = torch.randperm(views, generator=generator)
    images = torch.randperm(shape[0], generator=generator)
    close(total(config, z[there][:, images]), total(config, z), 1e-10)
    close(gradient(config, z[there][:, images]), gradient(config, z)[there][:, images], 1e-10)


@every_method
@both_shapes
@pytest.mark.parametrize("views", [2, 3])
def test_gradient_is_that_of_finite_differences(config: Method, shape: tuple[int, int], views: int) -> None:
    z = draw(views, *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: tuple(build(config)(z).values()), z, fast_mode=True)


@every_method
@both_shapes
@pytest.mark.parametrize("views", [2, 4])
def test_float32_agrees_with_float64(config: Method, shape: tuple[int, int], views: int) -> None:
    z = draw(views, *shape, dtype=torch.float32)
    assert total(config, z).dtype == torch.float32
    assert total(config, z.double()).dtype == torch.float64
    close(total(config, z).double(), total(config, z.double()), 1e-5)
    close(gradient(config, z).double(), gradient(config, z.double()), 2e-5)


@every_method
def test_loss_is_float32_under_autocast(config: Method) -> None:
    z = draw(3, 8, 32).bfloat16()
    wide = z.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow_loss, loss = total(config, z), total(config, wide)
    assert narrow_loss.dtype == torch.float32
    expected = total(config, z.float())
    close(narrow_loss, expected, 1e-7)
    close(loss, expected, 1e-7)
    close(torch.autograd.grad(loss, wide)[0], gradient(config, z.float()), 1e-7)


COMPILE = """
import sys, msgspec, torch
from entia.methods import Method
from entia.losses import build
torch.set_num_threads(1)
def run(loss, z):
    loss = torch.stack(list(loss(z).values())).sum()
    return torch.stack((loss, *torch.autograd.grad(loss, z)[0].flatten()))
for config, shape in msgspec.json.decode(sys.argv[1], type=list[tuple[Method, tuple[int, int, int]]]):
    z = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(build(config), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(run(compiled, z), run(build(config), z), rtol=1e-10, atol=1e-12)
"""


def test_compiled_losses_are_the_same_in_one_graph() -> None:
    """In another process: the shape checks under pytest cannot be traced."""
    cases = [(TWINS[0], (3, *NARROW)), *((config, (3, *WIDE)) for config in (TWINS[0], VICREGS[2], SIMCLRS[2]))]
    command = [sys.executable, "-c", COMPILE, msgspec.json.encode(cases).decode()]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize(
    ("config", "term"),
    [(config, term) for config in METHODS for term in WEIGHTS.get(type(config), {})],
    ids=ids,
)
@both_shapes
def test_doubling_a_weight_doubles_its_term_alone(config: Method, term: str, shape: tuple[int, int]) -> None:
    field, z = WEIGHTS[type(config)][term], draw(3, *shape)
    once = build(config)(z)
    twice = build(msgspec.structs.replace(config, **{field: 2 * getattr(config, field)}))(z)
    assert float(once[term].abs()) > 0
    assert twice == {**once, term: 2 * once[term]}


@every_method
@both_shapes
def test_collapse_has_a_finite_gradient(config: Method, shape: tuple[int, int]) -> None:
    batch, dim = shape
    for row in (torch.zeros(dim), torch.linspace(-1, 2, dim)):
        slope = gradient(config, row.expand(3, batch, dim))
        assert slope.isfinite().all()


@pytest.mark.parametrize("config", [c for c in TWINS if not c.l2_normalise and c.form != "pairs"][:1], ids=ids)
def test_barlow_twins_of_a_collapsed_batch_is_the_number_of_features(config: BarlowTwins) -> None:
    for form in ("pairs", "view_mean", "as_run"):
        for over in ("per_view", "joint"):
            collapsed = torch.full((3, 6, 7), 0.25, dtype=torch.float64)
            terms = build(msgspec.structs.replace(config, form=form, standardise=over))(collapsed)
            assert {key: float(value) for key, value in terms.items()} == {"invariance": 7, "redundancy": 0}


@pytest.mark.parametrize("form", ["pairs", "leave_one_out"])
def test_other_losses_of_a_collapsed_batch_have_their_known_values(form: str) -> None:
    z = torch.full((3, 6, 7), 0.25, dtype=torch.float64)
    vicreg = build(VICReg(form=form, epsilon=0.01))(z)  # pyright: ignore[reportArgumentType]
    assert {k: pytest.approx(float(v)) for k, v in vicreg.items()} == {
        "invariance": 0,
        "variance": 25 * 0.9,
        "covariance": 0,
    }
    simclr = build(SimCLR(form=form))(z)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(simclr["contrast"], torch.tensor(11.0, dtype=z.dtype).log())
    spectral = build(SpectralContrastive(weight=1.0))(z)
    length = 7 * 0.25**2
    assert float(spectral["redundancy"]) == pytest.approx((length - 1) ** 2 + 6)


@pytest.mark.parametrize("config", [c for c in METHODS if not isinstance(c, SimCLR)], ids=ids)
@both_shapes
def test_identical_views_have_no_invariance_cost(config: Method, shape: tuple[int, int]) -> None:
    z = draw(1, *shape).expand(4, *shape)
    if isinstance(config, BarlowTwins):
        z = 100 * z  # the batch norm's epsilon, against the variance
    # joint standardisation is unbiased: a correlation with itself is 1 - 1/rows.
    joint = isinstance(config, BarlowTwins) and config.standardise == "joint"
    expected = shape[1] / (4 * shape[0]) ** 2 if joint else 0.0
    assert float(build(config)(z)["invariance"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("config", [BarlowTwins(weight=1.0, form=form) for form in ("pairs", "view_mean")], ids=ids)
@pytest.mark.parametrize("images", [4, 8])
def test_decorrelated_features_have_no_redundancy(config: BarlowTwins, images: int) -> None:
    z = walsh(images)[:, 1:].expand(3, -1, -1)
    assert float(build(config)(z)["redundancy"]) == pytest.approx(0, abs=1e-9)
    assert float(build(VICReg(form="pairs"))(z)["covariance"]) == pytest.approx(0, abs=1e-9)
    assert float(build(VICReg())(z)["variance"]) == 0
    assert float(build(SpectralContrastive(weight=1.0))(walsh(images).expand(3, -1, -1))["redundancy"]) < 1e-9


def walsh(size: int) -> Tensor:
    """Columns of ±1, orthogonal; all but the first have mean 0."""
    h = torch.ones(1, 1, dtype=torch.float64)
    while len(h) < size:
        h = torch.cat((torch.cat((h, h)), torch.cat((h, -h))), dim=1)
    return h


@both_shapes
@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.5, 20), shift=st.floats(-5, 5))
def test_barlow_twins_ignores_each_features_scale_and_shift(shape: tuple[int, int], scale: float, shift: float) -> None:
    z = 100 * draw(3, *shape)
    moved = z * torch.linspace(scale, 3, shape[1], dtype=z.dtype) + shift
    for config in TWINS:
        if not config.l2_normalise:
            close(total(config, moved), total(config, z), 1e-6)


@both_shapes
@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.1, 10))
def test_losses_of_unit_vectors_ignore_each_rows_length(shape: tuple[int, int], scale: float) -> None:
    z = draw(3, *shape)
    stretched = z * torch.linspace(scale, 1, shape[0], dtype=z.dtype)[:, None]
    for config in (*SIMCLRS, *(c for c in TWINS if c.l2_normalise)):
        close(total(config, stretched), total(config, z), 1e-9)


@pytest.mark.parametrize("form", ["pairs", "leave_one_out"])
@both_shapes
def test_vicreg_terms_scale_as_their_degree(form: str, shape: tuple[int, int]) -> None:
    z = draw(3, *shape)
    once, twice = (build(VICReg(form=form))(k * z + k - 1) for k in (1, 2))  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(twice["invariance"], 4 * once["invariance"])
    torch.testing.assert_close(twice["covariance"], 16 * once["covariance"])


@both_shapes
def test_rotating_features_leaves_similarities_and_second_moments_alone(shape: tuple[int, int]) -> None:
    z = draw(3, *shape)
    rotation, _ = torch.linalg.qr(draw(1, shape[1], shape[1], seed=2)[0])
    for config in (*SIMCLRS, SpectralContrastive(weight=0.7)):
        close(total(config, z @ rotation), total(config, z), 1e-10)


BY_MEANS = [config for config in TWINS if config.form != "pairs"]
"""At three views and more: of the views' mean alone, which copies leave as it is."""


@pytest.mark.parametrize("config", [*BY_MEANS, *VICREGS, SpectralContrastive(weight=0.7)], ids=ids)
def test_a_repeated_set_of_views_keeps_what_is_of_single_views_and_of_their_mean(config: Method) -> None:
    z = draw(3, 8, 5)
    once, twice = build(config)(z), build(config)(z.repeat(2, 1, 1))
    if isinstance(config, VICReg):
        # pairs: 3 of 3 views, and of 6 twelve that differ among 15. The others' mean: V / (V - 1) times as far as all's.
        far = 4 / 5 if config.form == "pairs" else (6 / 5) ** 2 / (3 / 2) ** 2
        torch.testing.assert_close(twice.pop("invariance"), once.pop("invariance") * far)
    if isinstance(config, VICReg) and config.form == "leave_one_out":
        return  # the means of the others are other rows: their spread is the slow restatement's to say
    # joint: the unbiased deviation is over 48 rows and not 24
    tolerance = 0.1 if isinstance(config, BarlowTwins) and config.standardise == "joint" else 1e-9
    torch.testing.assert_close(twice, once, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("config", [config for config in TWINS if config.form == "pairs"], ids=ids)
@pytest.mark.parametrize("views", [2, 3])
def test_pairs_of_repeated_views_are_the_pairs_once_and_each_view_with_itself(config: Method, views: int) -> None:
    """Among the pairs of 2 V views each two views meet four times, and each meets itself once."""
    z = draw(views, 8, 5)
    config = msgspec.structs.replace(config, standardise="per_view")
    once, twice = total(config, z), total(config, z.repeat(2, 1, 1))
    own = torch.stack([total(config, torch.stack((view, view))) for view in z]).sum()
    pairs = views * (views - 1) / 2
    torch.testing.assert_close(twice, (4 * pairs * once + own) / (views * (2 * views - 1)))


@pytest.mark.parametrize("temperature", [0.5, 0.05])
def test_simclrs_pairs_of_repeated_views_are_the_pairs_once_and_each_view_with_itself(temperature: float) -> None:
    z, config = draw(3, 8, 5), SimCLR(temperature=temperature)
    own = torch.stack([total(config, torch.stack((view, view))) for view in z]).sum()
    torch.testing.assert_close(total(config, z.repeat(2, 1, 1)), (12 * total(config, z) + own) / 15)


# Two routes to one value


@pytest.mark.parametrize("views", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(4, 3), (16, 64), (64, 16), (32, 32)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_grams_of_images_and_of_features_give_the_same_terms(
    views: int, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    z = draw(views, *shape, dtype=dtype).requires_grad_()
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    results = [
        form(redundancy._standardise(z, "per_view")) for form in (redundancy._by_images, redundancy._by_features)
    ]
    for images, features in zip(*results, strict=True):
        close(images, features, tolerance)
    slopes = [torch.autograd.grad(3 * on + off, z)[0] for on, off in results]
    close(*slopes, tolerance * 5)


# Agreement with slow restatements


def slow(config: Method, z: Tensor) -> Tensor:
    match config:
        case BarlowTwins():
            x = reference.unit(z) * z.shape[-1] ** 0.5 if config.l2_normalise else z
            joint = config.standardise == "joint"
            x = reference.standardise_jointly(x) if joint else reference.standardise_each(x)
            if config.form == "pairs" or (config.form != "view_mean" and len(z) == 2):
                return reference.mean_over_pairs(partial(reference.barlow_twins_pair, weight=config.weight), x)
            return reference.barlow_twins_view_mean(x, config.weight)
        case VICReg():
            weights = config.invariance, config.variance, config.covariance
            pair = partial(reference.vicreg_pair, weights=weights, epsilon=config.epsilon)
            return (reference.mean_over_pairs if config.form == "pairs" else reference.leave_one_out)(pair, z)
        case SimCLR():
            pair = partial(reference.nt_xent_pair, temperature=config.temperature)
            over = reference.mean_over_pairs if config.form == "pairs" else reference.leave_one_out
            return over(pair, reference.unit(z))
        case SpectralContrastive():
            return reference.reformulated(z, config.weight)


@every_method
@both_shapes
@pytest.mark.parametrize("views", [2, 3, 4, 8])
def test_loss_and_gradient_are_the_slow_restatements(config: Method, shape: tuple[int, int], views: int) -> None:
    z = draw(views, *shape).requires_grad_()
    expected = slow(config, z)
    close(total(config, z), expected, 1e-10)
    close(gradient(config, z.detach()), torch.autograd.grad(expected, z)[0], 1e-9)


def test_view_mean_at_two_views_is_another_loss_than_pairs() -> None:
    z = draw(2, 16, 8)
    pairs, mean, run = (total(c, z) for c in (TWINS[0], TWINS[4], TWINS[8]))
    assert (TWINS[4].form, TWINS[8].form) == ("view_mean", "as_run")
    assert float(run) == float(pairs)
    assert abs(float(mean / pairs) - 1) > 0.1


# Agreement with published losses


@pytest.mark.parametrize("views", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("shape", [(32, 8), (32, 80), (16, 256)], ids=str)
@pytest.mark.parametrize(
    ("config", "name", "options"),
    [
        (BarlowTwins(weight=0.005), "BarlowTwinsLoss", {"lambda_param": 0.005}),
        (VICReg(), "VICRegLoss", {}),
        (
            VICReg(invariance=3.0, variance=2.0, covariance=0.5, epsilon=0.01),
            "VICRegLoss",
            {"lambda_param": 3, "mu_param": 2, "nu_param": 0.5, "eps": 0.01},
        ),
        (SimCLR(temperature=0.5), "NTXentLoss", {"temperature": 0.5}),
        (SimCLR(temperature=0.1), "NTXentLoss", {"temperature": 0.1}),
    ],
    ids=ids,
)
def test_loss_is_the_mean_over_pairs_of_the_published_one(
    config: Method, name: str, options: dict[str, float], shape: tuple[int, int], views: int
) -> None:
    from lightly import loss  # here: it takes seconds, and each worker reads every file

    z = draw(views, *shape, dtype=torch.float32).requires_grad_()
    expected = reference.mean_over_pairs(getattr(loss, name)(**options), z)
    close(total(config, z), expected, 1e-5)
    close(gradient(config, z.detach()), torch.autograd.grad(expected, z)[0], 1e-5)


@pytest.mark.parametrize("views", [2, 3, 5])
@both_shapes
def test_spectral_contrastive_is_the_published_loss_up_to_its_factors(views: int, shape: tuple[int, int]) -> None:
    """Positives over view pairs, negatives between view means: L = 2/(views - 1) invariance + redundancy/β - dim."""
    z = draw(views, *shape)
    terms = build(SpectralContrastive(weight=0.7))(z)
    ours = 2 / (views - 1) * terms["invariance"] + terms["redundancy"] / 0.7 - shape[1]
    pairs = list(itertools.combinations(z, 2))
    torch.testing.assert_close(ours, reference.spectral_contrastive(pairs, negatives=z.mean(0)))


@both_shapes
def test_spectral_contrastive_of_one_sided_pairs_is_the_published_loss_less_a_constant(shape: tuple[int, int]) -> None:
    """Both sides of a pair are one view: no factor is left, and the negatives are the published ones."""
    z = draw(1, *shape).expand(2, -1, -1)
    ours = total(SpectralContrastive(weight=1.0), z) - shape[1]
    torch.testing.assert_close(ours, reference.spectral_contrastive([(z[0], z[1])], negatives=z[0]))
