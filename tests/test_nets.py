"""Encoders are torchvision's or timm's where they claim to be, and weights depend on nothing but the config and the seed."""

import subprocess
import sys
from types import ModuleType

import pytest
import reference
import torch
from torch import Tensor, nn

from entia import config, fields, nets

NARROW = config.Encoder(name="narrow_resnet", width=4)
MIXER = config.Encoder(name="mlp_mixer_8", stem="imagenet")
SMALL = config.Projector(width=8)


@pytest.fixture(scope="module")
def models() -> ModuleType:
    import torchvision.models

    return torchvision.models


def images(count: int, channels: int, side: int) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1))


def encode(net: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(pixels)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def on_meta(encoder: config.Encoder, projector: config.Projector, channels: int, side: int) -> nets.Model:
    """Shapes without numbers, so that wide nets cost nothing."""
    with torch.device("meta"):
        return nets.build(encoder, projector, channels, side, seed=0)


# Seeds.


@pytest.mark.parametrize("encoder", [NARROW, config.Encoder(name="resnet18"), MIXER])
def test_weights_depend_on_the_seed_and_not_on_the_global_state(encoder: config.Encoder) -> None:
    one = nets.build(encoder, SMALL, 3, 32, seed=7)
    torch.rand(3)
    assert same(one, nets.build(encoder, SMALL, 3, 32, seed=7))
    assert not same(one, nets.build(encoder, SMALL, 3, 32, seed=8))


def test_building_leaves_the_global_random_states_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def reseeded(seed: int) -> None:
        raise AssertionError("the GPUs' random states were changed")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded)
    before = torch.get_rng_state()
    nets.build(NARROW, SMALL, 3, 32, seed=7)
    assert torch.equal(before, torch.get_rng_state())


def test_an_encoder_starts_the_same_under_any_projector() -> None:
    built = [
        nets.build(NARROW, config.Projector(width=width, depth=depth), 3, 32, 0) for width, depth in ((8, 2), (64, 3))
    ]
    assert same(built[0].encoder, built[1].encoder)


# Encoders.


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_a_resnet_has_the_published_width_and_number_of_weights(name: str, models: ModuleType) -> None:
    published = models.get_model_weights(name).IMAGENET1K_V1.meta
    model = on_meta(config.Encoder(name=name, stem="imagenet"), SMALL, 3, 64)  # pyright: ignore[reportArgumentType]
    assert model.features == (512 if name in ("resnet18", "resnet34") else 2048)
    classifier = (model.features + 1) * len(published["categories"])
    assert reference.parameters_count(model.encoder) == published["num_params"] - classifier
    assert model(torch.empty(2, 3, 64, 64, device="meta"))[0].shape == (2, model.features)


def test_resnet18_with_the_imagenet_stem_is_torchvisions(models: ModuleType) -> None:
    published = models.resnet18().eval()
    model = nets.build(config.Encoder(name="resnet18", stem="imagenet"), SMALL, 3, 64, 0)
    weights = {name: value for name, value in published.state_dict().items() if not name.startswith("fc.")}
    model.encoder.load_state_dict(weights)
    pixels = images(2, 3, 64)
    torch.testing.assert_close(published.fc(encode(model.encoder, pixels)), encode(published, pixels))


def test_narrow_resnet_at_width_64_is_torchvisions_resnet_of_one_block_a_stage(models: ModuleType) -> None:
    reference = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
    reference.conv1, reference.maxpool, reference.fc = (
        nn.Conv2d(3, 64, 3, 1, 1, bias=False),
        nn.Identity(),
        nn.Identity(),
    )
    reference.train()(images(4, 3, 16))  # so that running statistics are not 0 and 1
    net = nets.build(config.Encoder(name="narrow_resnet"), SMALL, 3, 16, 0).encoder
    theirs = reference.state_dict().values()
    net.load_state_dict(dict(zip(net.state_dict(), theirs, strict=True)))
    torch.testing.assert_close(encode(net, images(2, 3, 16)), encode(reference, images(2, 3, 16)))


@pytest.mark.parametrize("width", [2, 16])
def test_narrow_resnet_is_eight_widths_wide(width: int) -> None:
    model = nets.build(config.Encoder(name="narrow_resnet", width=width), SMALL, 1, 28, 0)
    assert model.features == 8 * width == encode(model.encoder, images(2, 1, 28)).shape[1]


