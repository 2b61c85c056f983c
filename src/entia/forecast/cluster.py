"""What a study comes to on a cluster: jobs by rule, GPU-hours and the time until all is done."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from entia.config import STAGES, Embed, Pretrain, Stage
from entia.fields import Problem
from entia.forecast.estimate import Estimate, whole
from entia.plan import Plan
from entia.system import home, machines

PROFILES = home.HOME / "profiles"


class Profile(NamedTuple):
    """What a Snakemake profile says of how jobs run."""

    name: str
    jobs: int | None = None
    """In the queue at once."""
    gpus: int | None = None
    """The limit on the resource `gpu`: cells at once."""
    max_minutes: float = math.inf


def read(name: str) -> Profile:
    """The profile of a name below workflow/profiles, or in a folder. Raises `Problem` if there is none."""
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
    limit = float(_pairs(raw.get("config")).get("max_minutes", math.inf))
    return Profile(file.parent.name, _number(raw.get("jobs")), _number(_pairs(raw.get("resources")).get("gpu")), limit)


def places(plan: Plan) -> int:
    """Cells that `snakemake --cores all` runs at once here, by the default profile and the cells' threads."""
    at_once = max(1, machines.cores() // max((cell.threads for cell in plan.pretrains.values()), default=1))
    has_profile = (PROFILES / "default" / "config.yaml").exists()
    return min(at_once, (read("default").gpus if has_profile else len(machines.gpus())) or at_once)


def _pairs(given: Any) -> dict[str, Any]:
    """What a profile gives as a mapping or as a list of `name=value`."""
    return dict(given) if isinstance(given, Mapping) else dict(str(pair).split("=", 1) for pair in given or ())


def _number(given: Any) -> int | None:
    return int(given) if str(given).isdigit() else None


class Line(NamedTuple):
    """One rule's part: what it makes in all, what is left of that, in how many jobs, and their hours on a GPU."""

    rule: str
    made: int
    left: int
    jobs: int
    hours: float = 0.0


def lines(plan: Plan, left: Sequence[Stage], profile: Profile, of: Estimate) -> list[Line]:
    """A line a rule, then all. A job that its limit ends goes on in another; a profile's groups are not counted.

    Tables and figures count as left: they are drawn when readouts change.
    """
    found: list[Line] = []
    for kind in STAGES:
        seconds = [of.seconds(stage) for stage in left if type(stage) is kind]
        jobs = sum(max(1, math.ceil(part / 60 / profile.max_minutes)) for part in seconds)
        hours = sum(seconds) / 3600 if kind in (Pretrain, Embed) else 0.0
        found.append(Line(kind.kind, len(plan.of(kind.kind)), len(seconds), jobs, hours))
    drawn = len(plan.reports) + 2  # the claims and the page
    found.append(Line("drawing", drawn, drawn, drawn))
    return [*found, Line("all", *(sum(column) for column in zip(*(line[1:] for line in found), strict=True)))]


def hours(left: Sequence[Stage], gpus: int, of: Estimate) -> float:
    """Until the last cell is embedded on so many GPUs. Waiting in queues is not in it."""
    return whole([stage for stage in left if isinstance(stage, Pretrain | Embed)], of, gpus) / 3600
