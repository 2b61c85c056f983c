"""Artefacts on disk: written whole or not at all, read with checks, never unpickled.

Every artefact holds its whole config, the fingerprint of the code that made it, the libraries' versions and a SHA-256
of its contents. Reading compares the last with what is found; a difference, or a file that cannot be read, raises
`Problem` with the file's name and the remedy.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from entia import config, provenance
from entia.config import Embed, Pretrain, Problem, Readout, Stage, Subset

Arrays = dict[str, np.ndarray]
Row = dict[str, float | int | str]

FOLDERS = {Subset: "subset", Pretrain: "checkpoints", Embed: "embeddings", Readout: "readouts"}
ENDINGS = {Subset: ".h5", Pretrain: ".safetensors", Embed: ".h5", Readout: ".json"}


def path(data: Path, stage: Stage) -> Path:
    """Where a stage's artefact lies below the data folder."""
    return data / FOLDERS[type(stage)] / (config.name(stage) + ENDINGS[type(stage)])


def log_path(data: Path, pretrain: Pretrain) -> Path:
    """Where a pretraining run's log lies: a CSV with one row an epoch."""
    return path(data, pretrain).with_suffix(".csv")


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary name beside `target`; synced and renamed to it at the end, removed if anything fails.

    Raises `Problem` where the folder cannot be written or the disk is full; `target` is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o644)  # safetensors makes files that their owner alone can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Problem(
                f"{target.parent}: cannot be written ({error.strerror}); make it writable and run again"
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Problem(
                f"{target.parent}: the disk is full; free some room and run again, nothing is lost"
            ) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Writes a text file whole."""
    with whole(target) as temporary:
        temporary.write_text(text)


def header(stage: Stage, code: str, **more: str) -> dict[str, Any]:
    """What every artefact says of itself: config, code, versions and machine, and what is given besides."""
    return {
        "stage": FOLDERS[type(stage)],
        "config": json.loads(msgspec.json.encode(stage, order="sorted")),
        "code": code,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        **more,
    }


# --- HDF5: subsets and embeddings ---------------------------------------------------------------------------------


def write_hdf5(target: Path, arrays: Mapping[str, np.ndarray], head: Mapping[str, Any]) -> None:
    """Arrays by their path in the file, compressed; `head` in the attribute `entia`, its config also in `config`."""
    text = _canonical(head)
    with whole(target) as temporary, h5py.File(temporary, "w") as file:
        for place in sorted(arrays):
            array = arrays[place]
            compress = (
                {"compression": "gzip", "compression_opts": 1, "shuffle": array.dtype.itemsize > 1}
                if array.size
                else {}
            )
            file.create_dataset(place, data=array, **compress)
        file.attrs["entia"] = text
        file.attrs["config"] = _canonical(head["config"])
        file.attrs["sha256"] = _digest(arrays, text)


def read_hdf5(source: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the header of an HDF5 artefact. Raises `Problem` if it is missing or damaged."""
    arrays: Arrays = {}

    def collect(place: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[place] = item[()]

    with _checked(source):
        with h5py.File(source, "r") as file:
            file.visititems(collect)
            text, digest = str(file.attrs["entia"]), str(file.attrs["sha256"])
        _compare(digest, _digest(arrays, text))
        return arrays, json.loads(text)
    raise AssertionError


# --- safetensors: weights -----------------------------------------------------------------------------------------


def write_tensors(target: Path, tensors: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Tensors (torch, on the CPU) by name. One metadata entry alone: the format keeps no order among several."""
    from safetensors.torch import save_file

    arrays = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    text = _canonical(head)
    digest = _tensor_digest(arrays, text)
    with whole(target) as temporary:
        save_file(arrays, temporary, metadata={"entia": json.dumps({"sha256": digest, "head": text})})


def read_tensors(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors and the header of a safetensors artefact. Raises `Problem` if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    with _checked(source, SafetensorError):
        with safe_open(source, framework="pt") as file:
            entry = json.loads(file.metadata()["entia"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        _compare(entry["sha256"], _tensor_digest(tensors, entry["head"]))
        return tensors, json.loads(entry["head"])
    raise AssertionError


# --- JSON and CSV: readouts and logs ------------------------------------------------------------------------------


def write_json(target: Path, content: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """A JSON file of `head` and `content`, keys sorted."""
    body = {**head, **content}
    write_text(target, json.dumps({**body, "sha256": _text_digest(_canonical(body))}, sort_keys=True, indent=1) + "\n")


def read_json(source: Path) -> dict[str, Any]:
    """Contents of a JSON artefact. Raises `Problem` if it is missing or damaged."""
    with _checked(source):
        body: dict[str, Any] = json.loads(source.read_text())
        _compare(body.pop("sha256"), _text_digest(_canonical(body)))
        return body
    raise AssertionError


def write_log(target: Path, rows: list[Row]) -> None:
    """A CSV with one row an epoch; its last line is a comment with the SHA-256 of the lines above."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(target, f"{text.getvalue()}# sha256 {_text_digest(text.getvalue())}\n")


def read_log(source: Path) -> list[dict[str, str]]:
    """A log's rows, as text. Raises `Problem` if it is missing or damaged."""
    with _checked(source):
        lines, mark, digest = source.read_text().rpartition("# sha256 ")
        _compare(digest.strip() if mark else "", _text_digest(lines))
        return list(csv.DictReader(io.StringIO(lines)))
    raise AssertionError


# --- checks -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _checked(source: Path, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Problem(f"{source}: missing; `snakemake --cores all` makes it") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, csv.Error, *errors) as error:
        raise Problem(f"{source}: damaged ({_first_line(error)}); delete it and run again to rebuild it") from error


def _compare(expected: str, found: str) -> None:
    if expected != found:
        raise ValueError("its contents are not those that were written")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _tensor_digest(tensors: Mapping[str, Any], text: str) -> str:
    import torch

    flat = {
        f"{name} {part.dtype} {tuple(part.shape)}": part.detach().contiguous().reshape(-1)
        for name, part in tensors.items()
    }
    return _digest({name: part.view(torch.uint8).numpy() for name, part in flat.items()}, text)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
