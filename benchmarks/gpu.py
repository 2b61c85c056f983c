"""A GPU's first minutes: whether it computes what the CPU does, without waiting for it, and how fast.

    python benchmarks/gpu.py [--seconds 140] [--parts agreement,rates,...]

- ceilings: what the device can do at all: copying, and products in bfloat16 and float32.
- agreement: three steps in float32 of every kind of cell (`METHODS`), on the CPU and on the GPU; there the third raises
  where it waits for the device. `off` is the largest relative difference of a loss; up to 1e-4 it is `good`.
- views: the GPU's views beside the CPU's, eager and compiled.
- rates: view-images a second, eager and compiled, and the host's milliseconds a step.
- resume: whether a run that was interrupted ends with the same bytes.
- peer: a whole training beside the script that one would write with lightly and torchvision (training.py).

A part that fails is told, and the next begins: a GPU may be here for a quarter of an hour. Without one this is a
rehearsal with a tiny encoder, which writes nothing; on one it writes reports/benchmarks/gpu.csv.
"""

import argparse
import time
import traceback
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import msgspec
import torch
from cells import Cell, policy
from side_by_side import processor, write

from entia import feeding, pretrain, views
from entia.config import Crops, Encoder, Optimizer, Pretrain, Projector, Subset
from entia.methods import BYOL, BarlowTwins, Diet, Method, MoCo, SDiet, SimCLR, SpectralContrastive, Supervised, VICReg

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
SMALL = Encoder(name="narrow_resnet", width=8)
BIG = {"encoder": Encoder(name="resnet18"), "batch": 512, "precision": "bfloat16"} if GPU else {"encoder": SMALL}
COUNT = 45_000 if GPU else 256
AGREES = 1e-4
CIFAR = policy("cifar10")
LEVEL_3 = msgspec.structs.replace(CIFAR, jitter=0.3, hue=0.2, blur=0.2, solarise=0.2, erase=0.25)
HEAD = {
    "views": 1,
    "projector": Projector(depth=0),
    "augmentation": LEVEL_3,
    "optimizer": Optimizer(name="adamw", lr=0.001, weight_decay=0.05),
}
PAIRS = BarlowTwins(weight=0.02)
METHODS: dict[str, tuple[Method, dict[str, Any]]] = {
    "barlow_twins": (PAIRS, {}),
    "barlow_twins as run": (
        BarlowTwins(weight=0.02, form="as_run", l2_normalise=True, standardise="joint"), {"views": 4},
    ),
    "wide": (BarlowTwins(weight=0.0008), {"projector": Projector(width=1024)}),
    "vicreg": (VICReg(), {}),
    "vicreg as run": (VICReg(form="leave_one_out", epsilon=0.0), {"views": 4}),
    "simclr": (SimCLR(), {}),
    "simclr as run": (SimCLR(form="leave_one_out"), {"batch_norm": "per_view"}),
    "spectral": (SpectralContrastive(weight=0.5), {}),
    "diet": (Diet(), HEAD),
    "sdiet": (SDiet(), HEAD),
    "supervised": (Supervised(), HEAD),
    "byol": (BYOL(), {}),
    "moco": (MoCo(queue=4096), {}),
    "crops": (PAIRS, {"crops": Crops(views=2, size=16)}),
    "lars": (VICReg(), {"optimizer": Optimizer(name="lars", lr=0.1)}),
    "sgd, probe": (SimCLR(), {"optimizer": Optimizer(name="sgd", lr=0.1), "online_probe": True}),
}  # fmt: skip
Found = Iterator[tuple[str, str, float | str]]
"""Of a part: case, quantity, value."""


def cell(**fields: Any) -> Pretrain:
    """A small cell, but for these fields."""
    common = {
        "subset": Subset(dataset="cifar10"), "augmentation": CIFAR, "encoder": SMALL, "projector": Projector(width=256),
        "method": PAIRS, "optimizer": Optimizer(), "views": 2, "epochs": 10, "batch": 64,
    }  # fmt: skip
    return Pretrain(**(common | fields))


