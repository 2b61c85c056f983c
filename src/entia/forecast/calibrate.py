"""A short calibration of this machine, for `estimate`: the study's own steps, timed as they will run.

As many processes measure at once as the study runs cells at once, since cores and GPUs that are shared are slower.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from entia import config, stages
from entia.artefacts import provenance, store
from entia.config import Diet, Embed, Pretrain, Probe, SDiet, Untrained
from entia.forecast import estimate
from entia.forecast.estimate import Calibration, Embedded, Read, Trained
from entia.plan import Plan
from entia.system import machines

if TYPE_CHECKING:
    import torch

    from entia.readout import Features

STARTED = ("subset", "pretrain", "readout", "report")
"""Stages whose start is timed. Embedding starts as pretraining does."""
JOB = """
import subprocess, sys, time
from entia import job, plan
job.start()
for _ in range(2):
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "entia.job", "pretrain", "--help"], check=True, stdout=subprocess.DEVNULL)
    plan.load("params.yaml")
print(time.perf_counter() - begin)
"""
"""The second of two jobs that are copies (the first waits for imports), with what each reads."""
FEW = 4
"""Images of the first, trying step."""


class Study(NamedTuple):
    """What a plan needs measured."""

    shapes: list[Pretrain]
    embeds: list[Embed]
    probes: list[tuple[Probe, int, int, int]]
    """With features, rows and classes."""


class Measured(NamedTuple):
    """What one process measured."""

    start: dict[str, float]
    written: float
    read: float
    trained: list[Trained]
    embedded: list[Embedded]
    readings: list[Read]
    machine: str


def study(plan: Plan) -> Study:
    """The plan's different shapes: first one of each encoder, then those with most of the study's work."""
    work: dict[Pretrain, float] = {}
    trained = [cell for cell in plan.pretrains.values() if not isinstance(cell.method, Untrained)]
    for cell in trained:
        of = estimate.shape(cell)
        work[of] = work.get(of, 0.0) + machines.work(cell)
    lightest = {(of.encoder, of.augmentation.size): of for of in sorted(work, key=machines.work, reverse=True)}
    shapes = [*lightest.values(), *sorted(work, key=lambda of: -work[of])]
    embeds = {estimate.encoding(embed): embed for embed in plan.embeds.values()}
    probes = {(type(read.probe), estimate.problem(read)): read for read in plan.readouts.values()}
    problems = [(read.probe, *estimate.problem(read)) for read in probes.values()]
    return Study(list(dict.fromkeys(shapes)), list(embeds.values()), problems)


def calibrate(plan: Plan, places: int, seconds: float) -> Calibration:
    """A calibration of the machine at hand for a plan, in about so many seconds."""
    wanted = study(plan)
    with ProcessPoolExecutor(places, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_measure, [wanted] * places, [seconds] * places))
    return _together(found, places)


def _together(found: list[Measured], places: int) -> Calibration:
    """The mean over processes of whatever all of them measured."""
    import torch

    first = found[0]
    trained = [
        msgspec.structs.replace(of[0], seconds=mean(part.seconds / part.images for part in of) * of[0].images)
        for of in zip(*(part.trained for part in found), strict=False)
    ]
    embedded = [
        msgspec.structs.replace(of[0], seconds=mean(part.seconds for part in of))
        for of in zip(*(part.embedded for part in found), strict=True)
    ]
    readings = [
        msgspec.structs.replace(of[0], seconds=mean(part.seconds for part in of))
        for of in zip(*(part.readings for part in found), strict=True)
    ]
    return Calibration(
        machine=first.machine,
        host=provenance.host(),
        gpus=len(machines.gpus()),
        places=places,
        memory="measured" if torch.cuda.is_available() else "computed",
        torch=str(torch.__version__),
        code=code(),
        start={stage: mean(part.start[stage] for part in found) for stage in first.start},
        written=mean(part.written for part in found),
        read=mean(part.read for part in found),
        trained=tuple(trained),
        embedded=tuple(embedded),
        readings=tuple(readings),
    )


def code() -> str:
    """The fingerprint of the code that a calibration times."""
    return provenance.fingerprint("pretrain", "embed", "readout")


# --- in one process -----------------------------------------------------------------------------------------------


def _measure(wanted: Study, seconds: float) -> Measured:
    begin = time.perf_counter()
    start = {stage: _seconds(lambda: _begin(stage)) for stage in STARTED}  # noqa: B023
    start["embed"] = start["pretrain"]
    device = stages.take_device(wanted.shapes[0].threads if wanted.shapes else 1)
    start["job"] = _job(device)
    written, read = _files()
    cap = max(0.02, seconds / 10 / (1 + len(wanted.embeds) + len(wanted.probes)))
    embedded = [_embedded(embed, device, cap) for embed in wanted.embeds]
    readings = [_read(*of, cap) for of in wanted.probes]
    left = max(seconds / 4, seconds - (time.perf_counter() - begin))
    end, cap = time.perf_counter() + left, left / 4 / max(len(wanted.shapes), 1)
    trained: list[Trained] = []
    for of in wanted.shapes:
        if trained and time.perf_counter() > end:
            break
        trained.append(_trained(of, device, cap))
    return Measured(start, written, read, trained, embedded, readings, stages.name_of(device))


def _begin(stage: str) -> None:
    """What a stage's process does before its work."""
    lines = ["from entia import cli, plan; plan.load(cli.PARAMS)", *map("import {}".format, stages.IMPORTS[stage])]
    if stage == "pretrain":
        lines.append("import torch; torch.cuda.is_available() and torch.cuda.init()")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def _job(device: "torch.device") -> float:
    """Seconds of a job that is a copy of a process, until it knows its stage; then those of a GPU's start."""
    import torch

    found = subprocess.run([sys.executable, "-c", JOB], check=True, stdout=subprocess.PIPE)
    return float(found.stdout) + _seconds(lambda: torch.zeros(1, device=device))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _files() -> tuple[float, float]:
    """Seconds a MiB to write features, compressed, and to read them."""
    features = np.random.default_rng(0).standard_normal((2**12, 2**9), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.h5"
        written = _seconds(lambda: store.write_hdf5(file, {"features": features}, {"config": {}}))
        read = _seconds(lambda: store.read_hdf5(file))
    mib = features.nbytes / 2**20
    return written / mib, read / mib


def _images(count: int, channels: int, side: int, device: "torch.device") -> "torch.Tensor":
    """One image of noise, `count` times over, in the memory of one."""
    import torch

    one = torch.randint(256, (1, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return one.to(device).expand(count, -1, -1, -1)


def _trained(of: Pretrain, device: "torch.device", cap: float) -> Trained:
    """A step of as many images as `cap` seconds allow: on a GPU always the whole batch, whose memory is measured."""
    if device.type == "cuda":
        seconds, peak = _step(of, of.batch, device, cap)
        return Trained(shape=of, seconds=seconds, images=of.batch, peak_mib=peak)
    few = min(FEW, of.batch)
    first = _step(of, few, device, 0.0)[0]
    images = max(few, min(of.batch, int(few * cap / first)))
    seconds = _step(of, images, device, cap)[0] if images > few else first
    return Trained(shape=of, seconds=seconds, images=images, peak_mib=computed_mib(of))


def _step(of: Pretrain, images: int, device: "torch.device", cap: float) -> tuple[float, float]:
    """Seconds of a step (the median of those that `cap` seconds hold, after one that warms up), and MiB at its peak."""
    import torch

    from entia import pretrain

    pool, _, _ = estimate.counts(of.subset)
    count = pool if isinstance(of.method, Diet | SDiet) else max(images, of.batch)
    pixels = _images(count, estimate.channels(of.subset), machines.sizes(of.subset)[1], device)
    index = torch.arange(count, device=device)
    data = pretrain.Data(pixels, index, index % 10)
    run = pretrain._Run(of, data, data)
    run.model.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def step() -> None:
        run.step(pixels[index[:images]], index[:images], 1, 0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()
    times: list[float] = []
    while not times or (sum(times) < cap and len(times) < 20):
        times.append(_seconds(step))
    held = pool * pixels[0].numel()  # what the whole data set would take, of which one image is here
    peak = (torch.cuda.max_memory_allocated(device) + held) / 2**20 if device.type == "cuda" else 0.0
    return median(times), peak


def computed_mib(of: Pretrain) -> float:
    """GPU memory of a step in MiB: 4 bytes × parameters × (2 + the optimiser's slots), what autograd keeps, the images.

    Autograd's part is counted on a few images, whose share it is, and taken times the batch; in bfloat16 half of it.
    The views' and the loss's own temporaries are not in it.
    """
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    from entia import nets

    subset = of.subset
    count, side = machines.sizes(subset)
    channels, size = estimate.channels(subset), of.augmentation.size or side
    model = nets.build(of.encoder, of.projector, channels, size, 0)
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        base = tensor if tensor._base is None else tensor._base
        if not isinstance(base, torch.nn.Parameter):
            saved[id(base)] = base
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        parts = [(of.views, size), *([(of.crops.views, of.crops.size)] if of.crops else [])]
        for views, pixels in parts:
            nets.project(model, torch.zeros(views, FEW, channels, pixels, pixels), of.batch_norm, "float32")
    slots = config.moments(of.optimizer)
    weights = 4 * nets.parameters_count(model) * (2 + slots) + config.head_bytes(of, count)
    activations = sum(tensor.nbytes for tensor in saved.values()) * of.batch / FEW
    activations /= 2 if of.precision == "bfloat16" else 1
    return (weights + activations + count * channels * side**2) / 2**20


def _embedded(of: Embed, device: "torch.device", cap: float) -> Embedded:
    import torch

    from entia import embed, nets

    encoder, side, channels, threads = estimate.encoding(of)
    one = msgspec.structs.replace(of, views=1)
    weights = nets.build(encoder, config.Projector(depth=0), channels, side, of.pretrain.seed).encoder.state_dict()

    def run(count: int) -> float:
        pixels = _images(count, channels, machines.sizes(of.on)[1], device)
        return _seconds(lambda: embed.embed(one, weights, pixels, torch.arange(count, device=device)).cpu()) / count

    first = run(FEW)
    count = embed.CHUNK if device.type == "cuda" else min(embed.CHUNK, int(cap / first))
    return Embedded(
        encoder=encoder, side=side, channels=channels, threads=threads,
        seconds=min(first, run(count)) if count > FEW else first,
    )  # fmt: skip


def _read(probe: Probe, features: int, rows: int, classes: int, cap: float) -> Read:
    """A problem of as many rows as `cap` seconds allow, at 10⁹ multiply-adds a second, which any core does."""
    from threadpoolctl import threadpool_limits

    from entia import readout, spectrum

    if isinstance(probe, config.AdamProbe | config.MLPProbe):
        probe = msgspec.structs.replace(probe, epochs=1)
    if isinstance(probe, config.Neighbours):
        probe = msgspec.structs.replace(probe, k=min(probe.k, 10))
    while rows > 500 and estimate.effort(probe, features, rows, classes) > cap * 1e9:
        rows //= 2
    generator = np.random.default_rng(0)
    parts = [_features(generator, count, features, classes) for count in (rows, max(rows // 9, 10), max(rows // 4, 50))]
    problem = (parts[0], parts[1], parts[2])
    with threadpool_limits(1):
        seconds = _seconds(lambda: (readout.read_many(probe, [problem], classes), spectrum.summary(parts[2].features)))
    return Read(probe=probe, features=features, rows=rows, seconds=seconds)


def _features(generator: np.random.Generator, rows: int, features: int, classes: int) -> "Features":
    from entia.readout import Features

    label = generator.integers(classes, size=rows)
    label[:classes] = np.arange(classes)[:rows]
    return Features(generator.standard_normal((rows, features), dtype=np.float32), label)
