"""A short calibration of this machine, for `estimate`: the study's own steps, timed as they will run.

As many processes measure at once as the study runs cells at once, since cores and GPUs that are shared are slower.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median

import torch
from msgspec.structs import replace

from entia import feeding, plan, pretrain, sizes, stages
from entia.artefacts import provenance
from entia.config import Pretrain
from entia.forecast import estimate
from entia.forecast.estimate import Calibration, Known
from entia.planning import baselines
from entia.system import machines, streams

STARTED = ("subset", "pretrain", "readout", "report")
"""Stages whose start is timed. Embedding starts as pretraining does."""
FEW = 4
"""Images of the first, trying step."""


def calibrate(params: Path, study: plan.Plan, places: int, seconds: float) -> Calibration:
    """A calibration of the machine at hand for a plan, in about so many seconds; progress goes to standard error.

    What begins in that time is ended: on a slow machine the starts, or a cell's steps, may take longer.
    """
    end = time.time() + seconds  # of the wall's clock, which processes share
    start: dict[str, float] = {}
    for stage in STARTED:
        start[stage] = _seconds(lambda: _begin(stage, params))  # noqa: B023
        streams.say(f"a process that is to {stage} starts in {start[stage]:.1f} s; {_left(end)}")
    start |= {"embed": start["pretrain"], "job": _seconds(lambda: plan.load(params, study.scale))}
    cells, telling = unlike(study), [place == 0 for place in range(places)]
    with ProcessPoolExecutor(places, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_measure, [cells] * places, [end] * places, telling))
    each = zip(*(known for _, known in found), strict=False)  # as far as all of them came
    return Calibration(
        machine=found[0][0],
        host=provenance.host(),
        gpus=len(machines.gpus()),
        places=places,
        torch=str(torch.__version__),
        start=start,
        known=tuple(replace(of[0], seconds=mean(part.seconds for part in of)) for of in each),
    )


def unlike(study: plan.Plan) -> list[Pretrain]:
    """A plan's cells of different speed: first the lightest of each encoder, then those with most of the work."""
    first: dict[object, Pretrain] = {}
    work: dict[Pretrain, float] = {}
    for cell in study.pretrains.values():
        if not baselines.is_one(cell):
            one = first.setdefault(estimate.traits(cell), cell)
            work[one] = work.get(one, 0.0) + estimate.work(cell)
    lightest = {estimate.traits(cell)[:2]: cell for cell in sorted(work, key=estimate.work, reverse=True)}
    return list(dict.fromkeys([*lightest.values(), *sorted(work, key=lambda cell: -work[cell])]))


def _begin(stage: str, params: Path) -> None:
    """What a stage's process does before its work."""
    lines = [f"from entia import plan; plan.load({str(params)!r})", *map("import {}".format, stages.IMPORTS[stage])]
    if stage == "pretrain":
        lines.append("import torch; torch.cuda.is_available() and torch.cuda.init()")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _left(end: float) -> str:
    return f"{max(0.0, end - time.time()):.0f} s left"


def _measure(cells: list[Pretrain], end: float, tells: bool) -> tuple[str, list[Known]]:
    """What the machine is called, and what the cells take that are begun before `end`, the first always."""
    cap = max(0.0, end - time.time()) / 4 / max(len(cells), 1)
    device = stages.take_device(cells[0].threads if cells else 1)
    found: list[Known] = []
    for cell in cells:
        if not found or time.time() < end:
            found.append(_known(cell, device, cap))
            if tells:
                streams.say(f"cell {len(found)} of {len(cells)}: {_rate(found[-1]):,.0f} images a second; {_left(end)}")
    return stages.name_of(device), found


def _rate(known: Known) -> float:
    """Images that are trained on a second, each with all of its views."""
    return known.cell.epochs * machines.sizes(known.cell.subset)[0] / known.seconds


def _known(of: Pretrain, device: torch.device, cap: float) -> Known:
    """By a step of as many images as `cap` seconds allow; on a GPU by a whole one, since its memory is measured too."""
    images = of.batch if device.type == "cuda" else min(FEW, of.batch)
    seconds = _step(of, images, device, cap if images == of.batch else 0.0)
    if (more := min(of.batch, int(images * cap / seconds))) > images:
        images, seconds = more, _step(of, more, device, cap)
    shown = of.epochs * machines.sizes(of.subset)[0]
    return Known(cell=of, seconds=shown * seconds / images, peak_mib=pretrain._peak_mib(device))


def _step(of: Pretrain, images: int, device: torch.device, cap: float) -> float:
    """Seconds of a step: the median of those that `cap` seconds hold, after one that warms up."""
    held = sizes.expected(of.subset)
    count = max(machines.sizes(of.subset)[0], of.batch)
    one = torch.zeros(1, held.channels, held.side, held.side, dtype=torch.uint8)
    pixels = one.random_(generator=torch.Generator().manual_seed(0)).to(device).expand(count, -1, -1, -1)
    index = torch.arange(count, device=device)
    data = feeding.Data(pixels, index, index % 10)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run = pretrain._Run(replace(of, epochs=1), data, data)
    run.model.train()

    def step() -> None:
        run.step(pixels[index[:images]], index[:images], 1, 0)
        run.waited()

    step()
    times: list[float] = []
    while not times or (sum(times) < cap and len(times) < 20):
        times.append(_seconds(step))
    return median(times)
