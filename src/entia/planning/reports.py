"""What params.yaml says of a report: which table or figure, of which experiments, with which options."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from entia.fields import Config
from entia.planning import drawings, mistakes


class Report(Config, frozen=True):
    """One table or figure: which function draws it, from the readouts of which experiments."""

    title: str
    table: drawings.TableName | None = None
    figure: drawings.FigureName | None = None
    experiments: tuple[str, ...] = ()
    options: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.table is None) == (self.figure is None):
            raise ValueError("give either `table:` or `figure:`")

    @property
    def kind(self) -> str:
        """The name of what it draws."""
        return str(self.table or self.figure)

    @property
    def drawing(self) -> drawings.Drawing:
        """Its kind and options."""
        kind = drawings.KINDS[self.kind]
        return msgspec.convert(self.options | {"name": kind.__struct_config__.tag}, kind)


def wrong_options(name: str, report: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options of a report, as params.yaml gives them."""
    for field, kinds in (("table", drawings.TABLES), ("figure", drawings.FIGURES)):
        given, options = report.get(field), report.get("options", {})
        if isinstance(given, str) and given in kinds and isinstance(options, dict):
            yield from mistakes.wrong(kinds[given], options, f"reports.{name}.options", partial=True)


def lacking(report: Report, rows: drawings.Rows) -> Iterator[str]:
    """What a report lacks in the rows that it draws."""
    drawing, kind = report.drawing, report.kind
    if isinstance(drawing, drawings.Theory):
        if report.experiments:
            yield f"experiments: {kind} is drawn from theory alone and reads none; leave them out"
    elif not rows:
        what = f"{', '.join(report.experiments)} hold no run" if report.experiments else "none given"
        yield f"experiments: {what}, and {kind} draws runs; name experiments that hold some"
    elif drawing.is_labelled and (bare := [row for row in rows if not row.readout.is_labelled]):
        yield (
            f"{kind} draws accuracy, and runs of {bare[0].experiment} read no label (probe: {{name: spectrum}}); "
            "take table: ranks, or figure: convergence with options: {show: effective_rank} or {show: loss}"
        )
    else:
        yield from (f"{kind}: {lack}" for lack in drawing.needs(rows))
