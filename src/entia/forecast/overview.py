"""What `entia plan` says: each artefact's cells, time and memory; a cluster's jobs; the commands that are left."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from entia import config
from entia.artefacts import adopted, provenance, store
from entia.config import KINDS, Stage
from entia.forecast import cluster, estimate
from entia.forecast.estimate import Calibration, Estimate
from entia.plan import Plan
from entia.sizes import counted
from entia.system import faults, machines

HOW = "no times: `entia calibrate` measures this machine in about a minute"


def calibration(file: Path, asked: Path | None) -> tuple[Calibration | None, str]:
    """The calibration asked for, or this machine's, and a line on what it is; None if there is none for it."""
    if asked is None and not faults.is_there(file):
        return None, HOW
    found = estimate.load(asked or file)
    if asked is None and not is_here(found):
        return None, (
            f"no times: {file} is of another machine ({found.machine}), or other cores; `entia calibrate` measures "
            f"this one, `--calibration {file}` takes it as it is"
        )
    from entia.forecast import calibrate

    stale = "" if found.code == calibrate.code() else "; the code has changed since, `entia calibrate` measures it anew"
    return found, f"times on {found.machine}, {found.places} cells at once, PyTorch {found.torch}{stale}"


def is_here(found: Calibration) -> bool:
    """Whether a calibration is this machine's: processor, cores, GPUs."""
    return found.host == provenance.host() and found.gpus == len(machines.gpus())


def taken_up(plan: Plan, drawn: Plan, data: Path, cells: Sequence[str], ours: Sequence[str]) -> str:
    """What `entia adopt ARCHIVE` did: the cells, what is drawn from them, and what is not."""
    away, made = adopted.cells(plan, data), {cell for artefact in drawn.rows for cell in drawn.cells(artefact)}
    lines = [f"{plan.scale} scale: {len(cells)} cells taken up; " + (adopted.whence(away.values()) if away else "")]
    if ours:
        lines.append(f"{len(ours)} left out, since they were trained here: {', '.join(ours)}")
    lines.append(f"{len(drawn.reports)} tables and figures drawn from {len(made)} of {len(plan.pretrains)} cells: ")
    lines[-1] += str(plan.folder / "index.html")
    if without := plan.reports.keys() - drawn.reports.keys():
        lines.append(f"not drawn, for want of any readout: {', '.join(sorted(without))}")
    lines.append(f"`snakemake` trains none of them again at scale: {plan.scale}; `entia check` names them")
    return "\n".join(lines)


# --- artefacts ----------------------------------------------------------------------------------------------------


def artefacts(plan: Plan, data: Path, found: Calibration | None, about: str) -> str:
    """A row an artefact, then the whole study, each shared cell once."""
    done = {name for name, cell in plan.pretrains.items() if faults.is_there(store.path(data, cell))}
    of = Estimate(found, copied=True) if found else None
    ratios = measured(plan, data, of) if of else {}
    times = f"{'time':>8} {'GPU MiB':>8} {'off':>5}" if of else ""
    lines = [f"scale {plan.scale}; an artefact's cells are its pretraining runs", ""]
    lines.append(f"{'artefact':10} {'rows':>5} {'cells':>5} {'done':>5} {times}  title")
    asked = 0
    for artefact, report in plan.reports.items():
        cells = plan.cells(artefact)
        asked += len(cells)
        more = _times(plan, cells, {row.readout for row in plan.rows[artefact]}, of, ratios) if of else ""
        lines.append(
            f"{artefact:10} {len(plan.rows[artefact]):5} {len(cells):5} {len(done & {*cells}):5} {more}  {report.title}"
        )
    lines += [
        "",
        _counts(plan, asked, done),
        about,
    ]
    return "\n".join([*lines, *(_totals(plan, data, of, ratios) if of else []), *troubled(plan, data)])


def _counts(plan: Plan, asked: int, done: set[str]) -> str:
    """How many cells there are; the baselines, which nothing trains, counted apart."""
    own = {cell for artefact in plan.rows for cell in plan.cells(artefact)}
    beside = plan.pretrains.keys() - own
    trained = f"{asked} cells asked for, {len(own)} to train (shared ones once), {len(done & own)} done"
    return f"{trained}; {len(beside)} baselines, {len(done & beside)} done"


def troubled(plan: Plan, data: Path, logs: Path = Path("logs")) -> list[str]:
    """A line for each run that diverged and for each stage that failed last time, with the log that says more."""
    lines: list[str] = []
    for cell in plan.pretrains.values():
        if (file := store.log_path(data, cell)).exists() and (how := _diverged(file)):
            lines.append(f"diverged: {config.label(cell)}: {how}  {file}")
    for step in KINDS:
        for name, stage in plan.of(step).items():
            log = logs / step / f"{name}.log"
            if not store.path(data, stage).exists() and log.exists() and (how := _failure(log)):
                lines.append(f"failed: {step} {config.label(stage)}: {how}  {log}")
    return lines


