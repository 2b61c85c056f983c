"""Encoders and projectors.

`narrow_resnet` and `strided_resnet` are ours, since none of torchvision's trains in seconds on one core. torchvision,
which has all others but the Mixers, and timm, which has those, take seconds to import and are imported only by them.
Encoders are told apart by `case`, not by tables, so that a stage's code fingerprint holds its own encoder alone.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from entia import config, fields
from entia.planning import feasible


class Model(nn.Module):
    """An encoder and a projector on top of it. `features` is the embedding's width."""

    def __init__(self, encoder: nn.Module, projector: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.features = features

    def forward(
        self, pixels: Float[Tensor, "batch channel height width"]
    ) -> tuple[Float[Tensor, "batch feature"], Float[Tensor, "batch dim"]]:
        """The embedding, and its projection that the loss sees."""
        embedding = self.encoder(pixels)
        return embedding, self.projector(embedding)


def project(
    model: Model, views: Float[Tensor, "views batch channel side side"], batch_norm: str, precision: str
) -> tuple[Float[Tensor, "views batch feature"], Float[Tensor, "views batch dim"]]:
    """Embeddings and projections of all views, by `config.Pretrain.batch_norm` and `.precision`."""
    low = precision == "bfloat16"
    with torch.autocast(views.device.type, torch.bfloat16) if low else nullcontext():
        if batch_norm == "per_view":
            passed = [model(view.contiguous(memory_format=torch.channels_last)) for view in views]
            embedding, z = (torch.stack(parts) for parts in zip(*passed, strict=True))
            return embedding, z
        embedding, z = model(views.flatten(0, 1).contiguous(memory_format=torch.channels_last))
    return embedding.unflatten(0, views.shape[:2]), z.unflatten(0, views.shape[:2])


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut: the basic block of ResNet-18 (1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.stride, self.shortcut = stride, nn.Sequential()
        if inputs != outputs or stride != 1:
            self.shortcut.extend((nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)))

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs newheight newwidth"]:
        """Maps, smaller by the stride."""
        # a strided 1 × 1 convolution, its pixels picked first: oneDNN's own gradient, for fewer than eight channels on
        # AVX2, writes past its buffer (PyTorch 2.15: the heap is corrupted)
        kept = F.max_pool2d(x, 1, self.stride) if self.stride > 1 else x
        return torch.relu_(self.residual(x) + self.shortcut(kept))


def build(encoder: config.Encoder, projector: config.Projector, channels: int, side: int, seed: int) -> Model:
    """The model, on the default device, for `channels` × `side` × `side` images; its weights depend on nothing else.

    The encoder's initial weights do not depend on the projector. The global random state is neither used nor changed.

    Raises: Problem, where the encoder's fields do not go together or the images are too small for it.
    """
    for mistake in feasible.network(encoder, channels, side):
        raise fields.Problem(mistake)
    with seeded(seed):
        net = _encoder(encoder, channels, side)
        features = channels * encoder.width**2 if encoder.name == "pixels" else config.features(encoder)
        return Model(net, _projector(projector, features), features)


def recompute(encoder: nn.Module) -> None:
    """From now on each block of `encoder` keeps its input alone for the backward pass, which computes the rest again.

    The numbers are the same: batch statistics are of the same batch again, and the running ones are updated once.
    """
    for block in blocks(encoder):
        again = partial(_recomputing, [part for part in block.modules() if isinstance(part, _BatchNorm)])
        # on the object, where a module around it would change the weights' names
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=again)


def blocks(encoder: nn.Module) -> list[nn.Module]:
    """The parts of an encoder that stand in a sequence and have parts of their own: residual blocks and their like."""
    found: list[nn.Module] = []
    for child in encoder.children():
        if isinstance(encoder, nn.Sequential) and not isinstance(child, nn.Sequential) and any(child.children()):
            found.append(child)
        else:
            found += blocks(child)
    return found


