"""Artefacts on disk: written whole or not at all, read with checks, never unpickled.

Every artefact holds its whole config, the fingerprint of the code that made it with a digest of each definition, the
libraries' versions and a SHA-256 of its contents. Reading compares the last with what is found; a difference is
`Damaged`, a file that the system does not let us read is `faults.Unreadable`: problems, each with the file's name and
the remedy.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import msgspec
import numpy as np

from entia import naming
from entia.artefacts import provenance
from entia.config import STAGES, Pretrain, Stage
from entia.fields import Problem
from entia.system import faults, locks

Arrays = dict[str, np.ndarray]
Row = dict[str, float | int | str]

DIGITS = 64  # of a SHA-256 in hex
ZEROS = b"0" * DIGITS
MARK = rb"{\"sha256\": \""
"""What is before a safetensors file's SHA-256: JSON inside JSON."""
BLOCK = 1 << 20  # bytes read at a time
ROWS = 4 << 20  # bytes of an array in memory at a time, as it is gone through
MAPPED = 1 << 30
"""Bytes from which images are not read into memory: the system keeps as much of the file as it has room for."""


def files(data: Path, stage: Stage) -> list[Path]:
    """Every file of a stage's artefact, the artefact itself first."""
    return [data / file for file in naming.files(stage)]


def path(data: Path, stage: Stage) -> Path:
    """Where a stage's artefact lies below the data folder."""
    return files(data, stage)[0]


def log_path(data: Path, pretrain: Pretrain) -> Path:
    """Where a pretraining run's log lies: a CSV with one row an epoch."""
    return files(data, pretrain)[1]


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary name beside `target`; synced and renamed to it at the end, removed if anything fails.

    Raises `Problem` where the folder cannot be written or the disk is full; `target` is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with faults.writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.chmod(0o644)  # safetensors makes files that their owner alone can read
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Has safetensors' and HDF5's failures be the `OSError`s that they tell of in their texts alone."""
    try:
        yield
    except Exception as error:
        number = re.search(r"(?:os error|errno =) (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def write_text(target: Path, text: str) -> None:
    """Writes a text file whole."""
    with whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def header(stage: Stage, code: str, **more: Any) -> dict[str, Any]:
    """What every artefact says of itself: config, code, versions and machine, and what is given besides."""
    return {
        "stage": stage.folder,
        "config": json.loads(msgspec.json.encode(stage, order="sorted")),
        "code": code,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        **more,
    }


# --- HDF5: subsets and embeddings ---------------------------------------------------------------------------------


def blocks(array: Any) -> Iterator[np.ndarray]:
    """An array's rows in turn, `ROWS` bytes at a time, each block contiguous.

    What has a shape and a dtype and gives a slice of itself as an array will do, so that it need not lie in memory.
    """
    count, *inner = array.shape
    rows = max(1, ROWS // max(1, math.prod(inner) * array.dtype.itemsize))
    return (np.ascontiguousarray(array[start : start + rows]) for start in range(0, count, rows))


def write_hdf5(target: Path, arrays: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Arrays by their path in the file; `head` in the attribute `entia`, its config also in `config`.

    An array is anything of which `blocks` gives blocks. None is compressed: gzip's fastest takes a twentieth off the
    size of photographs and a sixth off embeddings, and thirty times as long to read.

    The file's SHA-256 follows the HDF5 file as 64 hex digits, where HDF5 allows and ignores further bytes.
    """
    with whole(target) as temporary:
        # whole files are written under a name of our own and renamed: HDF5's locks, which some disks lack, add nothing
        with _system_errors(), h5py.File(temporary, "w", locking=False) as file:
            for place in sorted(arrays):
                array, start = arrays[place], 0
                held = file.create_dataset(place, array.shape, array.dtype)
                for block in blocks(array):
                    held[start : start + len(block)] = block
                    start += len(block)
            file.attrs["entia"] = _canonical(head)
            file.attrs["config"] = _canonical(head["config"])
        with temporary.open("rb+") as file:
            digest = _digest(file, temporary.stat().st_size)
            file.write(digest.encode())


