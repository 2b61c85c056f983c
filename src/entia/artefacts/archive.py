"""Readouts and logs of a study as one file, to be carried from a borrowed machine; and taken up from it.

A gzipped tar: `manifest.json` first, then `readouts/NAME.json` and `checkpoints/NAME.csv`, and, where asked for,
`checkpoints/NAME.safetensors`. An archive comes from elsewhere, so nothing in it is trusted: its members are read,
never extracted by the names that they give themselves; only what params.yaml plans is taken, and all of it has passed
the checks of any artefact before any of it is put in place.
"""

import contextlib
import gzip
import io
import math
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from entia import naming
from entia.artefacts import adopted, check, provenance, store
from entia.artefacts.adopted import Origin
from entia.config import Pretrain, Readout
from entia.fields import Config, Problem
from entia.plan import SCALES, Plan
from entia.system import home

MANIFEST = "manifest.json"
SMALL = 16 * 2**20
"""Bytes that a readout, a log or a tar's own header may have at the most; far above any."""
LARGE = 8 * 2**30
"""Bytes that a cell's weights may have."""


class Manifest(Config, frozen=True):
    """What an archive says of itself."""

    scale: str
    cells: dict[str, Origin]
    versions: dict[str, str]


# --- packing ------------------------------------------------------------------------------------------------------


def pack(plan: Plan, data: Path, target: Path, finished: Callable[[Readout], bool], weights: bool = False) -> int:
    """How many readouts are now in the archive `target`: those `finished` that lie below `data` with their logs."""
    readouts = [of for of in adopted.drawable(plan, data).readouts.values() if finished(of) and _has_log(of, data)]
    cells = list(dict.fromkeys(of.embed.pretrain for of in readouts))
    files = [store.path(data, of) for of in readouts] + [store.log_path(data, cell) for cell in cells]
    if weights:
        files += [file for cell in cells if (file := store.path(data, cell)).exists()]
    before, here = adopted.cells(plan, data), _here()
    origins = {name: before.get(name, here(cell)) for cell in cells for name in [naming.name(cell)]}
    manifest = Manifest(scale=plan.scale, cells=origins, versions=provenance.versions())
    with store.whole(target) as temporary, tarfile.open(temporary, "w:gz", compresslevel=1 if weights else 6) as tar:
        _add(tar, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest, order="sorted")))
        for file in files:
            tar.add(file, str(file.relative_to(data)), filter=_plain)
    return len(readouts)


def _has_log(readout: Readout, data: Path) -> bool:
    return store.path(data, readout).exists() and store.log_path(data, readout.embed.pretrain).exists()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without its owner's name and its time, which are nobody's business."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _here() -> Callable[[Pretrain], Origin]:
    """Says of a cell that it was made by today's code, on this machine."""
    machine, (commit, changed) = provenance.machine(), home.commit(Path("params.yaml"))

    def origin(cell: Pretrain) -> Origin:
        return Origin(commit=commit, changed=changed, machine=machine, code=provenance.stage_code("pretrain", cell))

    return origin


# --- taking up ----------------------------------------------------------------------------------------------------


def take_up(archive: Path, planned: Callable[[str], Plan], data: Path) -> tuple[Plan, list[str], list[str]]:
    """The plan of the archive's scale; the cells taken up; and those left out, whose weights are here.

    `planned` is the plan of a scale. Raises `Problem`, and changes nothing, if the archive is damaged, holds what that
    plan does not name, or what was made from other raw data than lie here.
    """
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".archive-", suffix=".tmp", dir=data) as folder:
        with _told(archive):
            plan, manifest, files = _read(archive, planned, Path(folder))
            cells = _checked(plan, manifest, files, Path(folder), data)
        ours = {name for name, cell in cells.items() if store.path(data, cell).exists()} - adopted.origins(plan).keys()
        names = [file for file in files if not _belongs(file, ours, plan)]
        for name in names:
            with store.whole(data / name) as temporary:
                shutil.copyfile(Path(folder) / name, temporary)
    taken = {name: of for name, of in manifest.cells.items() if name in cells and name not in ours}
    store.write_text(adopted.record(plan), adopted.encode(adopted.origins(plan) | taken))
    return plan, list(taken), sorted(ours)


def _belongs(file: str, cells: set[str], plan: Plan) -> bool:
    """Whether a file is one of these cells'."""
    stem = Path(file).stem
    readout = plan.readouts.get(stem)
    return (naming.name(readout.embed.pretrain) if readout else stem) in cells


class _Wrong(ValueError):
    """What is wrong with an archive."""


@contextlib.contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Has whatever is wrong with an archive be one message."""
    try:
        yield
    except FileNotFoundError as error:
        raise Problem(f"{archive}: missing") from error
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, RecursionError, msgspec.MsgspecError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise Problem(f"{archive}: nothing was taken up: {why}") from error


class _Bounded(gzip.GzipFile):
    """Never gives more at once than a small file may have: a header that claims more is a lie."""

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes."""
        if size is None or not 0 <= size <= SMALL:
            raise _Wrong("damaged (a part of it is larger than any that it may hold)")
        return super().read(size)