def images(count: int) -> torch.Tensor:
    """Smooth noise of 32 pixels a side, the same each time."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (255 * torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")).to(torch.uint8)


def data(count: int, device: torch.device) -> feeding.Data:
    """These images on a device, with made-up labels."""
    index = torch.arange(count)
    return feeding.Data(images(count).to(device), index.to(device), (index % 10).to(device))


def now() -> float:
    """The time, once the device has finished."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(run: Callable[[], object], times: int) -> float:
    """Of one call: the mean over so many, after one that warms up."""
    run()
    start = now()
    for _ in range(times):
        run()
    return (now() - start) / times


# --- the parts ----------------------------------------------------------------------------------------------------


def ceilings() -> Found:
    side, size = (8192, 2**31) if GPU else (256, 2**20)
    a, b = (torch.zeros(size, dtype=torch.uint8, device=DEVICE) for _ in range(2))
    yield "copy", "TB/s", 2 * size / seconds(lambda: a.copy_(b), 10) / 1e12
    for dtype in (torch.bfloat16, torch.float32):
        x, y = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
        yield str(dtype), "TFLOP/s", 2 * side**3 / seconds(lambda x=x, y=y: x @ y, 10) / 1e12


def agreement() -> Found:
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    for name, (method, fields) in METHODS.items():
        config = cell(**{"method": method, **fields})
        try:
            here, there = three_losses(config, torch.device("cpu")), three_losses(config, DEVICE)
        except Exception as error:  # each kind of cell is to be tried
            traceback.print_exc()
            yield name, "failed", " ".join(str(error).split())[:300]
        else:
            off = max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(here, there, strict=True))
            yield name, "off", off
            yield name, "good", "yes" if off <= AGREES else "NO"
    torch.backends.cudnn.allow_tf32 = before


def three_losses(config: Pretrain, device: torch.device) -> list[float]:
    """The losses of three steps; on a GPU the third raises where it waits for the device."""
    of = data(256, device)
    run = pretrain._Run(config, of, of)
    run.model.train()
    losses: list[torch.Tensor] = []
    try:
        for step in range(3):
            row = torch.arange(step * config.batch, (step + 1) * config.batch, device=device)
            pixels = of.pixels[row]
            if device.type == "cuda" and step == 2:
                torch.cuda.set_sync_debug_mode("error")
            losses.append(run.step(pixels, row, 1, step)["loss"])
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return [float(loss) for loss in losses]


def same_views() -> Found:
    count = 512 if GPU else 16
    pixels, index = images(count), torch.arange(count)
    there = pixels.to(DEVICE), index.to(DEVICE)
    for name, how in (("cifar", CIFAR), ("level 3", LEVEL_3)):
        wanted = views.augment(pixels, index, 4, how, 3, torch.tensor(7))
        epoch = torch.full((), 7, device=DEVICE)
        ways = {"eager": views.augment}
        if GPU:
            ways["compiled"] = torch.compile(views.augment, dynamic=False)
        for way, augment in ways.items():
            gap = (augment(*there, 4, how, 3, epoch).cpu() - wanted).abs().amax((2, 3, 4))
            yield f"{name}, {way}", "largest difference", float(gap.max())
            yield f"{name}, {way}", "views that differ by 0.001", float((gap > 1e-3).float().mean())
            took = seconds(lambda augment=augment, how=how, epoch=epoch: augment(*there, 4, how, 3, epoch), 10)
            yield f"{name}, {way}", "ms", 1e3 * took


def rates() -> Found:
    of = data(COUNT, DEVICE)
    wide = {"projector": Projector(width=8192 if GPU else 64), "method": BarlowTwins(weight=0.0008)}
    cases: dict[str, dict[str, Any]] = {
        "2 views": {}, "4 views": {"views": 4}, "8 views": {"views": 8}, "wide": wide,
        "diet": {"method": Diet(), **HEAD}, "sdiet": {"method": SDiet(), **HEAD},
    }  # fmt: skip
    if GPU:
        cases["resnet50, 2 views"] = {"encoder": Encoder(name="resnet50"), "batch": 256}
    for compiled in (False, True) if GPU else (False,):
        for name, fields in cases.items():
            yield from rate(f"{name}, {'compiled' if compiled else 'eager'}", cell(**(BIG | fields)), of, compiled)


