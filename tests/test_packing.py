"""Sets of image files are packed a chunk at a time: the same bytes, whatever is killed, in memory that does not grow."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image

from entia import datasets, fields, stages
from entia.artefacts import store
from entia.config import Subset
from entia.datasets import decoding, folders, pictures
from entia.system import asked, machines

SIDE = 6
TOY = Subset(dataset="image_folder/toy", side=SIDE)


def fill(data: Path, train: int = 40, test: int = 20) -> Path:
    """So many images in two classes, each of random pixels, below `data`/raw."""
    generator = np.random.Generator(np.random.PCG64(7))
    for split, count in (("train", train), ("test", test)):
        for i in range(count):
            path = data / "raw" / "toy" / split / "ab"[i % 2] / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
    return data


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty images in chunks of eight, as this process packs them."""
    monkeypatch.setattr(decoding, "CHUNK", 8)
    monkeypatch.setattr(stages, "DATA", tmp_path / "data")
    return fill(tmp_path / "data")


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is decoded in this process from now on."""
    met: list[bytes] = []
    decode = pictures.decode

    def noted(content: bytes, *how: Any) -> pictures.Picture:
        met.append(content)
        return decode(content, *how)

    monkeypatch.setattr(pictures, "decode", noted)
    return met


def packed(data: Path, of: Subset = TOY) -> bytes:
    stages.subset(of)
    return store.path(data, of).read_bytes()


def part(data: Path, of: Subset = TOY) -> Path:
    return store.path(data, of).with_suffix(".part")


# --- the same as ever ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "content"),
    [
        (Subset(dataset="mnist5k"), "24add107d3e73d1089b643d6ea4205aba985e0c8daee2e565d62bba11e98c14c"),
        (
            Subset(dataset="mnist5k", limit=600, fraction=0.5, side=14, validation=0.1),
            "af59c122f73650d937e94faa86c4efab627f76c5bfe34012ca46a0083e466cda",
        ),
    ],
)
def test_what_is_packed_is_what_earlier_versions_packed(data: Path, of: Subset, content: str) -> None:
    stages.subset(of)
    assert store.read_head(store.path(data, of))["content"] == content


@settings(deadline=None, max_examples=40)
@given(
    counts=st.tuples(st.integers(12, 40), st.integers(2, 20)),
    chunk=st.integers(1, 50),
    limit=st.none() | st.integers(8, 50),
    validation=st.sampled_from([0.0, 0.2, 0.5]),
    fraction=st.floats(0.1, 1),
)
def test_files_are_packed_as_a_whole_set_in_memory_is(
    counts: tuple[int, int], chunk: int, limit: int | None, validation: float, fraction: float
) -> None:
    of = Subset(dataset="image_folder/toy", side=SIDE, limit=limit, validation=validation, fraction=fraction)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        data = fill(Path(folder), *counts)
        patch.setattr(decoding, "CHUNK", chunk)
        patch.setattr(stages, "DATA", data)
        stages.subset(of)
        arrays, head = store.read_hdf5(store.path(data, of))
        files = sorted((data / "raw" / "toy").rglob("*.png"), key=lambda path: ("test" in path.parts, str(path)))
        every = np.stack([pictures.decode(path.read_bytes(), SIDE).pixels for path in files])
        label = np.asarray(["ab".index(path.parent.name) for path in files])
        parts = (datasets.Images(every[cut], label[cut], np.arange(len(every))[cut] - (cut.start or 0)) for cut in (slice(counts[0]), slice(counts[0], None)))  # fmt: skip
        expected = datasets.pack(of, datasets.Raw(*parts, classes=("a", "b"), checksum=""))
        for name, array in arrays.items():
            split, kind = name.split("/")
            np.testing.assert_array_equal(array, getattr(getattr(expected, split), kind), name)
        assert head["pixels"] == datasets.statistics(expected.train.pixels)
        assert head["raw_sha256"] == datasets.read(of.source, data / "raw", SIDE).checksum
        assert not part(data, of).exists()


def test_of_a_fraction_its_own_files_alone_are_decoded(data: Path, decodes: list[bytes]) -> None:
    stages.subset(few := Subset(dataset="image_folder/toy", side=SIDE, fraction=0.25))
    arrays, head = store.read_hdf5(store.path(data, few))
    held = sum(len(arrays[f"{part}/label"]) for part in ("train", "validation", "test"))
    assert len(decodes) == held < 60
    stages.subset(TOY)
    assert head["raw_sha256"] == store.read_head(store.path(data, TOY))["raw_sha256"]


def test_images_are_padded_where_that_is_asked_for_and_not_taken_from_what_was_cropped(data: Path) -> None:
    padded = Subset(dataset="image_folder/toy", side=SIDE, fit="pad", validation=0.0)
    cropped = replace(padded, fit="crop")
    stages.subset(padded)
    arrays, head = store.read_hdf5(store.path(data, padded))
    files = sorted((data / "raw" / "toy" / "train").rglob("*.png"))
    expected = [pictures.decode(path.read_bytes(), SIDE, "pad").pixels for path in files]
    np.testing.assert_array_equal(arrays["train/pixels"], expected)
    stages.subset(cropped)
    assert (store.read_hdf5(store.path(data, cropped))[0]["train/pixels"] != arrays["train/pixels"]).any()
    assert head["raw_sha256"] == store.read_head(store.path(data, cropped))["raw_sha256"]


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_chunk_that_was_cropped_is_not_used_padded(tmp_path: Path, fit: str) -> None:
    fill(tmp_path, 4, 2)
    rooms = [decoding.Room(tmp_path / "room", fit=each) for each in ("crop", "pad", fit)]
    crop, pad, again = (datasets.read(TOY.source, tmp_path / "raw", SIDE, room).train.pixels[:] for room in rooms)
    assert (crop != pad).any()
    np.testing.assert_array_equal(again, crop if fit == "crop" else pad)


def test_raw_data_are_compared_without_decoding_them(data: Path, decodes: list[bytes]) -> None:
    found = datasets.checksum(TOY.source, data / "raw", SIDE)
    assert not decodes
    assert found == datasets.read(TOY.source, data / "raw", SIDE).checksum


# --- kills --------------------------------------------------------------------------------------------------------

SLOWLY = """
import sys, time
from pathlib import Path
from entia import stages
from entia.config import Subset
from entia.datasets import decoding, pictures
decode = pictures.decode
def slowly(content, *how):
    time.sleep(0.02)
    return decode(content, *how)
