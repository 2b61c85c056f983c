"""Where data sets come from: what of a plan's is here, what is downloaded, and what a user must fetch."""

from collections.abc import Iterator
from pathlib import Path

from entia import catalogue
from entia.catalogue import DataSet
from entia.config import FOLDER
from entia.plan import Plan
from entia.system import faults


def lines(plan: Plan, raw: Path) -> Iterator[str]:
    """A line for each data set of a plan that no package ships, by name: here, downloaded, or to be fetched."""
    for name in sorted({subset.dataset for subset in plan.subsets.values()}):
        known = catalogue.DATASETS.get(name)
        if known is None or not known.package:
            place = raw / (known.place if known else name.removeprefix(FOLDER))
            yield f"data: {name}: " + (f"here, {place}" if faults.is_there(place) else _absent(name, known, raw))


def _absent(name: str, known: DataSet | None, raw: Path) -> str:
    if known is None:
        return (
            f"to be fetched: put train/CLASS and test/CLASS (or val/CLASS) into {raw / name.removeprefix(FOLDER)}, "
            "or as docs/data.md says"
        )
    return f"{_way(name, known, raw)} ({known.source})"


def _way(name: str, known: DataSet, raw: Path) -> str:
    """How a set that is not here gets here."""
    if known.package:
        return f"nothing: shipped in {known.package}"
    if name in catalogue.DOWNLOADED:
        return "downloaded when it is packed"
    if known.archive[0]:
        return f"to be fetched: unpack {known.archive[0]} into {raw}, so that {raw / known.place} is there"
    return f"to be fetched: put {known.place} into {raw}"


def table(raw: Path) -> str:
    """All data sets of the catalogue as a Markdown table."""
    head = "name version train test side classes channels licence source".split()
    rows = [[*head, "what you do", "read by us"], ["---"] * (len(head) + 2)]
    for name, row in catalogue.DATASETS.items():
        more = f" + {count:,} without a class" if (count := catalogue.UNLABELLED.get(name)) else ""
        side = f"any, {row.side} if not said" if name in catalogue.ANY_SIDE else f"{row.side}"
        counts = [f"{row.train:,}{more}", f"{row.test:,}", side, f"{row.classes}", f"{row.channels}"]
        read = "the real files" if name in catalogue.READ else "**never**: a small copy in its layout"
        cells = [f"`{name}`", row.version, *counts, row.licence, row.source, _way(name, row, raw), read]
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
