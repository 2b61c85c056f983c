"""What git keeps of results. Runs write into reports/, which git ignores; `entia record` copies from there."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from entia.artefacts import adopted, current, provenance, redrawing, store
from entia.fields import Problem
from entia.plan import Plan
from entia.planning import mistakes
from entia.system import faults, home

FOLDER = Path("recorded")
FORMATS = (".csv", ".md", ".png", ".html", ".json")
"""What people and programs read. pdf, svg and tex, with which papers are set, are large, and any run draws them."""
SPEED = Path("reports/benchmarks")


def origin(plan: Plan, data: Path) -> str:
    """From which commit, and on which machines and versions, the results came.

    Raises `Problem` where a readout is not of today's config and code: then no commit stands for what was drawn.
    """
    shown = {row.readout: plan.readouts[row.readout] for report_id in plan.reports for row in plan.drawn(report_id)}
    made = adopted.to_make(plan, data).readouts.keys()
    stale = [name for name, readout in shown.items() if name in made and not current.is_current(data, readout)]
    if stale:
        are = "are" if len(stale) > 1 else "is"
        raise Problem(f"{mistakes.some(stale, 1)} {are} not current; `make`, then record what it draws")
    heads = [store.read_head(store.path(data, readout)) for readout in shown.values()]
    cells, of = len({readout.embed.pretrain for readout in shown.values()}), len(plan.pretrains)
    count = f"{cells} of {of}" if cells < of else f"{of}"
    machines = sorted({head["machine"] for head in heads})
    versions = sorted({_versions(head["versions"]) for head in heads})
    whole = adopted.Origin(*home.commit(Path("params.yaml")), machine=provenance.machine(), code="0" * 12)
    said = [
        f"Drawn from {adopted.described(whole)}: {count} pretraining runs at {plan.scale} scale",
        f"made on {' and '.join(machines)}" if machines else "",
        f"with {'; or '.join(versions)}" if versions else "",
        adopted.note(plan, data).rstrip("."),
    ]
    return "; ".join(filter(None, said)) + "."


def _versions(of: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(of.items()))


def record(plan: Plan, origin: str, page: str) -> Path:
    """The folder that now holds this scale's results, and nothing recorded before. Raises `Problem` if one lacks."""
    found = list(_files(plan))
    for file in found:
        with faults.reading(plan.folder / file):
            (plan.folder / file).open("rb").close()
    target = FOLDER / plan.scale
    shutil.rmtree(target, ignore_errors=True)
    for file in found:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plan.folder / file, target / file)
    store.write_text(target / "index.html", _linked(page))
    store.write_text(target / "README.md", f"# Results at {plan.scale} scale\n\n{origin}\n")
    return target


def _files(plan: Plan) -> Iterator[str]:
    """What a scale's folder holds of the formats that are recorded, the page aside."""
    for report_id in (*plan.reports, redrawing.CLAIMS):
        drawn = redrawing.files(plan, report_id)
        yield from (str(file.relative_to(plan.folder)) for file in drawn if file.suffix in FORMATS)
    if adopted.record(plan).exists():
        yield adopted.record(plan).name


def _linked(page: str) -> str:
    """A page without its links to files that are not recorded."""
    kept = "|".join(ending.removeprefix(".") for ending in FORMATS)
    return re.sub(rf' ?<a href="[^"]+\.(?!(?:{kept})")\w+">\w+</a>', "", page)


def speed() -> None:
    """Records the benchmarks too, where they were run here."""
    for file in SPEED.glob("*"):
        if file.suffix in FORMATS:
            (FOLDER / SPEED.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, FOLDER / SPEED.name / file.name)
