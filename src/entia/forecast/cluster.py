"""What a study comes to on a cluster: jobs by rule, submissions, GPU-hours and the time until all is done."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entia.config import KINDS, Embed, Pretrain, Problem, Stage
from entia.forecast import estimate
from entia.plan import Plan
from entia.system import home, machines

PROFILES = home.HOME / "profiles"


@dataclass(frozen=True)
class Profile:
    """What a Snakemake profile says of how jobs run."""

    name: str
    jobs: int | None = None
    """In the queue at once."""
    gpus: int | None = None
    """The limit on the resource `gpu`: cells at once."""
    max_minutes: float = math.inf
    groups: dict[str, str] = field(default_factory=dict[str, str])
    """A rule's group."""
    together: dict[str, int] = field(default_factory=dict[str, int])
    """How many unconnected parts of a group are one job."""


def read(name: str) -> Profile:
    """The profile of that name that comes with the Snakefile, or in a folder. Raises `Problem` if there is none."""
    import yaml
    import yte

    file = next((p for p in (PROFILES / name / "config.yaml", Path(name) / "config.yaml") if p.exists()), None)
    if file is None:
        known = ", ".join(sorted(path.parent.name for path in PROFILES.glob("*/config.yaml")))
        raise Problem(f"{name}: no profile of that name in {PROFILES}, nor a folder with a config.yaml; known: {known}")
    try:
        raw: Any = yte.process_yaml(file.read_text(encoding="utf-8"), require_use_yte=True) or {}
    except yaml.YAMLError as error:
        raise Problem(f"{file}: {error}") from error
    limit = _pairs(raw.get("config"), "=").get("max_minutes", math.inf)
    return Profile(
        name=file.parent.name,
        jobs=_number(raw.get("jobs")),
        gpus=_number(_pairs(raw.get("resources"), "=").get("gpu")),
        max_minutes=float(limit),
        groups=_pairs(raw.get("groups"), "="),
        together={group: int(count) for group, count in _pairs(raw.get("group-components"), "=").items()},
    )


def places(plan: Plan) -> int:
    """Cells that `snakemake --cores all` runs at once here, by the default profile and the cells' threads."""
    cores = len(os.sched_getaffinity(0))
    at_once = max(1, cores // max((cell.threads for cell in plan.pretrains.values()), default=1))
    has_profile = (PROFILES / "default" / "config.yaml").exists()
    return min(at_once, (read("default").gpus if has_profile else len(machines.gpus())) or at_once)


def _pairs(given: Any, mark: str) -> dict[str, Any]:
    """What a profile gives as a mapping or as a list of `name=value`."""
    return dict(given) if isinstance(given, Mapping) else dict(str(pair).split(mark, 1) for pair in given or ())


def _number(given: Any) -> int | None:
    return int(given) if str(given).isdigit() else None


@dataclass(frozen=True)
class Line:
    """One rule's part: its jobs in all, those left, their submissions, and their hours on a GPU."""

    rule: str
    jobs: int
    left: int
    submissions: int
    hours: float = 0.0


def lines(plan: Plan, left: Iterable[Stage], profile: Profile, of: "estimate.Estimate | estimate.Rate") -> list[Line]:
    """A line a rule. Tables and figures count as left: they are drawn when readouts change."""
    waiting: dict[str, list[Stage]] = {rule: [] for rule in KINDS}
    for stage in left:
        waiting[stage.kind].append(stage)
    found = [
        Line(
            rule,
            len(plan.of(rule)),
            len(stages),
            sum(_pieces(of.seconds(stage), profile) for stage in stages),
            sum(of.seconds(stage) for stage in stages) / 3600 if rule in ("pretrain", "embed") else 0.0,
        )
        for rule, stages in waiting.items()
    ]
    tables = sum(report.table is not None for report in plan.reports.values())
    drawn = {"table": tables, "figure": len(plan.reports) - tables, "claims": 1, "index": 1}
    return _grouped([*found, *(Line(rule, count, count, count) for rule, count in drawn.items())], profile)


def _pieces(seconds: float, profile: Profile) -> int:
    """Jobs that a stage takes, one going on where the last one's limit ended it."""
    return max(1, math.ceil(seconds / 60 / profile.max_minutes))


def _grouped(found: list[Line], profile: Profile) -> list[Line]:
    """Each group's submissions, on the line of its first rule. `index` connects all that it waits for: one part."""
    lines: list[Line] = []
    for line in found:
        group = profile.groups.get(line.rule)
        members = [other for other in found if group is not None and profile.groups.get(other.rule) == group]
        if members and members[0] is not line:
            line = Line(line.rule, line.jobs, line.left, 0, line.hours)
        elif members:
            connected = any(other.rule == "index" for other in members)
            parts = 1 if connected else sum(other.left for other in members)
            line = Line(
                line.rule, line.jobs, line.left, math.ceil(parts / profile.together.get(group or "", 1)), line.hours
            )
        lines.append(line)
    return lines


def hours(left: Iterable[Stage], gpus: int, of: "estimate.Estimate | estimate.Rate") -> float:
    """Until the last cell is embedded on so many GPUs, the longest first. Waiting in queues is not in it."""
    on_gpus = [stage for stage in left if isinstance(stage, Pretrain | Embed)]
    return estimate.makespan(estimate.chains(on_gpus, of), gpus) / 3600
