"""What a config needs that its fields alone do not show: whether the images, the network and the probe go together.

Every check stands here once: planning asks it of all runs before any starts, and each stage asks it again of its own
inputs. Nothing here reads a file or imports PyTorch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from entia import catalogue
from entia.config import Embed, Encoder, Pretrain, Readout, Subset
from entia.methods import BYOL, BarlowTwins, SimCLR, Untrained, VICReg
from entia.naming import label
from entia.planning import reports
from entia.planning.columns import Asked
from entia.planning.mistakes import some
from entia.planning.reports import Report
from entia.probes import Logistic, MLPProbe, Neighbours, Probe, Ridge
from entia.sizes import Held, expected


class Row(Protocol):
    """A readout by its name, and the place in params.yaml that asks for it."""

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        ...

    @property
    def arm(self) -> str:
        """Its block's label."""
        ...

    @property
    def readout(self) -> str:
        """The readout's name."""
        ...


def mistakes(
    readouts: Mapping[str, Readout], asked: Mapping[str, Report], rows: Mapping[str, Sequence[Row]]
) -> Iterator[str]:
    """Why a plan cannot be run or drawn, as far as that is known before any image is read: place, value, remedy."""
    where = {row.readout: f"experiments.{row.experiment}" for part in rows.values() for row in part}
    own = {name: readouts[name] for name in where}  # what baselines need is needed by what they stand beside
    yield from by_cause(refused(own), readouts, where)
    for name, report in asked.items():
        drawn = [Asked(row.experiment, row.arm, row.readout, readouts[row.readout]) for row in rows[name]]
        yield from (f"reports.{name}: {lack}" for lack in reports.lacking(report, drawn))


# --- what each stage asks -----------------------------------------------------------------------------------------


def subset(config: Subset) -> Iterator[str]:
    """Why a subset cannot be packed."""
    known = catalogue.DATASETS.get(config.dataset)
    if known and config.limit is not None and config.limit < known.classes:
        yield (
            f"subset.limit: {config.limit} images cannot hold the {known.classes} classes of {config.dataset}; "
            f"raise it to {known.classes} or more"
        )


def pretrain(config: Pretrain, held: Held) -> Iterator[str]:
    """Why a run cannot be trained on these images."""
    side, crops = config.augmentation.size or held.side, config.crops
    yield from _numbers("augmentation.mean", config.augmentation.mean, held, config.subset)
    yield from _numbers("augmentation.std", config.augmentation.std, held, config.subset)
    found = list(network(config.encoder, held.channels, min(side, crops.size if crops else side)))
    if crops and crops.size != side and config.encoder.name in _OF_ONE_SIDE and not found:
        found.append(
            f"crops.size: {config.encoder.name} takes views of one size, not of {side} and {crops.size} pixels; "
            "leave crops out or take a ResNet"
        )
    yield from (f"encoder: {mistake}" for mistake in found)
    if held.train and not isinstance(config.method, Untrained):
        yield from _batches(config, held.train, side)


def embed(config: Embed, trained_on: Held, held: Held) -> Iterator[str]:
    """Why an encoder trained on images like the first cannot embed images like the others."""
    cell, own = config.pretrain, config.pretrain.subset.dataset
    if trained_on.channels != held.channels:
        yield (
            f"embed.on: {config.on.dataset}'s images have {_channels(held)}, and those of {own}, which the encoder is "
            f"trained on, {_channels(trained_on)}; take a data set of as many"
        )
    elif config.on.dataset != own:
        side, of = (cell.augmentation.size or part.side for part in (held, trained_on))
        for mistake in network(cell.encoder, held.channels, side):
            yield f"embed.on: {config.on.dataset}: {mistake}"
        if side != of and cell.encoder.name in _OF_ONE_SIDE:
            yield (
                f"embed.on: {config.on.dataset} has {side} pixels a side, and {cell.encoder.name} was trained on {of}; "
                f"set augmentation.size: {of}"
            )
    if config.std is not None:
        yield from _numbers("embed.std", config.std, held, config.on)