def _diverged(file: Path) -> str:
    """How a run diverged; nothing if it did not, which the first line of its log shows."""
    with file.open(encoding="utf-8") as log:
        if "diverged" not in log.readline():
            return ""
    return str(store.read_log(file)[-1]["diverged"])


def _failure(log: Path) -> str:
    """A failed stage's last words; nothing of one that is running or was stopped."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    said = next((line for line in reversed(lines) if line.startswith("entia: ")), "")
    return said.removeprefix("entia: ") or (lines[-1] if any(line.startswith("Traceback") for line in lines) else "")


def _times(
    plan: Plan, cells: Sequence[str], readouts: set[str], of: Estimate, ratios: Mapping[str, tuple[float, float]]
) -> str:
    """An artefact's time, alone, from nothing; its largest cell's GPU memory; measured by estimated time."""
    stages = _with_parents(plan.readouts[name] for name in readouts)
    seconds = estimate.makespan(estimate.chains(stages, of), of.calibration.places) + of.start("report")
    peak = max((of.peak_mib(plan.pretrains[cell]) for cell in cells), default=0.0)
    return f"{duration(seconds):>8} {peak:8,.0f} {_off(ratios[cell] for cell in cells if cell in ratios):>5}"


def _with_parents(stages: Iterable[Stage]) -> list[Stage]:
    found: dict[str, Stage] = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        if config.name(stage) not in found:
            found[config.name(stage)] = stage
            waiting += stage.parents
    return list(found.values())


def _off(pairs: Iterable[tuple[float, float]]) -> str:
    """Measured by estimated seconds; nothing without any."""
    given = list(pairs)
    return f"{sum(m for m, _ in given) / sum(e for _, e in given):.2f}" if given else ""


def _totals(plan: Plan, data: Path, of: Estimate, ratios: Mapping[str, tuple[float, float]]) -> list[str]:
    everything = [stage for step in KINDS for stage in plan.of(step).values()]
    left = [stage for stage in everything if not faults.is_there(store.path(data, stage))]
    drawing = len(plan.reports) * of.start("report")
    parts = {step: sum(of.seconds(stage) for stage in plan.of(step).values()) for step in KINDS}
    scaled = sum(not of.is_measured(cell) for cell in plan.pretrains.values())
    lines = [
        f"the whole study: {_whole(everything, drawing, of)}, of which {_whole(left, drawing, of)} are left; a core's "
        f"or a GPU's share: "
        + ", ".join(f"{step} {duration(part)}" for step, part in parts.items())
        + f", drawing {duration(drawing)}",
        f"GPU memory is {of.calibration.memory}"
        + (" (parameters, optimiser, what backward needs, images)" if of.calibration.memory == "computed" else ""),
    ]
    if scaled:
        lines.append(f"{scaled} cells' steps are scaled by multiply-adds from those measured")
    if ratios:
        each = sorted(measured / expected for measured, expected in ratios.values())
        lines.append(
            f"off: measured by estimated seconds of training, of the {len(each)} cells trained on this machine: "
            f"{_off(ratios.values())} overall, {each[0]:.2f} to {each[-1]:.2f} a cell, median {median(each):.2f}"
        )
    return lines


def _whole(stages: Sequence[Stage], drawing: float, of: Estimate) -> str:
    places = of.calibration.places
    return duration(estimate.makespan(estimate.chains(stages, of), places) + drawing / places)


def measured(plan: Plan, data: Path, of: Estimate) -> dict[str, tuple[float, float]]:
    """Measured and estimated seconds of the done cells whose every epoch was trained on the calibrated machine."""
    found: dict[str, tuple[float, float]] = {}
    for name, cell in plan.pretrains.items():
        file = store.log_path(data, cell)
        if not faults.is_there(file):
            continue
        rows = store.read_log(file)
        on = {provenance.model(row["machine"]) for row in rows}
        if on == {provenance.model(of.calibration.machine)} and not rows[-1].get("diverged"):
            found[name] = sum(float(row["seconds"]) for row in rows), of.training(cell)
    return found


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{math.ceil(seconds)} s"


def cells(plan: Plan, artefact: str, data: Path, found: Calibration | None) -> str:
    """A line for each of an artefact's cells: whether it is done, its name, what it is, how long it takes."""
    of = Estimate(found) if found else None
    lines: list[str] = []
    for name in plan.cells(artefact):
        cell = plan.pretrains[name]
        head = config.head_bytes(cell, counted(cell.subset).train or 0) / 2**20
        what = config.label(cell) + (f"; head and its optimiser {head:,.0f} MiB" if head >= 1 else "")
        time = f"  {duration(of.seconds(cell)):>8}" if of else ""
        lines.append(f"{'done' if faults.is_there(store.path(data, cell)) else 'to do'}{time}  {name}  {what}")
    return "\n".join(lines)