@pytest.mark.parametrize(
    ("stem", "padding", "channels", "side"),
    [("small", 1, 3, 32), ("small", 1, 1, 32), ("small", 0, 3, 30), ("small", 2, 3, 34), ("imagenet", 1, 1, 8)],
)
def test_the_stem_hands_on_maps_of_its_size(stem: str, padding: int, channels: int, side: int) -> None:
    encoder = config.Encoder(name="resnet18", stem=stem, stem_padding=padding)  # pyright: ignore[reportArgumentType]
    net, seen = on_meta(encoder, SMALL, channels, 32).encoder, []
    net.get_submodule("layer1").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    net(torch.empty(2, channels, 32, 32, device="meta"))
    assert seen == [(2, 64, side, side)]


def test_the_narrow_stem_is_padded_as_asked() -> None:
    net = nets.build(config.Encoder(name="narrow_resnet", width=4, stem_padding=0), SMALL, 1, 28, 0).encoder
    assert net.get_submodule("0")(images(1, 1, 28)).shape == (1, 4, 26, 26)


@pytest.mark.parametrize("name", ["narrow_resnet", "resnet18"])
def test_without_the_stems_relu_the_blocks_keep_theirs(name: str) -> None:
    first, pool = ("3", "7") if name == "narrow_resnet" else ("layer1", "avgpool")
    seen: dict[tuple[bool, str], Tensor] = {}
    for relu in (True, False):
        encoder = config.Encoder(name=name, stem_relu=relu)  # pyright: ignore[reportArgumentType]
        net = nets.build(encoder, SMALL, 3, 16, 0).encoder
        for part in (first, pool):
            net.get_submodule(part).register_forward_pre_hook(
                lambda _, inputs, key=(relu, part): seen.update({key: inputs[0].clone()})
            )
        encode(net, images(2, 3, 16))
    torch.testing.assert_close(seen[True, first], seen[False, first].relu())
    assert seen[False, first].min() < 0
    assert seen[True, pool].min() >= 0 and seen[False, pool].min() >= 0
    assert not torch.equal(seen[True, pool], seen[False, pool])


@pytest.mark.parametrize("name", ["narrow_resnet", "resnet18"])
def test_convolutions_start_with_variance_two_over_fan_out(name: str) -> None:
    encoder = config.Encoder(name=name)  # pyright: ignore[reportArgumentType]
    for module in nets.build(encoder, SMALL, 1, 28, 0).encoder.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.weight[0, 0].numel()
            spread = (2 / module.weight.numel()) ** 0.5  # standard error of a normal sample's variance, relative
            assert abs(module.weight.var().item() * fan_out / 2 - 1) < 5 * spread


def test_every_weight_gets_a_gradient() -> None:
    model = nets.build(NARROW, SMALL, 3, 16, 0)
    model(images(8, 3, 16))[1].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_memory_format_does_not_change_the_embedding() -> None:
    model = nets.build(NARROW, SMALL, 3, 16, 0)
    before = encode(model.encoder, images(4, 3, 16))
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    after = encode(model.encoder, images(4, 3, 16).to(memory_format=torch.channels_last))
    torch.testing.assert_close(before, after)


def test_a_datums_embedding_depends_on_its_batch_in_training_alone() -> None:
    model = nets.build(NARROW, SMALL, 3, 16, 0)
    pixels = images(8, 3, 16)
    assert not torch.allclose(model(pixels)[0][:4], model(pixels[:4])[0])
    model.eval()
    torch.testing.assert_close(model(pixels)[0][:4], model(pixels[:4])[0])


def test_bfloat16_autocast_gives_about_the_same_projection() -> None:
    model = nets.build(NARROW, SMALL, 3, 16, 0).eval()
    expected = model(images(4, 3, 16))[1]
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images(4, 3, 16))[1]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1 * expected.abs().max().item())