def probe(config: Probe, train: int | None, validation: int | None) -> Iterator[str]:
    """Why a probe cannot be fitted on so many training and validation rows."""
    match config:
        case Ridge(penalties=()) | Logistic(penalties=()):
            yield "penalties: none given; give at least one"
        case Ridge() | Logistic() if len(config.penalties) > 1 and validation == 0:
            yield (
                f"penalties: {len(config.penalties)} given and no validation rows to choose among them on; "
                "hold out a share (validation: 0.1) or give one penalty. The test rows are never used to choose"
            )
        case MLPProbe() if train is not None and train < 2:
            yield f"train features: {train} row, and mlp's batch-norm needs two; give more images"
        case Neighbours() if train is not None and config.k > train:
            yield f"k: {config.k} neighbours asked of {train} training rows; give a smaller k"
        case _:
            pass


def readout(config: Readout, of: Callable[[Subset], Held]) -> Iterator[str]:
    """Why a readout, or a stage that it rests on, cannot be made. `of`: what a subset holds."""
    cell, on = config.embed.pretrain, config.embed.on
    trained_on, held = of(cell.subset), of(on)
    found = [*subset(cell.subset), *(subset(on) if on != cell.subset else ())]
    yield from found
    if not found:
        yield from pretrain(cell, trained_on)
        yield from embed(config.embed, trained_on, held)
        yield from (f"probe.{mistake}" for mistake in probe(config.probe, held.train, held.validation))


def refused(readouts: Mapping[str, Readout], of: Callable[[Subset], Held] = expected) -> Iterator[tuple[str, str]]:
    """Each readout that cannot be made, and a reason; several where there are several."""
    for name, config in readouts.items():
        for reason in readout(config, of):
            yield name, reason


def by_cause(found: Iterable[tuple[str, str]], readouts: Mapping[str, Readout], where: Mapping[str, str]) -> list[str]:
    """A line for each cause, with the places (by a readout's name) that ask for such runs, how many, and one."""
    grouped: dict[str, list[str]] = {}
    for name, reason in found:
        grouped.setdefault(reason, []).append(name)
    return [
        f"{some(dict.fromkeys(where[name] for name in names), 3)}: {reason} ({_count(names, readouts)})"
        for reason, names in grouped.items()
    ]


def _count(names: list[str], readouts: Mapping[str, Readout]) -> str:
    first = label(readouts[names[0]])
    return first if len(names) == 1 else f"{len(names)} readouts; the first: {first}"


# --- images and network -------------------------------------------------------------------------------------------

_OF_ONE_SIDE = ("mlp_mixer_8", "mlp_mixer_12", "vit_b_16", "swin_t", "swin_s")
"""Their weights, or what they accept, follow from the images' side."""