def read_hdf5(source: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the header of an HDF5 artefact. Raises `Problem` if it cannot be read whole.

    Images of `MAPPED` bytes or more stay in the file, as a `np.memmap` that cannot be written to.
    """
    places: list[str] = []
    with _hdf5(source) as file:
        file.visit(places.append)
        arrays = {place: _held(source, item) for place in places if isinstance(item := file[place], h5py.Dataset)}
        return arrays, json.loads(str(file.attrs["entia"]))
    raise AssertionError


def _held(source: Path, item: h5py.Dataset) -> np.ndarray:
    place = item.id.get_offset()
    if place is None or item.nbytes < MAPPED or not str(item.name).endswith("/pixels"):
        return item[()]
    return np.memmap(source, item.dtype, "r", place, item.shape)


@contextlib.contextmanager
def _hdf5(source: Path) -> Iterator[h5py.File]:
    """An HDF5 artefact, every byte of which has been checked."""
    with _checked(source):
        with source.open("rb") as file:
            digest = _digest(file, max(0, os.fstat(file.fileno()).st_size - DIGITS))
            written = file.read()
            if digest.encode() != written and locks.is_held(file):  # HDF5 marks what it opens for writing
                raise BlockingIOError(errno.EAGAIN, "open for writing elsewhere")
        if not re.fullmatch(rb"[0-9a-f]{64}", written):
            raise _Unsigned
        _compare(digest.encode(), written)
        with _system_errors(), h5py.File(source, "r", locking=False) as file:
            yield file


# --- safetensors: weights -----------------------------------------------------------------------------------------


def write_tensors(target: Path, tensors: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Tensors (torch, on the CPU) by name. One metadata entry alone: the format keeps no order among several.

    `sha256` in it is the file's, taken with zeros in its own place.
    """
    from safetensors.torch import save_file

    arrays = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    entry = {"sha256": ZEROS.decode(), "head": _canonical(head)}
    with whole(target) as temporary:
        with _system_errors():
            save_file(arrays, temporary, metadata={"entia": json.dumps(entry)})
        with temporary.open("rb+") as file:
            place, _, digest = _tensor_digest(file)
            file.seek(place)
            file.write(digest)


def read_tensors(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors and the header of a safetensors artefact. Raises `Problem` if it cannot be read whole."""
    with _safetensors(source, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _tensor_head(file)
    raise AssertionError


@contextlib.contextmanager
def _safetensors(source: Path, framework: str) -> Iterator[Any]:
    """A safetensors artefact, every byte of which has been checked."""
    from safetensors import SafetensorError, safe_open

    with _checked(source, SafetensorError):
        with source.open("rb") as file:
            _, written, digest = _tensor_digest(file)
            _compare(digest, written)
        with _system_errors(), safe_open(source, framework=framework) as file:
            yield file


def _tensor_head(file: Any) -> dict[str, Any]:
    return json.loads(json.loads(file.metadata()["entia"])["head"])


# --- JSON and CSV: readouts and logs ------------------------------------------------------------------------------


def write_json(target: Path, content: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """A JSON file of `head` and `content`, keys sorted."""
    write_text(target, _json({**head, **content}))


def read_json(source: Path) -> dict[str, Any]:
    """Contents of a JSON artefact. Raises `Problem` if it cannot be read whole."""
    with _checked(source):
        text = source.read_bytes()
        body: Any = json.loads(text)
        if not isinstance(body, dict) or "sha256" not in body:
            raise Foreign(f"{source}: foreign (no artefact: it has no checksum); move it away and run again")
        del body["sha256"]
        _compare(_json(body).encode(), text)
        return body
    raise AssertionError


def write_log(target: Path, rows: list[Row]) -> None:
    """A CSV with one row an epoch; its last line is a comment with the SHA-256 of the lines above."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(target, text.getvalue() + _mark(text.getvalue()))


def read_log(source: Path) -> list[dict[str, str]]:
    """A log's rows, as text. Raises `Problem` if it cannot be read whole."""
    with _checked(source):
        lines, sign, digest = source.read_bytes().decode().rpartition("# sha256 ")
        if not sign:
            raise _Unsigned
        _compare(_mark(lines), sign + digest)
        return list(csv.DictReader(io.StringIO(lines)))
    raise AssertionError


# --- headers and checks -------------------------------------------------------------------------------------------


def read_head(source: Path) -> dict[str, Any]:
    """The header of any artefact, whose every byte is checked; of a JSON artefact its contents too.

    Loads neither arrays nor PyTorch. Raises `Problem` if the artefact cannot be read whole.
    """
    match source.suffix:
        case ".h5":
            with _hdf5(source) as file:
                return json.loads(str(file.attrs["entia"]))
        case ".safetensors":
            with _safetensors(source, "np") as file:
                return _tensor_head(file)
        case _:
            return read_json(source)
    raise AssertionError


def glance(source: Path) -> dict[str, Any] | None:
    """The config in an artefact's header, its bytes unchecked; None of what is none, or cannot be read."""
    with contextlib.suppress(OSError, KeyError, ValueError, TypeError, RuntimeError):
        found = _glanced(source)
        return found if isinstance(found, dict) else None
    return None


def _glanced(source: Path) -> Any:
    match source.suffix:
        case ".h5":
            with h5py.File(source, "r", locking=False) as file:
                return json.loads(str(file.attrs["config"]))
        case ".safetensors":
            with source.open("rb") as file:
                head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            return json.loads(json.loads(head["__metadata__"]["entia"])["head"])["config"]
        case _:
            return json.loads(source.read_bytes())["config"]


STAMP = re.compile(rb'(?<!\w)sha256[\\": ]+([0-9a-f]{64})')
"""An artefact's SHA-256 in its text or header, not that of the raw data."""


def stamp(source: Path) -> str | None:
    """The SHA-256 that an artefact says it has, unchecked, as Snakemake writes one; None of what is none or missing."""
    if source.parent.name not in {stage.folder for stage in STAGES} or not source.is_file():
        return None
    with source.open("rb") as opened:
        if source.suffix in (".h5", ".csv"):
            opened.seek(max(0, source.stat().st_size - DIGITS - 1))
            found = re.search(rb"([0-9a-f]{64})\n?$", opened.read())
        elif source.suffix == ".safetensors":
            found = STAMP.search(opened.read(8 + int.from_bytes(opened.read(8)[:4], "little")))
        else:
            found = STAMP.search(opened.read())
    return f"sha256:{found[1].decode()}" if found else None


class Damaged(Problem):
    """A file that was read, and is not what was written."""


class Foreign(Problem):
    """A file that is whole but holds another artefact than its name says, or was made from other raw data, or none."""


class _Unsigned(ValueError):
    """A file without a checksum: the part of an artefact that was cut short, or nothing of ours."""


def readable(source: Path) -> contextlib.AbstractContextManager[None]:
    """Has what goes wrong while an artefact is read be a `Problem` with its name and the remedy."""
    return _checked(source)


@contextlib.contextmanager
def _checked(source: Path, *errors: type[Exception]) -> Iterator[None]:
    with faults.reading(source):
        try:
            yield
        except _Unsigned as error:
            how = "no checksum at its end" if source.stat().st_size else "it is empty"
            raise Damaged(
                f"{source}: damaged or not entia's ({how}); if entia made it, delete it and run again to rebuild it"
            ) from error
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, csv.Error, *errors) as error:
            if faults.is_systems(error):
                raise
            raise Damaged(f"{source}: damaged ({_first_line(error)}); delete it and run again to rebuild it") from error


def _compare(expected: object, found: object) -> None:
    if expected != found:
        raise ValueError("its contents are not those that were written")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _digest(file: BinaryIO, count: int, start: bytes = b"") -> str:
    """SHA-256 of `start` and of the file's next `count` bytes, in hex."""
    digest = hashlib.sha256(start)
    while count > 0 and (block := file.read(min(count, BLOCK))):
        digest.update(block)
        count -= len(block)
    return digest.hexdigest()


def _tensor_digest(file: BinaryIO) -> tuple[int, bytes, bytes]:
    """Where a safetensors file has its SHA-256, what stands there, and what should."""
    size = os.fstat(file.fileno()).st_size
    length = file.read(8)
    head = file.read(min(int.from_bytes(length, "little"), size))  # its header, a JSON text
    if MARK not in head:
        raise _Unsigned
    place = head.index(MARK) + len(MARK)
    start = length + head[:place] + ZEROS + head[place + DIGITS :]
    return 8 + place, head[place : place + DIGITS], _digest(file, size, start).encode()


def _json(body: Mapping[str, Any]) -> str:
    """A JSON artefact's text, every byte of which follows from its contents."""
    return json.dumps({**body, "sha256": _text_digest(_canonical(body))}, sort_keys=True, indent=1) + "\n"


def _mark(lines: str) -> str:
    return f"# sha256 {_text_digest(lines)}\n"


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
