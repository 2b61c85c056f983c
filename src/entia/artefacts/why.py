"""Why an artefact would be made anew: where its own record differs from what is planned today and lies there.

Each reason is one line and begins with the file that it is about. Nothing is written, nothing told by times.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from entia import config, naming
from entia.artefacts import adopted, check, nearest, provenance, redrawing, store
from entia.config import Pretrain, Readout, Stage
from entia.fields import Problem
from entia.plan import Plan
from entia.planning import mistakes
from entia.system import faults

CURRENT = "is current: nothing would run"
FIRST = "would be made anew first"
SHOWN = 12
"""Names that a line has at the most."""


class Why:
    """Answers about one plan's artefacts; what is found of a file is kept, since many rest on one."""

    def __init__(self, plan: Plan, data: Path) -> None:
        self.plan, self.data = plan, data
        self.head = functools.cache(self._head)
        self.own = functools.cache(self._own)

    def answer(self, name: str) -> list[str]:
        """The reasons for the artefact of this name, file or key, or for the report of this id.

        Raises `Problem` where params.yaml has none.
        """
        if name in self.plan.reports or name == redrawing.CLAIMS:
            return self._drawing(name)
        stage = self._named(name)
        if naming.name(stage) not in adopted.to_make(self.plan, self.data).of(stage.kind):
            return [self._line(stage, "its run was trained elsewhere and taken up: nothing would run")]
        if not self.runs(stage):
            return [self._line(stage, CURRENT + self._diverged(stage))]
        lines = [self._line(stage, reason) for reason in (*self.own(stage), *self._fields(stage))]
        return lines + [self._line(of, reason) for of in self._behind([stage])[1:] for reason in self.own(of)]

    def _named(self, name: str) -> Stage:
        asked = Path(name).name
        for step in config.KINDS:
            for of, stage in self.plan.of(step).items():
                if asked in (of, of.rsplit("-", 1)[1], store.path(self.data, stage).name):
                    return stage
        known = f"`entia plan ID` lists its cells; an ID is one of {', '.join((*self.plan.reports, redrawing.CLAIMS))}"
        raise Problem(f"{name}: not in params.yaml at {self.plan.scale} scale; {known}; `--scale` names another")

    def _line(self, stage: Stage, reason: str) -> str:
        return f"{store.path(self.data, stage)}: {reason}"

    # --- one artefact of a stage ------------------------------------------------------------------------------------

    def runs(self, stage: Stage) -> bool:
        """Whether an artefact would be made anew."""
        return bool(self.own(stage))

    def _head(self, stage: Stage) -> dict[str, Any] | Problem:
        """What an artefact says of itself, or what is wrong with it or with the log beside it."""
        try:
            head = check.open_head(self.data, stage)
            if isinstance(stage, Pretrain):
                store.read_log(store.log_path(self.data, stage))
            return head
        except Problem as problem:
            return problem

    def _own(self, stage: Stage) -> list[str]:
        """What is to be said of one artefact's own file."""
        head = self.head(stage)
        if not isinstance(head, Problem):
            return [*_code(head, stage), *self._inputs(stage, head.get("parents", "").split(" "))]
        wrong = str(head).removeprefix(f"{store.path(self.data, stage)}: ")
        left = self._unfinished(stage) if isinstance(stage, Pretrain) else ()
        return [wrong, *left, *self._inputs(stage, None)]

    def _inputs(self, stage: Stage, before: list[str] | None) -> Iterator[str]:
        """What is to be said of what it was made from; `before`: their contents as it recorded them."""
        for position, parent in enumerate(stage.parents):
            file = store.path(self.data, parent)
            head = self.head(parent)
            if before is not None and not isinstance(head, Problem):
                then, now = "".join(before[position : position + 1]), head.get("content", "")
                if then != now:
                    yield f"input {file}: its content is {now[:10]}; this was made from {then[:10] or 'none recorded'}"
            if self.runs(parent):
                yield f"input {file}: {FIRST}"

    def _unfinished(self, stage: Pretrain) -> Iterator[str]:
        """What an interrupted run has left, and whether it goes on from there."""
        state = store.path(self.data, stage).with_suffix(".part") / "state.safetensors"
        if not faults.is_there(state):
            return
        head = store.read_head(state)
        if head["code"] == provenance.stage_code("pretrain", stage):
            yield f"{state.parent}: goes on after epoch {head['rows'][-1]['epoch']} of {stage.epochs}"
        else:
            yield from (f"{state.parent}: starts again: {reason}" for reason in _code(head, stage))

    def _fields(self, stage: Stage) -> Iterator[str]:
        """In which fields what is planned differs from what lies there, where it does not lie there itself."""
        if faults.is_there(store.path(self.data, stage)):
            return
        found = nearest.nearest(self.data, stage)
        if found is None:
            yield f"nothing else of its kind lies in {store.path(self.data, stage).parent} to compare it with"
            return
        other, fields = found
        yield from (f"field {field} (of the nearest that lies there, {other.stem})" for field in fields)

    def _diverged(self, stage: Stage) -> str:
        head = self.head(stage)
        lost = None if isinstance(head, Problem) else head.get("diverged")
        return f" (diverged, which is its result: {lost})" if lost else ""

    def _behind(self, stages: Iterable[Stage]) -> list[Stage]:
        """These and all that they were made from, each once, as far as they would run."""
        found: dict[Stage, None] = {}
        waiting = list(stages)
        while waiting:
            stage = waiting.pop(0)
            if stage not in found and self.runs(stage):
                found[stage] = None
                waiting += stage.parents
        return list(found)

    # --- a table, a figure, the claims ------------------------------------------------------------------------------

    def _drawing(self, report_id: str) -> list[str]:
        file, *others = redrawing.files(self.plan, report_id)
        lines = [f"{each}: missing" for each in (file, *others) if not faults.is_there(each)]
        try:
            lines += [f"{file}: {how}" for how in redrawing.changes(self.plan, report_id)]
        except LookupError:
            if not lines:
                lines.append(f"{file}: drawn without Snakemake: what from was not recorded")
        readouts = self._readouts(report_id)
        run = [readout for readout in readouts if self.runs(readout)]
        if run:
            lines.append(f"{file}: {len(run)} of its {len(readouts)} readouts would be made anew first")
        return lines + list(self._gathered(run)) or [f"{file}: {CURRENT}"]

    def _readouts(self, report_id: str) -> list[Readout]:
        """Those that a report draws and that are to be made here."""
        names = dict.fromkeys(name for *_, name in redrawing.rows(self.plan, report_id))
        there = adopted.to_make(self.plan, self.data).readouts
        return [there[name] for name in names if name in there]

    def _gathered(self, readouts: Iterable[Readout]) -> Iterator[str]:
        """The reasons behind many readouts, each once, with the files that have it."""
        found: dict[str, list[str]] = {}
        for stage in self._behind(readouts):
            for reason in self.own(stage):
                if not reason.endswith(FIRST):
                    found.setdefault(reason, []).append(str(store.path(self.data, stage)))
        for reason, files in found.items():
            yield f"{mistakes.some(files, 1)}: {reason}"


def _code(head: Mapping[str, Any], stage: Stage) -> Iterator[str]:
    """Which definitions of the code differ from those that an artefact records."""
    if head["code"] == provenance.stage_code(stage.kind, stage):
        return
    before: dict[str, str] | None = head.get("definitions")
    if before is None:
        yield "code: has changed; which part is not known, since this was made before that was recorded"
        return
    parts = provenance.changes(before, provenance.stage_definitions(stage.kind, stage))
    for how, places in zip(("changed", "used now", "no longer used"), parts, strict=True):
        if places:
            yield f"code: {how}: {mistakes.some(places, SHOWN)}"