def network(encoder: Encoder, channels: int, side: int) -> Iterator[str]:
    """Why an encoder cannot be built for images of so many channels and pixels a side."""
    name = encoder.name
    match name:
        case "narrow_resnet":
            if encoder.stem != "small":
                yield f"stem: narrow_resnet has the small stem alone, not {encoder.stem!r}"
            yield from _stride(encoder, side, 8)
        case "strided_resnet":
            if encoder.stem != "small" or encoder.stem_padding != 1:
                yield "stem, stem_padding: strided_resnet has a stem of its own; leave them out"
            yield from _stride(encoder, side, 8)
        case "pixels":
            if encoder.width > side:
                yield f"width: pixels cannot be {encoder.width} a side in images of {side}; give fewer"
        case "resnet18" | "resnet34" | "resnet50" | "resnet101" | "resnet152" | "wide_resnet50_2" | "resnext50_32x4d":
            yield from _width(encoder)
            if encoder.stem != "small" and encoder.stem_padding != 1:
                yield f"stem_padding: {encoder.stem_padding} is of the small stem; leave it out with {encoder.stem!r}"
            yield from _stride(encoder, side, 8 if encoder.stem == "small" else 32)
        case "mlp_mixer_8" | "mlp_mixer_12":
            yield from _fixed(encoder)
            patch = max(4, side // 16)
            if side % patch:
                yield (
                    f"side: {side} pixels cannot be cut into {name}'s patches of {patch}; "
                    f"set augmentation.size: {max(patch, side - side % patch)}"
                )
        case _:
            yield from _fixed(encoder)
            if channels != 3:
                yield f"{name} takes images of 3 channels, not {channels}; take a ResNet"
            yield from _least(name, side)


def _least(name: str, side: int) -> Iterator[str]:
    if name in _OF_ONE_SIDE:
        if side != 224:
            yield f"side: {name} takes 224 pixels a side, not {side}; set augmentation.size: 224"
    elif side < (least := 64 if name == "alexnet" else 32):
        yield f"side: {side} pixels are fewer than the {least} of {name}; set augmentation.size"


def _width(encoder: Encoder) -> Iterator[str]:
    if encoder.width != 64:
        yield f"width: {encoder.name} is as published, not {encoder.width} wide; see narrow_resnet"


def _stride(encoder: Encoder, side: int, stride: int) -> Iterator[str]:
    if side < stride:
        yield f"side: {side} pixels are fewer than {encoder.name}'s stride of {stride} ({encoder.stem} stem)"


def _fixed(encoder: Encoder) -> Iterator[str]:
    """That nothing is asked of a network which is taken as its library has it."""
    yield from _width(encoder)
    if encoder.stem == "small":
        yield f"stem: {encoder.name} has its own alone; write stem: imagenet"
    if encoder.stem_padding != 1 or not encoder.stem_relu:
        yield f"stem_padding, stem_relu: {encoder.name} has neither; leave them out"


def _numbers(field: str, values: tuple[float, ...] | None, held: Held, of: Subset) -> Iterator[str]:
    if values is not None and len(values) not in (1, held.channels):
        yield (
            f"{field}: {len(values)} numbers, and images of {of.dataset} have {_channels(held)}; "
            f"give {'1' if held.channels == 1 else f'{held.channels}, or 1 that serves all'}"
        )


def _channels(held: Held) -> str:
    return f"{held.channels} channel{'s' * (held.channels != 1)}"


# --- batches ------------------------------------------------------------------------------------------------------


def _batches(config: Pretrain, images: int, side: int) -> Iterator[str]:
    if config.batch > images:
        if config.drop_last:
            yield f"batch: {config.batch} is more than the {images} images to train on; lower it"
            return
    last = images % config.batch or config.batch
    smallest = config.batch if config.drop_last else last
    if smallest == 1 and (why := _needs_two(config, side)):
        which = "a batch" if config.batch == 1 else f"the last batch of {images} images in batches of {config.batch}"
        remedy = "take a larger batch" if config.batch == 1 else "take drop_last: true or another batch"
        yield f"batch: {which} is one image, and {why}; {remedy}"


def _needs_two(config: Pretrain, side: int) -> str:
    """Why a batch of one image cannot be trained on; empty where it can."""
    if isinstance(config.method, BarlowTwins | VICReg | SimCLR):
        return "the loss compares images of a batch"
    passes = [(config.views, side)] + ([(config.crops.views, config.crops.size)] if config.crops else [])
    alone = [pixels for views, pixels in passes if views == 1 or config.batch_norm == "per_view"]
    normed = config.projector.depth >= 2 or isinstance(config.method, BYOL)
    if any(normed or _ends_in_one_pixel(config.encoder, pixels) for pixels in alone):
        return "a batch norm needs two values to tell their variance"
    return ""


def _ends_in_one_pixel(encoder: Encoder, side: int) -> bool:
    """Whether an encoder's last batch norm sees one pixel of an image of this side."""
    if encoder.name == "densenet121":
        return side < 64
    if encoder.name == "strided_resnet":
        return side <= 8
    if encoder.name != "narrow_resnet" and not encoder.name.startswith(("resnet", "wide_resnet", "resnext")):
        return False  # of layer norms, or of none
    return side + 2 * encoder.stem_padding - 2 <= 8 if encoder.stem == "small" else side <= 32
