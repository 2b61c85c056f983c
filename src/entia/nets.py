"""Encoders and projectors.

The ResNets are torchvision's, which takes seconds to import and is imported only by them. `narrow_resnet` is ours,
since none of torchvision's trains in seconds on one core.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from entia import config


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
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride != 1:
            self.shortcut.extend((nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)))

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs newheight newwidth"]:
        """Maps, smaller by the stride."""
        return torch.relu_(self.residual(x) + self.shortcut(x))


def build(encoder: config.Encoder, projector: config.Projector, channels: int, side: int, seed: int) -> Model:
    """The model, on the default device, for `channels` × `side` × `side` images; its weights depend on nothing else.

    The encoder's initial weights do not depend on the projector. The global random state is neither used nor changed.

    Raises: config.Problem, where the encoder's fields do not go together or the images are too small for it.
    """
    _check(encoder, side)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed every GPU as well.
        torch.default_generator.manual_seed(seed)
        net, features = _narrow_resnet(encoder, channels) if _is_narrow(encoder) else _resnet(encoder, channels)
        return Model(net, _projector(projector, features), features)


def parameters_count(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _is_narrow(encoder: config.Encoder) -> bool:
    return encoder.name == "narrow_resnet"


def _check(encoder: config.Encoder, side: int) -> None:
    stride = 8 if encoder.stem == "small" else 32
    if side < stride:
        raise config.Problem(
            f"side: {side} pixels are fewer than {encoder.name}'s stride of {stride} ({encoder.stem} stem)"
        )
    if _is_narrow(encoder) and encoder.stem != "small":
        raise config.Problem(f"stem: narrow_resnet has the small stem alone, not {encoder.stem!r}")
    if not _is_narrow(encoder) and encoder.width != 64:
        raise config.Problem(f"width: {encoder.name} is torchvision's, 64 wide, not {encoder.width}; see narrow_resnet")
    if encoder.stem != "small" and encoder.stem_padding != 1:
        raise config.Problem(
            f"stem_padding: {encoder.stem_padding} is of the small stem; leave it out with {encoder.stem!r}"
        )


def _narrow_resnet(encoder: config.Encoder, channels: int) -> tuple[nn.Module, int]:
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
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            _initialise(module)
    return net, 8 * width


def _resnet(encoder: config.Encoder, channels: int) -> tuple[nn.Module, int]:
    """A ResNet of torchvision without its classifier, with the stem that `encoder` asks for."""
    from torchvision.models import ResNet, get_model

    net = get_model(encoder.name, weights=None)
    assert isinstance(net, ResNet)
    features = net.fc.in_features
    net.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    if encoder.stem == "small":
        net.conv1 = nn.Conv2d(channels, 64, 3, 1, encoder.stem_padding, bias=False)
        net.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    elif channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    _initialise(net.conv1)
    if not encoder.stem_relu:
        net.relu = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]  # the blocks have ReLUs of their own
    return net, features


def _initialise(convolution: nn.Conv2d) -> None:
    """Normal weights of variance 2 / fan-out (1502.01852), as in torchvision's ResNets."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


def _projector(projector: config.Projector, features: int) -> nn.Module:
    if projector.depth == 0:
        return nn.Identity()
    width, layers = projector.width, nn.Sequential()
    for _ in range(projector.depth - 1):
        layers.extend((nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)))
        features = width
    return layers.append(nn.Linear(features, width))
