"""Going once through images that lie in a file, in random order, and training on them, beside images in memory.

    python benchmarks/feeding.py [IMAGES] [ROUNDS]

IMAGES (700,000: 2 GiB) are random, of 32 pixels, in batches of 256. Each reader runs in a process of its own, for 20
seconds at most, after the system has dropped the file from memory, and in turn: entia's, the same that asks the system
for nothing ahead, and a DataLoader of two workers over h5py. Images a second are of the wall clock. The memory is what
the process itself took while reading (its workers apart), without the system's copy of the file, which it drops when
others need room. To see that less memory than the file has is enough, run it where there is less:

    systemd-run --scope -p MemoryMax=900M python benchmarks/feeding.py

Then an epoch of 10,000 of the images, from the file and from memory, in turn. Writes reports/benchmarks/feeding.csv.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch
from cells import cells
from side_by_side import processor, room, spread, write

from entia import feeding, pretrain, stages
from entia.artefacts import store
from entia.config import Subset
from entia.feeding import Data
from entia.processes import Processes

BATCH, SIDE, TRAINED = 256, 32, 10_000
SECONDS = 20
"""A reader that is not done by then is stopped; its rate is of what it has read."""
PLACE = "train/pixels"


class Random:
    """So many random images, a block at a time."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int) -> None:
        self.shape = (count, 3, SIDE, SIDE)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        return np.random.default_rng(start).integers(0, 256, (stop - start, *self.shape[1:]), dtype=np.uint8)


class InFile(torch.utils.data.Dataset[torch.Tensor]):
    """As one would read an HDF5 file by a DataLoader: each worker opens it, and takes a batch's rows one by one."""

    def __init__(self, source: Path) -> None:
        self.source, self.pixels = source, None

    def __len__(self) -> int:
        with h5py.File(self.source, locking=False) as file:
            return len(file[PLACE])  # pyright: ignore[reportArgumentType]

    def __getitem__(self, row: int) -> torch.Tensor:
        self.pixels = self.pixels or h5py.File(self.source, locking=False)[PLACE]
        return torch.from_numpy(self.pixels[row])  # pyright: ignore[reportIndexIssue]


def mapped(source: Path, asks: bool) -> Data:
    with h5py.File(source, locking=False) as file:
        pixels = store._held(source, file[PLACE])  # pyright: ignore[reportArgumentType]
    return Data(
        stages._tensor(pixels), torch.arange(len(pixels)), ahead=feeding.ahead(pixels) if asks else lambda rows: None
    )


def fed(source: Path, asks: bool = True) -> Iterator[torch.Tensor]:
    data = mapped(source, asks)
    order = torch.randperm(len(data.index), generator=torch.Generator().manual_seed(0))
    return (pixels for _, pixels in feeding.batches(data, order, BATCH, Processes().share))


READERS: dict[str, Callable[[Path], Iterator[torch.Tensor]]] = {
    "entia": fed,
    "entia, asking for nothing ahead": lambda source: fed(source, asks=False),
    "DataLoader, 2 workers, h5py": lambda source: iter(
        torch.utils.data.DataLoader(InFile(source), BATCH, shuffle=True, num_workers=2)
    ),
}


def own_mib() -> float:
    """What this process holds besides files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


def forget(source: Path) -> None:
    """Has the system drop its copy of a file."""
    with source.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def child(name: str, source: Path) -> None:
    torch.set_num_threads(1)
    forget(source)
    start, before, most, images = time.perf_counter(), own_mib(), 0.0, 0
    for pixels in READERS[name](source):
        images += len(pixels)
        most = max(most, own_mib())
        if time.perf_counter() - start > SECONDS:
            break
    print(json.dumps({"rate": images / (time.perf_counter() - start), "mib": most - before}))


def reading(source: Path, rounds: int) -> Iterator[dict[str, object]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, runs in found.items():
            done = subprocess.run([sys.executable, __file__, "--child", name, source], stdout=-1, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    for name, runs in found.items():
        rates = [run["rate"] for run in runs]
        peak = max(run["mib"] for run in runs)
        yield {
            "what": f"reading: {name}", "images_per_second": round(median(rates)), "spread": round(spread(rates)),
            "own_mib": round(peak),
        }  # fmt: skip


def training(source: Path, rounds: int) -> Iterator[dict[str, object]]:
    """CPU seconds of an epoch and of what feeds it; the same images, in the same order."""
    torch.set_num_threads(1)
    one = next(iter(cells(TRAINED, rounds, of=("cifar10",))))
    whole = mapped(source, True)
    file = replace(whole, pixels=whole.pixels[:TRAINED], index=whole.index[:TRAINED])
    memory = Data(file.pixels.clone(), file.index)
    runs = {"memory": pretrain._Run(one.config, memory, None), "the file": pretrain._Run(one.config, file, None)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for epoch in range(1, rounds + 1):
        for name, run in runs.items():
            forget(source)
            row = run.epoch(epoch)
            rates[name].append(TRAINED / float(row["seconds"]))
    for name, found in rates.items():
        yield {
            "what": f"training from {name}", "images_per_second": round(median(found)),
            "spread": round(spread(found)), "own_mib": "",
        }  # fmt: skip


def main() -> None:
    images, rounds, *_ = [*map(int, sys.argv[1:]), *(700_000, 3)[len(sys.argv) - 1 :]]
    with room() as folder:
        source = Path(folder) / "images.h5"
        head = store.header(Subset(dataset="image_folder/random", side=SIDE), "")
        store.write_hdf5(source, {PLACE: Random(images)}, head)
        rows = [
            row | {"file_mib": source.stat().st_size >> 20}
            for row in (*reading(source, rounds), *training(source, rounds))
        ]
    for row in rows:
        print(*(f"{name}: {value}" for name, value in row.items()), sep=", ")
    write("feeding", [row | {"cpu": processor()} for row in rows])


if __name__ == "__main__":
    store.MAPPED = 1  # few images too
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
