"""Images that are larger than the memory are trained on as those that are held in it."""

import mmap
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_config import cell
from test_store import HEAD
from torch._subclasses import FakeTensorMode

from entia import feeding, stages
from entia.artefacts import store
from entia.config import Embed, Encoder, Projector, Subset
from entia.feeding import Data
from entia.processes import Processes

SOURCE = Path(__file__).parent.parent / "src"
IMAGES = {"train/pixels": np.arange(40 * 3 * 50, dtype=np.uint8).reshape(40, 3, 5, 10), "train/label": np.arange(40)}


@pytest.fixture
def file(tmp_path):
    store.write_hdf5(tmp_path / "a.h5", IMAGES, HEAD)
    return tmp_path / "a.h5"


def data(pixels: np.ndarray) -> Data:
    index = torch.arange(len(pixels))
    return Data(stages._tensor(pixels), index, ahead=feeding.ahead(pixels))


def test_large_images_stay_in_their_file_and_all_else_is_read(file, monkeypatch):
    held, _ = store.read_hdf5(file)
    assert not any(isinstance(array, np.memmap) for array in held.values())
    monkeypatch.setattr(store, "MAPPED", IMAGES["train/pixels"].nbytes)
    mapped, _ = store.read_hdf5(file)
    assert {name for name, array in mapped.items() if isinstance(array, np.memmap)} == {"train/pixels"}
    for name in IMAGES:
        np.testing.assert_array_equal(mapped[name], held[name])
    with pytest.raises(ValueError, match="read-only"):
        mapped["train/pixels"][0] = 1
    monkeypatch.setattr(store, "MAPPED", IMAGES["train/pixels"].nbytes + 1)
    assert not any(isinstance(array, np.memmap) for array in store.read_hdf5(file)[0].values())


def test_the_system_is_asked_for_whole_pages_that_hold_the_wanted_rows_and_little_else(tmp_path, monkeypatch):
    pixels = np.arange(90 * 3 * 40 * 40, dtype=np.uint32).astype(np.uint8).reshape(90, 3, 40, 40)
    store.write_hdf5(tmp_path / "a.h5", {"train/pixels": pixels}, HEAD)
    monkeypatch.setattr(store, "MAPPED", 1)
    held = store.read_hdf5(tmp_path / "a.h5")[0]["train/pixels"]
    whole, asked = (tmp_path / "a.h5").read_bytes(), []

    class Watched(mmap.mmap):
        def madvise(self, option, start=0, length=0):
            asked.append((option, start, length))
            return super().madvise(option, start, length)

    monkeypatch.setattr(mmap, "mmap", Watched)
    feeding.ahead(held)([7, 0, 89])
    for row, (option, start, length) in zip([7, 0, 89], asked, strict=True):
        assert option == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
        assert pixels[row].tobytes() in whole[start : start + length]
        assert length < pixels[row].nbytes + mmap.PAGESIZE


def test_nothing_is_asked_of_the_system_for_images_in_memory(file):
    assert feeding.ahead(store.read_hdf5(file)[0]["train/pixels"]) is None


@given(st.integers(1, 40), st.integers(1, 45), st.integers(1, 3), st.randoms())
def test_batches_are_the_order_cut_in_parts_and_each_process_has_its_share(images, size, count, random):
    pixels = torch.randint(0, 256, (images, 1, 2, 2), dtype=torch.uint8)
    order = torch.tensor(random.sample(range(images), images))
    held = Data(pixels, torch.arange(images))
    for of in (held, replace(held, ahead=lambda rows: None)):
        shared = [list(feeding.batches(of, order, size, Processes(rank, count).share)) for rank in range(count)]
        for batch in zip(*shared, strict=True):
            rows = batch[0][0]
            assert all(torch.equal(rows, own) for own, _ in batch)
            assert torch.equal(torch.cat([found for _, found in batch]), pixels[rows])
        assert torch.equal(torch.cat([rows for rows, _ in shared[0]]), order)
        assert [len(rows) for rows, _ in shared[0]][:-1] == [size] * (-(-images // size) - 1)


def test_the_next_batch_is_fetched_while_the_last_is_at_work():
    begun = [Event() for _ in range(3)]
    waiting = iter(begun)
    of = Data(torch.zeros(96, 1, 2, 2, dtype=torch.uint8), torch.arange(96), ahead=lambda rows: next(waiting).set())
    for number, _ in enumerate(feeding.batches(of, torch.arange(96), 32, Processes().share)):
        assert all(fetch.wait(60) for fetch in begun[: number + 2])
    assert next(waiting, None) is None


def test_images_on_the_host_are_pinned_there_and_copied_to_the_device(monkeypatch):
    taken: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda pixels: taken.append(len(pixels)) or pixels)
    with FakeTensorMode():  # a GPU is named where none is
        of = Data(torch.zeros(96, 1, 2, 2, dtype=torch.uint8), torch.arange(96, device="cuda"))
        found = [*feeding.batches(of, torch.arange(96), 40, Processes().share)]
    assert taken == [40, 40, 16]
    assert [(rows.device.type, pixels.device.type, len(pixels)) for rows, pixels in found] == [
        ("cuda", "cuda", count) for count in taken
    ]


def test_where_images_lie_is_told_once_before_any_is_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subset = Subset(dataset="optdigits", limit=120, validation=0.2)
    stages.subset(subset)
    asked: list[int] = []
    monkeypatch.setattr(feeding, "is_resident", lambda size, device: not asked.append(size))
    (train, test), _ = stages._data(cell(subset=subset), torch.device("cpu"))
    assert asked == [train.pixels.nbytes] and len(test.pixels)


def test_a_cell_of_images_in_a_file_ends_with_the_bytes_of_one_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subset = Subset(dataset="optdigits", limit=120, validation=0.2)
    stage = cell(
        subset=subset, encoder=Encoder(name="narrow_resnet", width=1), projector=Projector(width=4), epochs=2, batch=32
    )
    embed = Embed(pretrain=stage, on=subset)
    stages.subset(subset)
    made, asked, ahead = [], [], feeding.ahead
    monkeypatch.setattr(feeding, "ahead", lambda pixels: asked.append(isinstance(pixels, np.memmap)) or ahead(pixels))
    for least in (1 << 30, 1):
        monkeypatch.setattr(store, "MAPPED", least)
        stages.pretrain(stage)
        stages.embed(embed)
        made.append([store.path(stages.DATA, one).read_bytes() for one in (stage, embed)])
    assert made[0] == made[1] and asked == [False, False, True, True]


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from entia import feeding, stages
from entia.artefacts import store
from entia.processes import Processes

torch.set_num_threads(1)
store.MAPPED = int(sys.argv[2])
data_kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (data_kib * 1024 + int(sys.argv[3]),) * 2)
pixels = store.read_hdf5(Path(sys.argv[1]))[0]["train/pixels"]
data = feeding.Data(stages._tensor(pixels), torch.arange(len(pixels)), ahead=feeding.ahead(pixels))
total = sum(int(batch.sum()) for _, batch in feeding.batches(data, torch.randperm(len(pixels)), 256, Processes().share))
print(total)
"""


def test_images_of_several_times_the_memory_are_gone_through(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (100_000, 3, 32, 32), dtype=np.uint8)  # 293 MiB
    store.write_hdf5(tmp_path / "a.h5", {"train/pixels": pixels}, HEAD)

    def run(least: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.h5"), str(least), str(80 << 20)]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)

    found = run(1)
    assert found.stdout.strip() == str(pixels.sum(dtype=np.int64)), found.stderr[-500:]
    assert run(1 << 40).returncode != 0  # the limit is one: read into memory, they do not fit