OTHERS = {
    "wide_resnet50_2": 2048, "resnext50_32x4d": 2048, "densenet121": 1024, "convnext_tiny": 768, "convnext_small": 768,
    "convnext_base": 1024, "swin_t": 768, "swin_s": 768, "vit_b_16": 768, "alexnet": 4096,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_an_encoder_is_torchvisions_without_its_last_linear_layer(name: str, models: ModuleType) -> None:
    published = models.get_model_weights(name).IMAGENET1K_V1.meta
    model = on_meta(config.Encoder(name=name, stem="imagenet"), SMALL, 3, 224)  # pyright: ignore[reportArgumentType]
    assert model.features == OTHERS[name]
    assert reference.parameters_count(model.encoder) == published["num_params"] - 1000 * (OTHERS[name] + 1)
    assert model(torch.empty(2, 3, 224, 224, device="meta"))[0].shape == (2, OTHERS[name])


def test_an_encoder_hands_on_what_torchvisions_classifier_takes(models: ModuleType) -> None:
    published = models.densenet121().eval()
    model = nets.build(config.Encoder(name="densenet121", stem="imagenet"), SMALL, 3, 32, 0)
    weights = {name: value for name, value in published.state_dict().items() if not name.startswith("classifier.")}
    model.encoder.load_state_dict(weights)
    pixels = images(2, 3, 32)
    torch.testing.assert_close(published.classifier(encode(model.encoder, pixels)), encode(published, pixels))


def mixer_parameters(depth: int, patch: int, patches: int, channels: int) -> int:
    """By 2105.01601, 512 wide: linear layers with biases, and two layer-norms a block and one at the end."""
    embedding = channels * patch**2 * 512 + 512
    over_patches = 2 * patches * 256 + 256 + patches
    over_channels = 2 * 512 * 2048 + 2048 + 512
    return embedding + depth * (over_patches + over_channels + 4 * 512) + 2 * 512


@pytest.mark.parametrize("depth", [8, 12])
@pytest.mark.parametrize(
    ("side", "channels", "patch", "patches"), [(28, 1, 4, 49), (32, 3, 4, 64), (64, 3, 4, 256), (224, 3, 14, 256)]
)
def test_a_mixer_has_its_depth_and_at_most_256_patches(
    depth: int, side: int, channels: int, patch: int, patches: int
) -> None:
    encoder = config.Encoder(name=f"mlp_mixer_{depth}", stem="imagenet")  # pyright: ignore[reportArgumentType]
    model = on_meta(encoder, SMALL, channels, side)
    assert model.features == 512
    assert reference.parameters_count(model.encoder) == mixer_parameters(depth, patch, patches, channels)
    assert model(torch.empty(2, channels, side, side, device="meta"))[0].shape == (2, 512)


def test_a_mixer_mixes_patches_and_channels_and_hands_on_the_mean_over_patches() -> None:
    net = nets.build(MIXER, SMALL, 3, 16, 0).encoder
    kept = {name: value for name, value in net.named_parameters()}

    def mlp(x: Tensor, at: str) -> Tensor:
        x = nn.functional.gelu(x @ kept[f"{at}.fc1.weight"].T + kept[f"{at}.fc1.bias"])
        return x @ kept[f"{at}.fc2.weight"].T + kept[f"{at}.fc2.bias"]

    def norm(x: Tensor, at: str) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
        return x * kept[f"{at}.weight"] + kept[f"{at}.bias"]

    pixels = images(2, 3, 16)
    patches = pixels.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 16, 48)
    x = patches @ kept["stem.proj.weight"].flatten(1).T + kept["stem.proj.bias"]
    for block in range(8):
        x = x + mlp(norm(x, f"blocks.{block}.norm1").mT, f"blocks.{block}.mlp_tokens").mT
        x = x + mlp(norm(x, f"blocks.{block}.norm2"), f"blocks.{block}.mlp_channels")
    torch.testing.assert_close(encode(net, pixels), norm(x, "norm").mean(1), rtol=1e-4, atol=1e-4)