# --- a cluster ----------------------------------------------------------------------------------------------------


def on_cluster(plan: Plan, data: Path, profile: cluster.Profile, gpus: int | None, found: Calibration | None) -> str:
    """A line a rule, then GPU-hours and the time until all is done."""
    of = Estimate(found) if found else estimate.Rate()
    everything = (stage for step in KINDS for stage in plan.of(step).values())
    left = [stage for stage in everything if not faults.is_there(store.path(data, stage))]
    rows = cluster.lines(plan, left, profile, of)
    head = f"{'rule':10} {'jobs':>7} {'left':>7} {'submitted':>9} {'GPU-hours':>10}"
    body = [f"{r.rule:10} {r.jobs:7,} {r.left:7,} {r.submissions:9,} {r.hours or 0:10,.1f}" for r in rows]
    total = cluster.Line("all", *(sum(getattr(r, n) for r in rows) for n in ("jobs", "left", "submissions", "hours")))
    body.append(f"{total.rule:10} {total.jobs:7,} {total.left:7,} {total.submissions:9,} {total.hours:10,.1f}")
    places = gpus or profile.gpus or profile.jobs
    limit = "" if math.isinf(profile.max_minutes) else f", {profile.max_minutes:,.0f} min a job"
    lines = [
        f"scale {plan.scale}, profile {profile.name}: {profile.jobs or 'any number of'} jobs in the queue{limit}",
        "",
    ]
    lines += [head, *body, ""]
    if places is None:
        lines.append("until all is done: give --gpus N, the profile does not say how many cells run at once")
    else:
        places = min(places, profile.jobs or places)
        whence = "--gpus" if gpus else "the profile's limit"
        lines.append(
            f"until all is done: {duration(3600 * cluster.hours(left, places, of))} on {places} GPUs ({whence}), "
            "waiting in queues aside"
        )
    lines.append(_rests_on(found))
    return "\n".join(lines)


def _rests_on(found: Calibration | None) -> str:
    if found is None:
        return (
            f"rests on multiply-adds at {machines.RATE / 1000:g}·10¹² a second, a slow GPU's: "
            "`entia calibrate --at-once 1` on one of the cluster's GPUs, then --calibration FILE"
        )
    return f"rests on a calibration of {found.machine}, {found.places} cells at once there, PyTorch {found.torch}"


# --- commands -----------------------------------------------------------------------------------------------------


def commands(plan: Plan, data: Path, is_current: Callable[[Stage], bool], found: Calibration | None) -> list[str]:
    """A command for each stage that is not current or follows one that is not, then the drawings.

    A cell's embeddings and readouts follow it, so that whatever is interrupted has left finished cells.
    """
    left: dict[str, tuple[str, Stage]] = {}
    for step in KINDS:
        for name, stage in plan.of(step).items():
            if any(config.name(parent) in left for parent in stage.parents) or not is_current(stage):
                left[name] = step, stage
    position = {name: number for number, name in enumerate(plan.pretrains)}

    def order(item: tuple[str, Stage]) -> tuple[int, int, int]:
        step, stage = item
        cell = config.cell_of(stage)
        return int(step != "subset"), position.get(config.name(cell), 0), KINDS.index(step)

    stages = [f"{step} {config.name(stage)}" for step, stage in sorted(left.values(), key=order)]
    drawings = [*(f"report {artefact}" for artefact in plan.reports), "claims", "index"]
    # with the scale: params.yaml's own may be another, or be switched before the last of them has run
    calls = [f"entia {call} --scale {plan.scale}" for call in (*stages, *drawings)]
    return [_comes_to(plan, [stage for _, stage in left.values()], found), *calls]


def _comes_to(plan: Plan, left: Sequence[Stage], found: Calibration | None) -> str:
    """A comment that a shell passes over: what the list comes to, one command after the other."""
    if found is None:
        return f"# {len(left)} stages; {HOW}"
    of = Estimate(found)
    seconds = sum(of.seconds(stage) for stage in left) + len(plan.reports) * found.start["report"]
    return f"# {len(left)} stages, {duration(seconds)} one after the other on {found.machine}"


def current(data: Path, code: Callable[[str, Stage], str]) -> Callable[[Stage], bool]:
    """Tells whether an artefact is whole and of today's code. Raises `Problem` where it is damaged or foreign."""
    from entia.artefacts import check

    def is_current(stage: Stage) -> bool:
        if not faults.is_there(store.path(data, stage)):
            return False
        head = check.open_head(data, stage)
        whole = all(map(faults.is_there, store.files(data, stage)))
        return whole and head["code"] == code(stage.kind, stage)

    return is_current
