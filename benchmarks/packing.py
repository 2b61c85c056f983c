"""Packing a folder of images, beside reading it once by torchvision's ImageFolder and a DataLoader.

    python benchmarks/packing.py FOLDER [SIDE] [PAIRS]

FOLDER has train/CLASS/ and val/CLASS/ or test/CLASS/. Both see the same files and resize them alike: the shorter side
to SIDE pixels, the centre cropped. The DataLoader has two workers and batches of 256, and what it gives is thrown away;
packing also takes checksums and statistics and writes the artefact whole. They take turns, each in a process of its
own, and a ratio is of the two runs of one pair. Images a second are of the wall clock; core seconds, of a process and
its workers, hold where other work shares the machine. Imports are left out of both.

Then the most memory that packing takes for the folder's first 1,000 and 10,000 images, as far as it has so many.
Writes reports/benchmarks/packing.csv.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from side_by_side import processor, room, spread, write

BATCH, WORKERS = 256, 2
COUNTS = (1_000, 10_000)


def packing(root: Path, side: int) -> Callable[[], int]:
    """Packs as `entia subset` does."""
    from entia import datasets, stages  # noqa: F401
    from entia.config import Subset
    from entia.sizes import Held

    held: list[Held] = []

    def run() -> int:
        with room() as folder:
            stages.DATA = Path(folder)
            (stages.DATA / "raw").mkdir()
            (stages.DATA / "raw" / "images").symlink_to(root.resolve())
            stages.subset(Subset(dataset="image_folder/images", side=side), held.append)
        return sum(held[0][:3])

    return run


def loading(root: Path, side: int) -> Callable[[], int]:
    """Reads as anyone would."""
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder

    transform = T.Compose([T.Resize(side), T.CenterCrop(side), T.ToTensor()])

    def run() -> int:
        files = ConcatDataset([ImageFolder(str(split), transform) for split in sorted(root.iterdir())])
        return sum(len(label) for _, label in DataLoader(files, BATCH, num_workers=WORKERS))

    return run


def child(kind: str, root: Path, side: int) -> None:
    run = {"packing": packing, "loading": loading}[kind](root, side)
    wall, core = time.perf_counter(), sum(os.times()[:4])
    images = run()
    took = {"images": images, "wall": time.perf_counter() - wall, "core": sum(os.times()[:4]) - core}
    whom = {"peak": resource.RUSAGE_SELF, "helper": resource.RUSAGE_CHILDREN}
    print(json.dumps(took | {name: resource.getrusage(who).ru_maxrss / 1024 for name, who in whom.items()}))


def measured(kind: str, root: Path, side: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--child", kind, root, str(side)], stdout=-1, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def pairs(root: Path, side: int, count: int) -> dict[str, object]:
    """Medians over the pairs, and of their ratios."""
    found = [{kind: measured(kind, root, side) for kind in ("packing", "loading")} for _ in range(count)]
    images = found[0]["packing"]["images"]
    assert all(run["images"] == images for pair in found for run in pair.values())
    row: dict[str, object] = {"images": images, "side": side, "pairs": count}
    for clock in ("wall", "core"):
        ratios = [pair["loading"][clock] / pair["packing"][clock] for pair in found]
        for kind in ("packing", "loading"):
            row[f"{kind}_images_per_{clock}_second"] = round(images / median(pair[kind][clock] for pair in found))
        row |= {f"{clock}_ratio": f"{median(ratios):.3g}", f"{clock}_ratio_spread": f"{spread(ratios):.2g}"}
    return row


def peaks(root: Path, side: int) -> dict[str, object]:
    """MiB of packing so many of the folder's images, spread over it; nothing where it has fewer."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    row: dict[str, object] = {}
    for count in COUNTS:
        took = (
            packed(root, [files[at * len(files) // count] for at in range(count)], side) if count <= len(files) else {}
        )
        for name, what in (("peak", "peak"), ("helper", "peak_of_a_process_that_decodes")):
            row[f"{what}_mib_of_{count}"] = round(took[name]) if took else ""
    return row


def packed(root: Path, files: list[Path], side: int) -> dict[str, float]:
    """What packing these files takes."""
    with room() as folder:
        for path in files:
            link = Path(folder) / path.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        return measured("packing", Path(folder), side)


def main() -> None:
    root, side, count, *_ = [*sys.argv[1:], *("", "64", "3")[len(sys.argv) - 1 :]]
    if not Path(root).is_dir():
        raise SystemExit("which folder? python benchmarks/packing.py FOLDER [SIDE] [PAIRS]")
    row = pairs(Path(root), int(side), int(count)) | peaks(Path(root), int(side))
    for name, value in row.items():
        print(f"{name}: {value}")
    write("packing", [row | {"folder": Path(root).name, "cpu": processor()}])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