def _recomputing(norms: list[_BatchNorm]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _not_running(norms)


@contextmanager
def _not_running(norms: list[_BatchNorm]) -> Iterator[None]:
    """Within it batch-norms normalise by the batch, as in training, and leave their running statistics as they are.

    At momentum 0 they become 1 × themselves + 0 × the batch's. Without any, autograd would hold it for another pass.
    """
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, was in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = was


def linear(inputs: int, outputs: int, seed: int, bias: bool = True) -> nn.Linear:
    """A linear layer with torch's own initial law, uniform to ±1/√inputs, from this seed and nothing else."""
    with seeded(seed):
        return nn.Linear(inputs, outputs, bias)


def mlp(inputs: int, hidden: int, outputs: int, seed: int) -> nn.Module:
    """Linear (no bias), batch-norm, ReLU, linear, from this seed and nothing else."""
    with seeded(seed):
        return _mlp(inputs, hidden, outputs, depth=2)


def stream(seed: int, number: int) -> int:
    """A seed for something beside the model: torch uses the lower 32 bits of a seed alone."""
    return (seed + 0x9E3779B9 * number) % 2**32


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """The default random generators of the CPU, and of a GPU if given one, start from `seed`; then are as before."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which would reseed every GPU as well.
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _encoder(encoder: config.Encoder, channels: int, side: int) -> nn.Module:
    match encoder.name:
        case "narrow_resnet":
            return _narrow_resnet(encoder, channels)
        case "strided_resnet":
            return _strided_resnet(encoder, channels)
        case "pixels":
            return Pixels(encoder.width)
        case "resnet18" | "resnet34" | "resnet50" | "resnet101" | "resnet152" | "wide_resnet50_2" | "resnext50_32x4d":
            return _resnet(encoder, channels)
        case "densenet121":
            return _without(encoder, "classifier")
        case "convnext_tiny" | "convnext_small" | "convnext_base":
            return _without(encoder, "classifier.2")
        case "alexnet":
            return _without(encoder, "classifier.6")
        case "swin_t" | "swin_s":
            return _without(encoder, "head")
        case "vit_b_16":
            return _without(encoder, "heads")
        case "mlp_mixer_8":
            return _mixer(8, channels, side)
        case "mlp_mixer_12":
            return _mixer(12, channels, side)


def _narrow_resnet(encoder: config.Encoder, channels: int) -> nn.Module:
    """ResNet-10 with the small stem: one basic block a stage, stages 1, 2, 4 and 8 widths wide."""
    width = encoder.width
    net = nn.Sequential(
        nn.Conv2d(channels, width, 3, 1, encoder.stem_padding, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True) if encoder.stem_relu else nn.Identity(),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        Block(4 * width, 8 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return _initialised(net)


def _strided_resnet(encoder: config.Encoder, channels: int) -> nn.Module:
    """A 3 × 3 convolution of stride 2 and one basic block a stage, stages 1, 2 and 4 widths wide.

    With a quarter of the pixels and four times narrow_resnet's channels, a step takes a CPU about as long, at a better
    share of its peak.
    """
    width = encoder.width
    return _initialised(
        nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True) if encoder.stem_relu else nn.Identity(),
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    )


class Pixels(nn.Module):
    """The image itself, its pixels averaged down to `width` a side: what an encoder has to be better than."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("side", torch.tensor(width))  # a checkpoint without a tensor would name no epoch
        self.pool = nn.AdaptiveAvgPool2d(width)

    def forward(self, pixels: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """Channel by channel, row by row."""
        return self.pool(pixels).flatten(1)


def _resnet(encoder: config.Encoder, channels: int) -> nn.Module:
    """A ResNet of torchvision without its classifier, with the stem that `encoder` asks for."""
    from torchvision.models import ResNet, get_model

    net = get_model(encoder.name, weights=None)
    assert isinstance(net, ResNet)
    net.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    if encoder.stem == "small":
        net.conv1 = nn.Conv2d(channels, 64, 3, 1, encoder.stem_padding, bias=False)
        net.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    elif channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    _initialise(net.conv1)
    if not encoder.stem_relu:
        net.relu = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]  # the blocks have ReLUs of their own
    return net


def _without(encoder: config.Encoder, removed: str) -> nn.Module:
    """A network of torchvision whose output is the input of its last linear layer, the one called `removed`."""
    from torchvision.models import get_model

    net = get_model(encoder.name, weights=None)
    net.set_submodule(removed, nn.Identity())
    return net


def _mixer(depth: int, channels: int, side: int) -> nn.Module:
    """MLP-Mixer of timm, 512 wide, on patches of max(4, side / 16) pixels; its output is the mean over patches.

    Source: 2105.01601; width, depth and patches from DIET spec §5, which does not give the hidden layers' widths: the
    Mixer paper's, half the width over patches and four times it over channels.
    """
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(0, side, channels, max(4, side // 16), num_blocks=depth, embed_dim=512)


def _initialise(convolution: nn.Conv2d) -> None:
    """Normal weights of variance 2 / fan-out (1502.01852), as in torchvision's ResNets."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


def _initialised(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            _initialise(module)
    return net


def _projector(projector: config.Projector, features: int) -> nn.Module:
    if projector.depth == 0:
        return nn.Identity()
    return _mlp(features, projector.width, projector.width, projector.depth)


def _mlp(inputs: int, hidden: int, outputs: int, depth: int) -> nn.Module:
    layers = nn.Sequential()
    for _ in range(depth - 1):
        layers.extend((nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)))
        inputs = hidden
    return layers.append(nn.Linear(inputs, outputs))