pictures.decode, decoding.CHUNK, stages.DATA = slowly, 8, Path(sys.argv[1])
stages.subset(Subset(dataset="image_folder/toy", side=6))
"""


def kill(data: Path, chunks: int) -> None:
    """Packs in a process that is killed once so many chunks are done."""
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, data], stderr=subprocess.DEVNULL)
    while len([*part(data).glob("*.json")]) < chunks:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_packing_that_is_killed_goes_on_and_ends_with_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[bytes]
) -> None:
    fill(data, 200, 40)
    kill(data, 3)
    kill(data, len([*part(data).glob("*.json")]) + 3)
    assert not store.path(data, TOY).exists()
    done = len([*part(data).glob("*.json")])
    found = packed(data)
    assert done >= 6 and len(decodes) <= 240 - 8 * done
    monkeypatch.setattr(stages, "DATA", fill(tmp_path / "calm", 200, 40))
    assert packed(tmp_path / "calm") == found
    assert [*data.glob("subset/*")] == [store.path(data, TOY)]  # nothing is left beside it


PACK = """
import sys
from pathlib import Path
from entia import stages
from entia.config import Subset
stages.DATA = Path(sys.argv[1])
stages.subset(Subset(dataset="image_folder/toy", side=6))
"""


def many(data: Path) -> Path:
    """So many files that processes share them, each of which takes milliseconds."""
    first = fill(data, 2, 2) / "raw" / "toy" / "train" / "a" / "00000.png"
    noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (250, 250, 3), dtype=np.uint8)
    Image.fromarray(noise).save(first)
    for kind in ("train/a", "train/b", "test/a", "test/b"):
        for i in range(300):
            os.link(first, data / "raw" / "toy" / kind / f"1{i:04d}.png")  # files of their own, as far as folders tell
    return data


def helpers(of: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(of.pid).children()


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.skipif(machines.cores() < 2, reason="one core: nobody to share with")
def test_processes_that_share_the_files_end_with_the_one_that_is_killed_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = many(tmp_path / "data")
    process = subprocess.Popen([sys.executable, "-c", PACK, data], stderr=subprocess.DEVNULL)
    until(lambda: [*part(data).glob("*.json")])
    sharing = helpers(process)
    process.kill()
    process.wait()
    assert len(sharing) == 2 or machines.cores() > 2
    until(lambda: not any(each.is_running() for each in sharing))
    done = {path: path.stat().st_mtime_ns for path in part(data).glob("*.json")}
    assert 0 < len(done) < 10
    kept: list[dict[Path, int]] = []
    monkeypatch.setattr(stages, "DATA", data)
    stages.subset(TOY, lambda held: kept.append({path: path.stat().st_mtime_ns for path in done}))
    assert kept == [done]
    monkeypatch.setattr(decoding, "EACH", 10_000)
    monkeypatch.setattr(stages, "DATA", tmp_path / "alone")
    (tmp_path / "alone").mkdir()
    (data / "raw").rename(tmp_path / "alone" / "raw")
    assert packed(tmp_path / "alone") == store.path(data, TOY).read_bytes()


@pytest.mark.skipif(machines.cores() < 2, reason="one core: nobody to share with")
def test_a_helper_that_is_killed_is_one_message_and_costs_nothing_that_is_done(tmp_path: Path) -> None:
    data = many(tmp_path / "data")
    process = subprocess.Popen([sys.executable, "-c", PACK, data], stderr=subprocess.PIPE)
    until(lambda: [*part(data).glob("*.json")])
    helpers(process)[0].kill()
    said = process.communicate()[1].decode()
    assert process.returncode == 1
    assert "entia.fields.Problem: a process that was to help has ended, by SIGKILL; see to the memory" in said
    assert [*part(data).glob("*.json")] and not store.path(data, TOY).exists()


def test_what_the_system_refuses_a_helper_it_refuses_the_asker(tmp_path: Path) -> None:
    assert [*asked.answers("os.path", "basename", [("a/b",), ("c",)], 1)] == ["b", "c"]
    with pytest.raises(FileNotFoundError):
        [*asked.answers("os", "listdir", [(str(tmp_path / "none"),)], 2)]


def leave(data: Path) -> None:
    """Has everything decoded, and the process end before the artefact is written."""

    def end(held: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.subset(TOY, end)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pixels cut short": lambda file: os.truncate(file.with_suffix(".pixels"), 100),
    "pixels lost": lambda file: file.with_suffix(".pixels").unlink(),
    "other pixels": lambda file: file.with_suffix(".pixels").write_bytes(bytes(8 * 3 * SIDE**2)),
    "a note cut short": lambda file: os.truncate(file.with_suffix(".json"), 100),
    "an empty note": lambda file: os.truncate(file.with_suffix(".json"), 0),
    "another note": lambda file: file.with_suffix(".json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_chunk_that_is_not_there_whole_is_decoded_again(data: Path, decodes: list[bytes], damage: str) -> None:
    expected = packed(data)
    store.path(data, TOY).unlink()
    leave(data)
    decodes.clear()
    DAMAGES[damage](part(data) / "000002")
    assert packed(data) == expected and len(decodes) == 8


CHANGES: dict[str, Callable[[Path], object]] = {
    "written anew": lambda path: path.write_bytes(path.with_name("00003.png").read_bytes()),
    "touched": lambda path: os.utime(path, (1, 1)),
    "removed": lambda path: path.unlink(),
    "renamed": lambda path: path.rename(path.with_name("00001a.png")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_that_have_changed_in_between_are_decoded_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[bytes], change: str
) -> None:
    leave(data)
    decodes.clear()
    CHANGES[change](data / "raw" / "toy" / "train" / "b" / "00001.png")
    found, again = packed(data), len(decodes)
    monkeypatch.setattr(stages, "DATA", other := tmp_path / "other")
    (other / "raw").mkdir(parents=True)
    (data / "raw" / "toy").rename(other / "raw" / "toy")
    assert packed(other) == found
    assert 8 <= again < 60 if change != "removed" else again > 8  # all after it move up by one


def test_what_other_code_has_decoded_is_not_used(
    data: Path, decodes: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(data)
    decodes.clear()
    monkeypatch.setattr(stages.provenance, "versions", lambda: {"pillow": "0"})
    packed(data)
    assert len(decodes) == 60


def test_a_file_that_is_gone_while_packing_is_named_and_nothing_is_written(
    data: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[bytes]
) -> None:
    gone = data / "raw" / "toy" / "test" / "b" / "00019.png"
    content, made = gone.read_bytes(), decoding._made

    def made_late(*question: Any) -> decoding.Found:
        gone.unlink(missing_ok=True)
        return made(*question)

    monkeypatch.setattr(decoding, "_made", made_late)
    with pytest.raises(fields.Problem, match=r"1 file cannot be read.*\n  test/b/00019.png: No such file"):
        stages.subset(TOY)
    assert not store.path(data, TOY).exists()
    monkeypatch.setattr(decoding, "_made", made)
    gone.write_bytes(content)
    decodes.clear()
    packed(data)
    assert len(decodes) == 4  # the last chunk's


def spoil(data: Path, *names: str) -> None:
    for name in names:
        (data / "raw" / "toy" / name).write_bytes(b"not an image")


def test_a_few_damaged_images_are_left_out_and_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOST", 2 / 60)
    whole = datasets.read(TOY.source, data / "raw", SIDE)
    spoil(data, "train/b/00003.png", "test/a/00004.png")
    stages.subset(TOY)
    arrays, head = store.read_hdf5(store.path(data, TOY))
    train = np.sort(np.concatenate([arrays["train/index"], arrays["validation/index"]]))
    assert train.tolist() == [i for i in range(40) if i != 21]  # as without: twenty of a, then 1 and 3 of b
    assert arrays["test/index"].tolist() == [i for i in range(20) if i != 2]
    for name, images in (("train", whole.train), ("test", whole.test)):
        np.testing.assert_array_equal(arrays[f"{name}/pixels"], images.pixels[arrays[f"{name}/index"]])
    why = "(not an image, damaged at its start, or of a kind that Pillow cannot read)"
    assert head["raw"].endswith(f"left out, since it cannot be read: test/a/00004.png {why}, train/b/00003.png {why}")


def test_more_damaged_images_than_a_share_stop_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOST", 2 / 60)
    spoil(data, "train/b/00003.png", "test/a/00004.png", "train/a/00000.png")
    with pytest.raises(fields.Problem, match="3 files cannot be read"):
        stages.subset(TOY)
    assert not store.path(data, TOY).exists()


# --- memory and progress ------------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from pathlib import Path
from entia import stages
from entia.config import Subset
stages.DATA = Path(sys.argv[1])
stages.subset(Subset(dataset="image_folder/toy", side=128))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def peak(data: Path) -> int:
    """MiB that a process takes at most to pack."""
    done = subprocess.run([sys.executable, "-c", PEAK, data], capture_output=True, check=True)
    return int(done.stdout)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    few, many = fill(tmp_path / "few", 300, 30), fill(tmp_path / "many", 20, 20)
    for path in [*(many / "raw").rglob("*.png")]:
        for i in range(74):
            os.link(path, path.with_name(f"{i:02d}{path.name}"))  # a file of its own, as far as a folder tells
    assert peak(many) - peak(few) < 25  # MiB: 3,000 images of 128 pixels are 141, and 330 are 15


def test_how_far_packing_is_is_said_as_training_says_it(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entia.system.bars.Packing.EVERY", -1)
    stages.subset(TOY)
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"image_folder/toy 100 %: 8 of 60 images, [\d,]+ images/s, 0:00:\d\d left", lines[0])
    assert re.fullmatch(r"image_folder/toy 100 %: 60 of 60 images, [\d,]+ images/s, 0:00:00 left", lines[-2])
    assert len(lines) == 9