def _read(archive: Path, planned: Callable[[str], Plan], folder: Path) -> tuple[Plan, Manifest, list[str]]:
    """Copies an archive's members into `folder`; the plan, the manifest, and the members' names."""
    with _Bounded(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > SMALL:
            raise _Wrong("not an archive of `entia run` (its first member is not a manifest)")
        manifest = msgspec.json.decode(_content(tar, first), type=Manifest)
        if manifest.scale not in SCALES:
            raise _Wrong(f"its scale, {manifest.scale[:40]!r}, is not one of {', '.join(SCALES)}")
        plan, files = planned(manifest.scale), list[str]()
        allowed = _allowed(plan)
        while (member := tar.next()) is not None:
            _check_member(member, allowed, files, plan)
            files.append(member.name)
            _copy(tar, member, folder / member.name)
        if len(stream.read(tarfile.RECORDSIZE + 1)) > tarfile.RECORDSIZE:  # to its end, where its checksum is compared
            raise _Wrong("damaged (something follows its end)")
    return plan, manifest, files


def _allowed(plan: Plan) -> dict[str, int]:
    """The members that a plan's archive may have, and their size at the most."""
    here = Path()
    found = {str(store.path(here, of)): SMALL for of in plan.readouts.values()}
    for cell in plan.pretrains.values():
        found |= {str(store.log_path(here, cell)): SMALL, str(store.path(here, cell)): LARGE}
    return found


def _check_member(member: tarfile.TarInfo, allowed: dict[str, int], before: list[str], plan: Plan) -> None:
    if member.name not in allowed:
        raise _Wrong(f"it holds {member.name[:200]!r}, which params.yaml does not plan at {plan.scale} scale")
    if not member.isreg() or member.issparse() or member.size > allowed[member.name] or member.name in before:
        raise _Wrong(f"{member.name} in it is not a plain file, is too large, or is there twice")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # of a plain file
    content = file.read()
    if len(content) != member.size:
        raise _Wrong("damaged (it ends too early)")
    return content


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Copies a member to a name that is ours."""
    source = tar.extractfile(member)
    assert source is not None  # of a plain file
    target.parent.mkdir(exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(source, file, store.BLOCK)


# --- what it holds ------------------------------------------------------------------------------------------------


def _checked(plan: Plan, manifest: Manifest, files: list[str], folder: Path, data: Path) -> dict[str, Pretrain]:
    """The cells whose readouts and logs were copied into `folder`, once each has passed every check."""
    raw = _raw_data(plan, data)
    cells: dict[str, Pretrain] = {}
    for name in files:
        kind, stem = Path(name).suffix, Path(name).stem
        try:
            cell = plan.readouts[stem].embed.pretrain if kind == ".json" else plan.pretrains[stem]
            match kind:
                case ".json":
                    _check_readout(plan.readouts[stem], folder, raw)
                case ".csv":
                    _check_log(cell, folder)
                case _:
                    check.open_head(folder, cell)
        except Problem as problem:
            raise _Wrong(f"{name} in it is damaged or foreign") from problem
        except (KeyError, TypeError, ValueError) as error:
            raise _Wrong(f"{name} in it is not the artefact that its name says ({error})") from error
        cells[naming.name(cell)] = cell
    for name in cells:
        if f"checkpoints/{name}.csv" not in files or name not in manifest.cells:
            raise _Wrong(f"{name}: its log, or what the manifest says of it, is missing in it")
    if not cells:
        raise _Wrong("it holds no readouts")
    return cells


def _raw_data(plan: Plan, data: Path) -> dict[str, str]:
    """The checksum of the raw data of each subset that lies here, by the subset's name."""
    there = {name: subset for name, subset in plan.subsets.items() if store.path(data, subset).exists()}
    return {name: check.open_head(data, subset)["raw_sha256"] for name, subset in there.items()}


class _Metrics(msgspec.Struct):
    """What figures, tables and verdicts read of a readout."""

    metrics: dict[str, dict[str, float]]
    classes: int
    chance: float | None = None
    diverged: str = ""


def _check_readout(readout: Readout, folder: Path, raw: dict[str, str]) -> None:
    head: dict[str, Any] = check.open_head(folder, readout)
    found = msgspec.convert(head, _Metrics)
    epochs = map(str, range(1, readout.embed.pretrain.epochs + 1))
    if not (found.metrics or found.diverged) or not found.metrics.keys() <= set(epochs):
        raise ValueError("it has epochs that its cell has not")
    if readout.is_labelled and not all("accuracy" in metrics for metrics in found.metrics.values()):
        raise ValueError("it has no accuracy")
    here = raw.get(naming.name(readout.embed.on), head["raw_sha256"])
    if here != head["raw_sha256"]:
        raise ValueError("it was made from other raw data than those in data/subset")


def _check_log(cell: Pretrain, folder: Path) -> None:
    rows = store.read_log(store.log_path(folder, cell))
    diverged = bool(rows[-1].get("diverged"))
    end = min(len(rows), cell.epochs) if diverged else cell.epochs
    if [int(row["epoch"]) for row in rows] != list(range(1, end + 1)):
        raise ValueError(f"its epochs are not 1 to {end}")
    for row in rows:
        texts = [row[name] for name in ("machine", "diverged") if name in row]
        numbers = [float(value) for name, value in row.items() if name not in ("machine", "diverged")]
        whole = [int(row[name]) for name in ("images", "view_images", "peak_mib")]
        finite = row.get("diverged") or all(map(math.isfinite, numbers))  # its loss is what is not
        if not finite or min(whole) < 0 or not all(map(str.isprintable, texts)):
            raise ValueError("it has numbers that no training makes")
        if not {"loss", "seconds"} <= row.keys():
            raise ValueError("it has no loss or seconds")
