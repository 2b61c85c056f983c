"""What fixes a table, a figure or the claims, as Snakemake is told it and as it recorded it with what it drew."""

import ast
import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from entia.artefacts import provenance, store
from entia.artefacts.nearest import differences
from entia.plan import Plan
from entia.planning import budgets, drawings
from entia.planning.columns import leaves
from entia.system import home

METADATA = Path(".snakemake/metadata")
ENDINGS = {"table": ("csv", "md", "tex"), "figure": ("pdf", "png", "svg")}
CLAIMS = "claims"


def files(plan: Plan, report_id: str) -> list[Path]:
    """The files of a table, of a figure or of the claims."""
    if report_id == CLAIMS:
        return [plan.folder / f"claims.{ending}" for ending in ("md", "json")]
    kind = "table" if plan.reports[report_id].table else "figure"
    return [plan.folder / f"{kind}s" / f"{report_id}.{ending}" for ending in ENDINGS[kind]]


def rows(plan: Plan, report_id: str) -> list[tuple[str, str, str]]:
    """Every (experiment, arm, readout) that a report shows; of the claims, that any report does."""
    reports = plan.rows if report_id == CLAIMS else [report_id]
    found = dict.fromkeys(row for each in reports for row in plan.drawn(each))
    return [(row.experiment, row.arm, row.readout) for row in found]


def fixed(plan: Plan, report_id: str) -> dict[str, Any]:
    """All that fixes a drawing beside its inputs: what params.yaml says of it, its rows, the scale and the code."""
    if report_id == CLAIMS:
        code = provenance.fingerprint("claims")
        more = {"looks": list(plan.judging.looks), "rows": sorted(rows(plan, report_id))}
        reported = home.reported("independent")
    else:
        report = plan.reports[report_id]
        code = provenance.drawing_code(report)
        asked = {"report": msgspec.to_builtins(report), "drawing": msgspec.to_builtins(report.drawing)}
        more = {**asked, "rows": rows(plan, report_id), **_budget(plan, report_id)}
        reported = home.reported("diet", "multi_view")
    return {"scale": plan.scale, "code": code, "reported": reported, **more}


def _budget(plan: Plan, report_id: str) -> dict[str, Any]:
    """What a table says of runs that it does not show: how many settings were tried for its own, where any were."""
    if not isinstance(plan.reports[report_id].drawing, drawings.DietAccuracy):
        return {}
    found = budgets.tried(((row.experiment, row.readout) for row in plan.drawn(report_id)), plan.readouts)
    return {"tried": {f"{experiment} {name}": count for (experiment, name), count in found.items() if count > 1}}


def parameter(plan: Plan, report_id: str) -> str:
    """The same as one canonical text: a rule's parameter."""
    return json.dumps(fixed(plan, report_id), sort_keys=True)


def changes(plan: Plan, report_id: str) -> Iterator[str]:
    """What has changed since Snakemake drew a report, a line each; raises `LookupError` where it recorded none."""
    before, read = _record(files(plan, report_id)[0])
    now: dict[str, Any] = json.loads(parameter(plan, report_id))
    if before.pop("code", "") != now.pop("code"):
        yield "code: what draws it has changed since it was drawn"
    yield from _rows(before.pop("rows", []), now.pop("rows"))
    yield from (f"params.yaml: {how}" for how in differences(dict(leaves(before)), dict(leaves(now))))
    for file in filter(Path.exists, map(Path, read)):
        if _checksum(file) != read[str(file)]:
            yield f"input {file}: its content differs from what this was drawn from"


def _record(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameter by which Snakemake made a file, and the checksums of what it read; a cut record is none."""
    record = METADATA / base64.urlsafe_b64encode(str(file).encode()).decode()
    if not record.exists():
        raise LookupError(file)
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return dict(json.loads(ast.literal_eval(found["params"][0]))), dict(found.get("input_checksums") or {})
    except (ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise LookupError(file) from error


def _rows(before: list[Any], now: list[Any]) -> Iterator[str]:
    """How many rows came and went, and one of them."""
    old, new = {tuple(row) for row in before}, {tuple(row) for row in now}
    for how, found in (("more", new - old), ("fewer", old - new)):
        if found:
            first = " ".join(part for part in min(found) if part)
            yield f"rows: {len(found)} {how} than when it was drawn, such as {first}"
    if old == new and before != now:
        yield "rows: in another order than when it was drawn"


def _checksum(file: Path) -> str:
    return store.stamp(file) or f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
