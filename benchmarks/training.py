"""Whole training of a cell, beside the script that one would write with torchvision, a DataLoader and lightly's loss.

    python benchmarks/training.py [ROUNDS]

Same encoder and projector, images, views, batch, epochs, optimiser and precision; real images. The plain script has
torchvision's transforms on PIL images in one DataLoader worker, lightly's loss averaged over view pairs, and
torch.optim.Adam. Each training is a process of its own, in turn, with one thread of PyTorch.

Seconds are those of a core, of the process and of its worker, spent in training alone: imports and reading the images,
which the plain script has more of, are in `process_core_seconds`. With two cores and many cells both are kept busy, so
core seconds say how many cells an hour holds; `wall_seconds` is one cell's, for which the plain script has two cores
and entia uses one. With a GPU, ResNet-18 in bfloat16, and seconds are those of the wall.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

from side_by_side import processor, spread, write

RUNS = ("plain", "entia")
CASES = (("mnist5k", 2), ("mnist5k", 4), ("cifar10", 2))
IMAGES, EPOCHS = 4_000, 2
GPU_IMAGES, GPU_EPOCHS = 50_000, 5


def plain(cell: "cells.Cell") -> float:
    """Trains as anyone would; the last epoch's mean loss."""
    import torch
    from lightly.loss import BarlowTwinsLoss
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms as T
    from torchvision.transforms.functional import to_pil_image

    from entia import nets

    config, policy = cell.config, cell.config.augmentation
    channels, height = cell.data.pixels.shape[1:3]
    side = policy.size or height
    transform = T.Compose(
        [
            T.RandomResizedCrop(side, policy.crop_scale, policy.crop_ratio),
            T.RandomHorizontalFlip(policy.flip),
            T.RandomApply(
                [T.ColorJitter(policy.brightness, policy.contrast, policy.saturation, policy.hue)], policy.jitter
            ),
            T.RandomGrayscale(policy.greyscale),
            T.ToTensor(),
            T.Normalize([mean / 255 for mean in policy.mean], [std / 255 for std in policy.std]),
        ]
    )

    class Views(Dataset):
        def __init__(self, pixels: torch.Tensor) -> None:
            self.images = [to_pil_image(image) for image in pixels]

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, at: int) -> list[torch.Tensor]:
            return [transform(self.images[at]) for _ in range(config.views)]

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    workers = max(1, min(8, (os.cpu_count() or 2) - 1))
    loader = DataLoader(
        Views(cell.data.pixels.cpu()), config.batch, shuffle=True, drop_last=True, num_workers=workers,
        pin_memory=device.type == "cuda", persistent_workers=True,
    )  # fmt: skip
    model = nets.build(config.encoder, config.projector, channels, side, config.seed).to(device).train()
    criterion = BarlowTwinsLoss(lambda_param=config.method.weight)
    optimizer = torch.optim.Adam(model.parameters(), config.optimizer.lr, weight_decay=config.optimizer.weight_decay)
    total = 0.0
    for _ in range(config.epochs):
        total = 0.0
        for views in loader:
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                z = [model(view.to(device, non_blocking=True))[1].float() for view in views]
            loss = torch.stack([criterion(a, b) for a, b in combinations(z, 2)]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / len(loader)


def entia(cell: "cells.Cell") -> float:
    """Trains as `entia pretrain` does; the last epoch's mean loss."""
    from entia import pretrain
    from entia.system import machines

    machines.keep_freed_memory()
    return float([progress.row for progress in pretrain.pretrain(*cell)][-1]["loss"])


def child(run: str, dataset: str, views: int) -> None:
    """Trains in this process, and prints what it took."""
    import torch
    from cells import cells, on_gpu

    gpu = torch.cuda.is_available()
    torch.set_num_threads(1)
    images, epochs = (GPU_IMAGES, GPU_EPOCHS) if gpu else (IMAGES, EPOCHS)
    cell = next(cells(images, epochs, views=(views,), of=(dataset,)))
    cell = on_gpu(cell) if gpu else cell
    wall, core = time.perf_counter(), core_seconds()
    loss = {"plain": plain, "entia": entia}[run](cell)
    took = {"wall": time.perf_counter() - wall, "core": core_seconds() - core, "loss": loss}
    took["device"] = torch.cuda.get_device_name() if gpu else processor()
    print(json.dumps(took))


def core_seconds() -> float:
    """Of this process and of the workers that have ended."""
    took = os.times()
    return took.user + took.system + took.children_user + took.children_system


def measure(dataset: str, views: int, rounds: int) -> dict[str, object]:
    """One row; each round runs both, one after the other."""
    taken: dict[str, list[dict[str, float]]] = {run: [] for run in RUNS}
    for _ in range(rounds):
        for run in RUNS:
            command = [sys.executable, __file__, "child", run, dataset, str(views)]
            before = os.times()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            after = os.times()
            took = json.loads(done.stdout.splitlines()[-1])
            took["process"] = (
                after.children_user + after.children_system - before.children_user - before.children_system
            )
            taken[run].append(took)
            print(dataset, views, run, took, flush=True)
    gpu = taken["entia"][0]["device"] != processor()

    def middle(run: str, name: str) -> float:
        return median(each[name] for each in taken[run])

    def ratio(name: str) -> str:
        return f"{middle('plain', name) / middle('entia', name):.2f}"

    row: dict[str, object] = {"data": dataset, "views": views, "images": GPU_IMAGES if gpu else IMAGES}
    row |= {"epochs": GPU_EPOCHS if gpu else EPOCHS, "ratio": ratio("wall" if gpu else "core")}
    row |= {"wall_ratio": ratio("wall"), "process_ratio": ratio("process")}
    for run in RUNS:
        row |= {
            f"{run}_core_seconds": f"{middle(run, 'core'):.2f}",
            f"{run}_wall_seconds": f"{middle(run, 'wall'):.2f}",
        }
        row[f"{run}_core_spread"] = f"{spread([each['core'] for each in taken[run]]):.2f}"
        row[f"{run}_process_core_seconds"] = f"{middle(run, 'process'):.2f}"
        row[f"{run}_loss"] = f"{middle(run, 'loss'):.3f}"
    return row | {"rounds": rounds, "device": taken["entia"][0]["device"]}


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["child"]:
        child(arguments[1], arguments[2], int(arguments[3]))
        return
    rounds = int(arguments[0]) if arguments else 3
    have = any((Path(__file__).parents[1] / "data" / "raw").glob("cifar-10*"))
    if not have:
        print("CIFAR-10: skipped, it is not in data/raw/")
    rows = [measure(*case, rounds) for case in CASES if have or case[0] != "cifar10"]
    print("\n".join(f"{row['data']}, {row['views']} views: {row['ratio']} times as fast (goal: 3)" for row in rows))
    write("training", rows)


if __name__ == "__main__":
    main(sys.argv[1:])