def rate(name: str, config: Pretrain, of: feeding.Data, compiled: bool) -> Found:
    run = pretrain._Run(config, of, None)
    run.model.train()
    if compiled:
        run.compile()
    rows = torch.randperm(len(of.index), generator=torch.Generator().manual_seed(0))[: config.batch].to(DEVICE)
    host: list[float] = []

    def step() -> None:
        start = time.perf_counter()
        run.step(of.pixels[rows], rows, 1, 0)
        host.append(time.perf_counter() - start)

    start = now()
    step()
    yield name, "first step, s", now() - start
    took = seconds(step, 40 if GPU else 2)
    yield name, "view-images/s", config.views * config.batch / took
    yield name, "ms a step", 1e3 * took
    yield name, "ms a step on the host", 1e3 * median(host[1:])
    if GPU:
        yield name, "peak MiB", torch.cuda.max_memory_allocated() >> 20
        torch.cuda.reset_peak_memory_stats()


def resume() -> Found:
    of, config = data(4096 if GPU else 128, DEVICE), cell(**(BIG | {"epochs": 3}))
    for exact in (False, True):
        torch.backends.cudnn.deterministic = exact
        whole = [(one.state(), one.weights()) for one in pretrain.pretrain(config, of)]
        rest = [one.weights() for one in pretrain.pretrain(config, of, whole[0][0], 1)]
        alike = all(torch.equal(part, rest[-1][name]) for name, part in whole[-1][1].items())
        yield f"cudnn deterministic: {exact}", "same bytes", "yes" if alike else "no"
    torch.backends.cudnn.deterministic = False


def peer() -> Found:
    import training

    count = 10_240 if GPU else 128
    of = Cell(cell(**(BIG | {"epochs": 2})), data(count, DEVICE))
    took: dict[str, float] = {}
    for name, train in (("entia", training.entia), ("plain script", training.plain)):
        start = now()
        train(of)
        took[name] = now() - start
        yield name, "view-images/s", 2 * of.config.views * (count // of.config.batch * of.config.batch) / took[name]
    yield "entia", "times as fast", took["plain script"] / took["entia"]


PARTS: dict[str, Callable[[], Found]] = {
    "ceilings": ceilings, "agreement": agreement, "views": same_views, "rates": rates, "resume": resume, "peer": peer,
}  # fmt: skip


def measure(parts: list[str], end: float) -> Iterator[dict[str, object]]:
    """A row for each quantity, printed as it comes; no further part is begun, nor case of one, once the time is up."""
    device = torch.cuda.get_device_name() if GPU else processor()
    for part in parts:
        found = PARTS[part]()
        while time.monotonic() < end:
            try:
                case, quantity, value = next(found)
            except StopIteration:
                break
            except Exception as error:  # the next part is to be tried
                traceback.print_exc()
                case, quantity, value = "", "failed", " ".join(str(error).split())[:300]
            row = {"part": part, "case": case, "quantity": quantity}
            row["value"] = f"{value:.5g}" if isinstance(value, float) else value
            print(*row.values(), sep="\t", flush=True)
            yield row | {"device": device, "torch": torch.__version__}
        else:
            print(part, "", "cut short", "the time is up", sep="\t", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=140, help="begin nothing after so many (default: 140)")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=", ".join(PARTS))
    arguments = parser.parse_args()
    torch.set_num_threads(8 if GPU else 1)
    rows = list(measure(arguments.parts, time.monotonic() + arguments.seconds))
    if GPU:
        write("gpu", rows)
    else:
        print("a rehearsal, on a CPU: nothing is written")


if __name__ == "__main__":
    main()
