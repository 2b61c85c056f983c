"""Speed of augmentation beside its peers: SimCLR's recipe at 32 pixels without blur, one thread of a CPU.

    python benchmarks/views.py [REPEATS]

Pipelines take turns in one process; a rate is view-images a second of CPU time (other work on the machine slows the
wall clock, and this less), as the median over repeats with the least and the greatest. Images are in memory; peers
are not charged for stacking a batch. Writes reports/benchmarks/views.csv.
"""

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import pandas as pd
import torch
from side_by_side import REPORTS, processor
from torch import Tensor

from entia.config import Augmentation
from entia.views import augment

BATCH, VIEWS, SIDE = 256, 2, 32
POLICY = Augmentation(mean=(125.307, 122.961, 113.8575), std=(51.5865, 50.847, 51.255))
MEAN, STD = [m / 255 for m in POLICY.mean], [s / 255 for s in POLICY.std]
JITTER = (POLICY.brightness, POLICY.contrast, POLICY.saturation, POLICY.hue)
OURS, PIL, KORNIA = "entia", "torchvision, PIL, one image at a time", "kornia, eager, whole batch"


def ours(pixels: Tensor) -> Callable[[], object]:
    index = torch.arange(len(pixels))
    return lambda: augment(pixels, index, VIEWS, POLICY, 0, 0)


def torchvision_pil(pixels: Tensor) -> Callable[[], object]:
    from torchvision import transforms as T

    pipeline = T.Compose(
        [
            T.RandomResizedCrop(SIDE, POLICY.crop_scale, POLICY.crop_ratio),
            T.RandomHorizontalFlip(POLICY.flip),
            T.RandomApply([T.ColorJitter(*JITTER)], POLICY.jitter),
            T.RandomGrayscale(POLICY.greyscale),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    images = [T.functional.to_pil_image(x) for x in pixels]
    return lambda: [pipeline(image) for image in images for _ in range(VIEWS)]


def kornia_eager(pixels: Tensor) -> Callable[[], object]:
    from kornia import augmentation as K

    pipeline = K.ImageSequential(
        K.RandomResizedCrop((SIDE, SIDE), POLICY.crop_scale, POLICY.crop_ratio, cropping_mode="resample"),
        K.RandomHorizontalFlip(p=POLICY.flip),
        K.ColorJitter(*JITTER, p=POLICY.jitter),
        K.RandomGrayscale(p=POLICY.greyscale),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )
    return lambda: pipeline(pixels.repeat(VIEWS, 1, 1, 1).float() / 255)


def rate(run: Callable[[], object]) -> float:
    """View-images a second of CPU time."""
    start = time.process_time()
    run()
    return BATCH * VIEWS / (time.process_time() - start)


def measure(repeats: int) -> pd.DataFrame:
    pixels = torch.randint(
        0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    peers = {OURS: ("torch", ours), PIL: ("torchvision", torchvision_pil), KORNIA: ("kornia", kornia_eager)}
    runs: dict[str, Callable[[], object]] = {}
    for name, (package, make) in peers.items():
        if find_spec(package):
            runs[name] = make(pixels)
        else:
            print(f"{name}: skipped, {package} is not installed")
    for run in runs.values():
        run()
    rates = pd.DataFrame([{name: rate(run) for name, run in runs.items()} for _ in range(repeats)])
    table = rates.quantile([0.5, 0, 1]).T.set_axis(["median", "least", "greatest"], axis=1).round().astype(int)
    table["entia / this"] = (table.loc[OURS, "median"] / table["median"]).round(2)
    return table.rename_axis("pipeline").reset_index()


def main() -> None:
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    table = measure(repeats).assign(
        batch=BATCH, views=VIEWS, side=SIDE, repeats=repeats, torch=torch.__version__, cpu=processor()
    )
    print(table.iloc[:, :5].to_string(index=False))
    print(f"view-images a second of CPU time, one thread; {processor()}, torch {torch.__version__}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    table.to_csv(REPORTS / "views.csv", index=False)


if __name__ == "__main__":
    main()