def test_libraries_that_an_encoder_does_not_come_from_are_not_imported() -> None:
    script = """
import sys
from entia import config, nets
nets.build(config.Encoder(name="narrow_resnet", width=2), config.Projector(width=2), 3, 16, 0)
print(sorted({"torchvision", "timm"} & set(sys.modules)))
nets.build(config.Encoder(name="resnet18"), config.Projector(width=2), 3, 16, 0)
print(sorted({"torchvision", "timm"} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == ["[]", "['torchvision']"]


@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnext50_32x4d"])
def test_the_wide_and_split_resnets_have_the_small_stem_too(name: str) -> None:
    encoder = config.Encoder(name=name, stem_padding=2)  # pyright: ignore[reportArgumentType]
    net, seen = on_meta(encoder, SMALL, 3, 32).encoder, []
    net.get_submodule("layer1").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    net(torch.empty(2, 3, 32, 32, device="meta"))
    assert seen == [(2, 64, 34, 34)]


def test_a_layer_depends_on_its_seed_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    one, again, other = (nets.linear(5, 3, seed) for seed in (1, 1, 2))
    assert same(one, again) and not same(one, other) and torch.equal(before, torch.get_rng_state())
    assert len({nets.stream(seed, number) for seed in range(10) for number in range(10)}) == 100


@pytest.mark.parametrize("batch_norm", ["joint", "per_view"])
def test_views_are_projected_as_batches_or_one_by_one(batch_norm: str) -> None:
    model, views = nets.build(NARROW, SMALL, 3, 16, 0), images(12, 3, 16).unflatten(0, (3, 4))
    found = nets.project(model, views, batch_norm, "float32")
    expected = [model(views.flatten(0, 1))] if batch_norm == "joint" else [model(view) for view in views]
    for ours, parts in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(ours.flatten(0, 1), torch.cat(parts))


# Projectors.


@pytest.mark.parametrize("width", [8, 64, 8192])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_projector_has_depth_linear_layers_of_one_width(width: int, depth: int) -> None:
    model = on_meta(NARROW, config.Projector(width=width, depth=depth), 3, 16)
    hidden = depth - 1
    count = 32 * width + hidden * width * width + hidden * 2 * width + width  # weights, batch-norms, the last bias
    assert reference.parameters_count(model.projector) == count
    assert model(torch.empty(5, 3, 16, 16, device="meta"))[1].shape == (5, width)


def test_a_projector_is_linear_batch_norm_relu_linear() -> None:
    model = nets.build(NARROW, SMALL, 3, 16, 0)
    embedding = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    first, last = (layer for layer in model.projector.modules() if isinstance(layer, nn.Linear))
    hidden = embedding @ first.weight.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    expected = hidden.clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(model.projector(embedding), expected)


def test_without_a_projector_the_loss_sees_the_embedding() -> None:
    embedding, projection = nets.build(NARROW, config.Projector(depth=0), 3, 16, 0)(images(4, 3, 16))
    assert torch.equal(embedding, projection)


# Refusals.


@pytest.mark.parametrize(
    ("encoder", "side", "message"),
    [
        (config.Encoder(name="resnet18", width=32), 32, "width: resnet18 .* not 32"),
        (config.Encoder(name="narrow_resnet", stem="imagenet"), 64, "stem: narrow_resnet"),
        (config.Encoder(name="resnet18", stem="imagenet", stem_padding=0), 64, "stem_padding: 0"),
        (config.Encoder(name="resnet18", stem="imagenet"), 28, "side: 28 .* stride of 32"),
        (config.Encoder(name="vit_b_16"), 224, "stem: vit_b_16 .* write stem: imagenet"),
        (config.Encoder(name="vit_b_16", stem="imagenet"), 64, "side: vit_b_16 takes 224 pixels a side, not 64"),
        (config.Encoder(name="swin_t", stem="imagenet"), 32, "side: swin_t takes 224 pixels"),
        (config.Encoder(name="alexnet", stem="imagenet"), 32, "side: 32 .* fewer than the 64 of alexnet"),
        (config.Encoder(name="densenet121", stem="imagenet", stem_relu=False), 64, "stem_padding, stem_relu"),
        (config.Encoder(name="swin_t", stem="imagenet", width=32), 224, "width: swin_t .* not 32"),
        (config.Encoder(name="mlp_mixer_8"), 32, "stem: mlp_mixer_8 .* write stem: imagenet"),
        (MIXER, 30, "side: 30 .* patches of 4; set augmentation.size: 28"),
        (MIXER, 100, "side: 100 .* patches of 6; set augmentation.size: 96"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(encoder: config.Encoder, side: int, message: str) -> None:
    with pytest.raises(fields.Problem, match=message):
        nets.build(encoder, SMALL, 3, side, 0)


def test_grey_images_are_refused_where_torchvisions_stem_is_kept() -> None:
    with pytest.raises(fields.Problem, match="swin_t takes images of 3 channels, not 1; take a ResNet"):
        nets.build(config.Encoder(name="swin_t", stem="imagenet"), SMALL, 1, 224, 0)
