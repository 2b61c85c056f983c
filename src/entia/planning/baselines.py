"""What an encoder has to be better than: raw pixels, and itself before any training, read out on the same labels.

They are cells like any other, so they are trained, embedded and read out by the same code, once for all that ask.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from entia.config import Augmentation, Embed, Encoder, Pretrain, Projector, Readout
from entia.methods import Untrained
from entia.sizes import expected

EXPERIMENT = "baselines"
"""What baselines' rows name in place of an experiment of params.yaml."""
UNTRAINED, PIXELS = "untrained", "raw pixels"
"""Their arms."""
SIDES = (8, 16, 32)
"""Pixels a side that images are averaged down to; which is the strongest, the readout's validation images say."""


def is_one(cell: Pretrain) -> bool:
    """Whether nothing is trained in a cell."""
    return isinstance(cell.method, Untrained)


def of(readout: Readout) -> Iterator[tuple[str, Readout]]:
    """The baselines of one readout, with their arms: its encoder untrained, from its seed, and raw pixels.

    Neither depends on what a cell trains on or how: the statistics are those of all of its data set's images.
    """
    embed, cell = readout.embed, readout.embed.pretrain
    untrained = _untrained(cell)
    yield UNTRAINED, _read(readout, untrained)
    side = cell.augmentation.size or expected(embed.on).side
    if not readout.is_labelled:  # pixels' spectrum is the images', and no embedding has to be better than it
        return
    for width in (width for width in SIDES if width <= side):
        pixels = replace(untrained, encoder=Encoder(name="pixels", width=width), subset=embed.on, seed=0)
        yield PIXELS, _read(readout, pixels)


def _untrained(cell: Pretrain) -> Pretrain:
    """A cell that holds no more than what fixes its untrained encoder."""
    seen = cell.augmentation
    return Pretrain(
        subset=replace(cell.subset, fraction=1.0, balanced=True),
        augmentation=Augmentation(size=seen.size, mean=seen.mean, std=seen.std),
        encoder=cell.encoder,
        projector=Projector(depth=0),
        method=Untrained(),
        optimizer=type(cell.optimizer)(),
        views=1,
        epochs=1,
        batch=256,
        threads=cell.threads,
        seed=cell.seed,
    )


def _read(readout: Readout, cell: Pretrain) -> Readout:
    embed = readout.embed
    return Readout(embed=Embed(pretrain=cell, on=embed.on, dtype=embed.dtype, std=embed.std), probe=readout.probe)
