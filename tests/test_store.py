import errno
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_config import cell

from entia.artefacts import store
from entia.config import Subset
from entia.fields import Problem

HEAD = store.header(Subset(dataset="mnist5k"), "0" * 12, raw_sha256="1" * 64)
ARRAYS = {
    "train/pixels": np.arange(7 * 28 * 28, dtype=np.uint8).reshape(7, 1, 28, 28),
    "train/label": np.arange(7),
    "validation/pixels": np.zeros((0, 1, 28, 28), np.uint8),
    "features": np.linspace(0, 1, 40, dtype=np.float16).reshape(8, 5),
}
TENSORS = {
    "00005/a": torch.linspace(0, 1, 12).reshape(3, 4),
    "00005/steps": torch.tensor(7),
    "00005/none": torch.zeros(0, 2),
}
ROWS = [{"epoch": 1, "loss": 0.1 + 0.2, "machine": "a, b"}, {"epoch": 2, "loss": 1e-9, "machine": "a, b"}]


def write(kind, path):
    match kind:
        case "h5":
            store.write_hdf5(path, ARRAYS, HEAD)
        case "safetensors":
            store.write_tensors(path, TENSORS, HEAD)
        case "json":
            store.write_json(path, {"metrics": {"5": {"accuracy": 0.5}}}, HEAD)
        case "csv":
            store.write_log(path, ROWS)


READ = {"h5": store.read_hdf5, "safetensors": store.read_tensors, "json": store.read_json, "csv": store.read_log}
kinds = pytest.mark.parametrize("kind", READ)


def test_arrays_come_back_as_they_were(tmp_path):
    write("h5", tmp_path / "a.h5")
    arrays, head = store.read_hdf5(tmp_path / "a.h5")
    assert head == HEAD and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_tensors_come_back_as_they_were(tmp_path):
    write("safetensors", tmp_path / "a.safetensors")
    tensors, head = store.read_tensors(tmp_path / "a.safetensors")
    assert head == HEAD and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_logs_and_readouts_come_back_as_they_were(tmp_path):
    write("csv", tmp_path / "a.csv")
    write("json", tmp_path / "a.json")
    assert [float(row["loss"]) for row in store.read_log(tmp_path / "a.csv")] == [row["loss"] for row in ROWS]
    assert store.read_json(tmp_path / "a.json") == {**HEAD, "metrics": {"5": {"accuracy": 0.5}}}


@kinds
def test_the_same_contents_give_the_same_bytes(kind, tmp_path):
    write(kind, tmp_path / f"a.{kind}")
    write(kind, tmp_path / f"b.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@kinds
def test_every_flipped_byte_is_found_and_named(kind, tmp_path):
    # in texts 0x03 and 0x07 make a tab and a carriage return of a newline, 0x20 another case of a letter
    flips = (0xFF,) if kind == "h5" else (0x01, 0x03, 0x07, 0x20, 0x80, 0xFF)
    path = tmp_path / f"a.{kind}"
    write(kind, path)
    whole = path.read_bytes()
    READ[kind](path)
    unseen: list[int] = []
    with path.open("rb+", buffering=0) as file:
        for (position, byte), flip in itertools.product(enumerate(whole), flips):
            file.seek(position)
            file.write(bytes([byte ^ flip]))
            try:
                READ[kind](path)
                unseen.append(position)
            except Problem as problem:
                assert str(path) in str(problem) and "run again" in str(problem)
            file.seek(position)
            file.write(bytes([byte]))
    assert unseen == []
    READ[kind](path)


@kinds
def test_bytes_added_at_the_end_are_found(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    write(kind, path)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Problem, match="damaged"):
        READ[kind](path)


def test_arrays_are_read_by_h5py_alone(tmp_path):
    write("h5", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["train/pixels"][()], ARRAYS["train/pixels"])
        assert json.loads(file.attrs["config"]) == HEAD["config"]


def test_tensors_are_read_by_safetensors_alone(tmp_path):
    write("safetensors", tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@kinds
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_named(kind, share, tmp_path):
    path = tmp_path / f"a.{kind}"
    write(kind, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(Problem, match="damaged") as found:
        READ[kind](path)
    assert str(path) in str(found.value)


@kinds
def test_a_missing_file_is_named_with_the_remedy(kind, tmp_path):
    with pytest.raises(Problem, match=r"missing; `snakemake --cores all` makes it"):
        READ[kind](tmp_path / f"a.{kind}")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    store.write_text(target, "old")
    with pytest.raises(ZeroDivisionError), store.whole(target) as temporary:
        temporary.write_text("half of the new")
        _ = 1 / 0
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written"), (errno.EACCES, "cannot be written")],
)
def test_a_full_disk_and_a_closed_folder_are_named_with_the_remedy(number, words, tmp_path):
    with pytest.raises(Problem, match=words), store.whole(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 32 KiB."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", tmp_path]).returncode:
        pytest.skip("root alone can mount a file system")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5py's, when it closes the file again
@pytest.mark.parametrize("kind", ["hdf5", "tensors", "json", "log"])
def test_what_a_full_disk_cannot_hold_is_named_and_what_it_holds_stays(kind, small_disk):
    noise = np.random.default_rng(0).standard_normal(2**14)  # 128 KiB
    write = {
        "hdf5": lambda target: store.write_hdf5(target, {"a": noise}, {"config": {}}),
        "tensors": lambda target: store.write_tensors(target, {"a": torch.from_numpy(noise)}, {}),
        "json": lambda target: store.write_json(target, {"a": noise.tolist()}, {}),
        "log": lambda target: store.write_log(target, [{"epoch": n, "loss": float(x)} for n, x in enumerate(noise)]),
    }[kind]
    target = small_disk / "artefact"
    target.write_bytes(b"what was there")
    with pytest.raises(Problem, match=f"{small_disk}: the disk is full; free some room and run again"):
        write(target)
    assert [path.name for path in small_disk.iterdir()] == ["artefact"] and target.read_bytes() == b"what was there"


def test_an_artefact_holds_its_whole_config(tmp_path):
    path = store.path(tmp_path, cell())
    store.write_tensors(path, TENSORS, store.header(cell(), "c" * 12))
    head = store.read_tensors(path)[1]
    assert json.dumps(head["config"], sort_keys=True) == json.dumps(store.header(cell(), "")["config"], sort_keys=True)
    assert head["code"] == "c" * 12 and "torch" in head["versions"] and head["machine"]
