"""A folder's images count once each, whatever else lies beside them; what cannot be read is one message."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_config import cell

from entia import datasets, fields, stages
from entia.artefacts import store
from entia.config import Embed, Encoder, Readout, Subset
from entia.datasets import pictures, walking
from entia.probes import Ridge

SIDE = 10
TEXT = b"not an image"


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    import torchvision

    return torchvision


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def write(path: Path, *shape: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng(seed).integers(0, 256, shape or (SIDE, SIDE), dtype=np.uint8)).save(path, "PNG")
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two classes; in each a wide, a tall and a grey image, and a text."""
    for split, count in (("train", 3), ("val", 1)):
        for kind in ("cat", "ant"):
            for i in range(count):
                seed = len([*tmp_path.rglob("*.png")])
                write(tmp_path / "toy" / split / kind / f"{i}.png", *[(20, 40, 3), (40, 20, 3), (20, 20)][i], seed=seed)
            (tmp_path / "toy" / split / kind / "notes.txt").write_bytes(TEXT)
    return tmp_path


@pytest.fixture
def train(raw: Path) -> Path:
    return raw / "toy" / "train"


def read(raw: Path, side: int = SIDE) -> datasets.Raw:
    return datasets.read("image_folder/toy", raw, side)


def refused(raw: Path) -> str:
    with pytest.raises(fields.Problem) as caught:
        read(raw)
    return str(caught.value)


# --- what is read -------------------------------------------------------------------------------------------------


def test_a_folder_is_read_by_class_then_by_name_as_colour_squares(raw: Path, torchvision: ModuleType) -> None:
    found = read(raw)
    assert found.classes == ("ant", "cat")
    assert found.train.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test.pixels.shape == (2, 3, SIDE, SIDE)
    for position, name in ((1, "ant/1.png"), (3, "cat/0.png"), (5, "cat/2.png")):
        with Image.open(raw / "toy" / "train" / name) as image:
            view = torchvision.transforms.functional.resize(image.convert("RGB"), SIDE)  # bilinear, antialiased
            expected = np.asarray(torchvision.transforms.functional.center_crop(view, [SIDE, SIDE])).transpose(2, 0, 1)
        np.testing.assert_allclose(found.train.pixels[position].astype(int), expected.astype(int), atol=1)


def test_images_come_in_the_order_of_torchvisions_image_folder(train: Path, raw: Path, torchvision: ModuleType) -> None:
    for i, name in enumerate(("b/1.png", "b-c/1.png", "b.png", "a/z.PNG", "a/b/1.png", "é.png", "ａ.png")):
        write(train / "cat" / name, seed=10 + i)
    listed = torchvision.datasets.ImageFolder(train)
    expected = [pictures.decode(Path(path).read_bytes(), SIDE).pixels for path, _ in listed.samples]
    found = read(raw)
    assert found.classes == tuple(listed.classes)
    assert found.train.label.tolist() == listed.targets
    np.testing.assert_array_equal(found.train.pixels, np.stack(expected))


def test_reading_a_folder_does_not_import_torch(raw: Path) -> None:
    code = f"import sys, pathlib; from entia import datasets; datasets.read('image_folder/toy', pathlib.Path({str(raw)!r}), 8)"
    subprocess.run([sys.executable, "-c", code + "; assert 'torch' not in sys.modules"], check=True)


def test_the_checksum_covers_names_and_bytes_and_not_other_files(raw: Path, train: Path) -> None:
    before = read(raw).checksum
    (train / "ant" / "notes.txt").write_text("changed")
    assert read(raw).checksum == before
    renamed = (train / "ant" / "2.png").rename(train / "ant" / "3.png")
    assert read(raw).checksum != before
    renamed.rename(train / "ant" / "2.png").write_bytes((train / "cat" / "0.png").read_bytes())
    assert read(raw).checksum != before


def test_the_checksum_is_sha256sums_of_sha256sums_lines(raw: Path) -> None:
    names = [
        f"{split}/{kind}/{i}.png"
        for split, n in (("train", 3), ("val", 1))
        for kind in ("ant", "cat")
        for i in range(n)
    ]
    lines = subprocess.run(["sha256sum", *names], cwd=raw / "toy", capture_output=True, check=True).stdout
    said = subprocess.run(["sha256sum"], input=lines, capture_output=True, check=True).stdout.decode()
    assert read(raw).checksum == said.split()[0]


@pytest.mark.parametrize(
    "ending", ["gif", "jfif", "JPEG", "webp", "avif", "bmp", "tif", "TIFF", "jp2", "ppm", "tga", "ico"]
)
def test_all_kinds_of_images_that_pillow_reads_count(raw: Path, train: Path, ending: str) -> None:
    form = Image.registered_extensions()[f".{ending.lower()}"]
    Image.new("RGB", (16, 16), (200, 100, 50)).save(train / "ant" / f"x.{ending}", form)
    found = read(raw)
    assert len(found.train) == 7
    np.testing.assert_allclose(found.train.pixels[3, :, 5, 5].astype(int), [200, 100, 50], atol=6)


# --- what is passed over ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", ".DS_Store", "._cat", "@eaDir", "__MACOSX", "Thumbs.db", "desktop.ini", "lost+found"],
)
def test_hidden_names_are_neither_classes_nor_images(raw: Path, train: Path, name: str) -> None:
    before = read(raw)
    write(train / name / "1.png")
    write(train / "ant" / name / "1.png")
    write(train / "cat" / f".{name}.png")
    after = read(raw)
    assert (after.classes, after.checksum) == (before.classes, before.checksum)
    assert "3 hidden names" in after.said


def test_what_is_passed_over_is_counted_by_its_ending(raw: Path, train: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c", "d.odd\nname"):
        (train / "ant" / name).write_bytes(TEXT)
    (train / "readme.md").write_bytes(TEXT)
    write(train / "loose.png")
    Image.new("L", (9, 9)).save(train / "cat" / "pages.tif", save_all=True, append_images=[Image.new("L", (9, 9))] * 2)
    assert read(raw).said == (
        "9 images in 2 classes; passed over: 4 .txt files, 2 .heic files, 2 classless files, 2 later pages, "
        "1 .odd\\nname file, 1 endingless file"
    )


def test_nothing_is_said_where_nothing_was_passed_over(raw: Path) -> None:
    for path in raw.rglob("notes.txt"):
        path.unlink()
    assert read(raw).said == "8 images in 2 classes"


def test_images_of_sixteen_bits_are_said_and_how_bright_they_are(raw: Path, train: Path) -> None:
    for i, top in enumerate((4095, 1000)):
        Image.fromarray(np.full((9, 9), top, np.uint16)).save(train / "cat" / f"deep{i}.png")
    assert "2 grey images of more than 8 bits, whose brightest value is 6.25 % of white" in read(raw).said


# --- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("train/ant/up", ".."),
        ("train/ant/self", "."),
        ("train/ant/root", "../.."),
        ("train/ant/far", "../../../.."),
        ("train/ant/sibling", "../cat"),
        ("train/cat/test", "../../val"),
        ("train/cat/again.png", "0.png"),
        ("train/ant/other.png", "../cat/0.png"),
        ("val/ant/leak.png", "../../train/ant/0.png"),
        ("train/cat/a", "../ant/b"),  # and b leads back
    ],
)
def test_links_to_what_counts_already_change_nothing(raw: Path, place: str, target: str) -> None:
    (raw / "toy" / "train" / "ant" / "b").symlink_to("../cat")
    before = read(raw)
    (raw / "toy" / place).symlink_to(target)
    after = read(raw)
    assert after.checksum == before.checksum
    assert len(after.train) + len(after.test) == 8
    np.testing.assert_array_equal(after.train.label, before.train.label)
    assert "2 repeated links" in after.said


def test_folders_and_files_may_be_linked_from_elsewhere(raw: Path, tmp_path: Path) -> None:
    """The data set, a split, a class, a folder in a class and single files, each at the other end of a link."""
    before = read(raw)
    away = tmp_path / "away"
    for i, place in enumerate(("toy", "toy/val", "toy/train/ant", "toy/train/cat/1.png")):
        (raw / place).rename(moved := away.with_name(f"away{i}"))
        (raw / place).symlink_to(moved)
    after = read(raw)
    assert (after.checksum, after.said) == (before.checksum, before.said)


def test_an_image_linked_from_elsewhere_counts_at_the_first_link(raw: Path, train: Path) -> None:
    write(raw / "pool" / "blob")  # as caches keep them: without an ending
    for name in ("cat/y.png", "ant/x.png", "ant/w.txt"):
        (train / name).symlink_to(raw / "pool" / "blob")
    found = read(raw)
    assert found.train.label.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert "1 repeated link" in found.said and "5 .txt files" in found.said


def test_a_folder_that_links_tie_into_knots_is_walked_in_no_time(raw: Path, train: Path) -> None:
    for i in range(12):
        write(train / "ant" / f"d{i}" / "x.png", seed=i)
        for j in range(12):
            (train / "ant" / f"d{i}" / f"to{j}").symlink_to(f"../d{j}")
    assert len(read(raw).train) == 18


def test_a_deep_folder_is_no_trouble(raw: Path, train: Path) -> None:
    deep = f"{train}/ant"
    for _ in range(1050):
        Path(deep := f"{deep}/d").mkdir()
    Image.new("L", (9, 9)).save(f"{deep}/x.png")
    assert len(read(raw).train) == 7
    Path(f"{deep}/x.png").unlink()
    for _ in range(1050):  # deeper than pytest can clean up
        Path(deep).rmdir()
        deep = deep.removesuffix("/d")


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_all_files_that_cannot_be_read_are_named_in_one_message(raw: Path, train: Path) -> None:
    whole = (train / "ant" / "0.png").read_bytes()
    (train / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (train / "cat" / "empty.jpg").write_bytes(b"")
    (train / "cat" / "text.gif").write_bytes(TEXT)
    (train / "cat" / "dangling.png").symlink_to("nowhere.png")
    (train / "cat" / "loop.png").symlink_to("loop.png")
    (train / "gone").symlink_to("nowhere")
    os.mkfifo(train / "cat" / "pipe.png")
    Image.fromarray(np.full((9, 9), 7.5, np.float32)).save(raw / "toy" / "val" / "ant" / "float.tif")
    said = refused(raw)
    assert said.startswith(f"{raw / 'toy'}: 8 files cannot be read; replace or remove")
    for line in (
        "train/cat/cut.png: damaged (",
        "train/cat/empty.jpg: empty (0 bytes)",
        "train/cat/text.gif: not an image",
        "train/cat/dangling.png: a link to nothing",
        "train/cat/loop.png: a link to nothing",
        "train/gone: a link to nothing",
        "train/cat/pipe.png: not a regular file",
        "val/ant/float.tif: floats from 7.5 to 7.5",
    ):
        assert f"\n  {line}" in said


def test_of_many_files_that_cannot_be_read_twenty_are_named_and_all_counted(raw: Path, train: Path) -> None:
    for i in range(33):
        (train / "cat" / f"bad{i:02}.png").write_bytes(TEXT)
    said = refused(raw)
    assert said.count("\n") == 21 and ": 33 files cannot be read" in said and said.endswith("and 13 more")


def test_a_file_and_a_folder_that_may_not_be_read_are_named(
    raw: Path, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for permissions, which do not bind the superuser that tests may run as."""
    (train / "ant" / "closed").mkdir()
    scan, open_ = os.scandir, Path.read_bytes

    def scandir(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    def read_bytes(path: Path) -> bytes:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied")
        return open_(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    said = refused(raw)
    assert "train/ant/closed: Permission denied" in said and "train/cat/1.png: Permission denied" in said


# --- splits and classes -------------------------------------------------------------------------------------------


def test_a_folder_without_a_test_split_is_refused_and_says_what_there_is(raw: Path) -> None:
    (raw / "toy" / "val").rename(raw / "toy" / "Test")
    said = refused(raw)
    assert "a folder train and a folder test or val, each with a folder a class; or" in said
    assert said.endswith("there is: Test, train")


@pytest.mark.parametrize(
    ("name", "said"), [("none", "No such file"), ("a" * 300, "name too long"), ("file", "Not a dir")]
)
def test_a_data_set_that_is_not_there_is_refused(raw: Path, name: str, said: str) -> None:
    (raw / "file").write_bytes(TEXT)
    with pytest.raises(fields.Problem, match=f"{name}: there must be a folder train.*{said}"):
        datasets.read(f"image_folder/{name}", raw, SIDE)


@pytest.mark.parametrize("name", ["../toy", "..", "", ".", "toy/../toy", "/etc", "toy//x", "toy/", "a\0b", "./toy"])
def test_a_name_that_leads_out_of_the_raw_data_is_refused(raw: Path, name: str) -> None:
    (raw / "raw").mkdir()
    with pytest.raises(fields.Problem, match=r"^image_folder/.*: NAME must be a folder inside"):
        datasets.read(f"image_folder/{name}", raw / "raw", SIDE)


def test_a_folder_inside_a_folder_of_the_raw_data_may_be_named(raw: Path) -> None:
    assert datasets.read(f"image_folder/{raw.name}/toy", raw.parent, SIDE).checksum == read(raw).checksum


def test_splits_of_different_classes_are_refused(raw: Path) -> None:
    (raw / "toy" / "val" / "cat").rename(raw / "toy" / "val" / "dog")
    assert refused(raw).endswith("train and val must have the same classes; only one of them has cat, dog")


@pytest.mark.parametrize("other", ["Cat", "CAT"])
def test_classes_that_differ_in_capitals_are_two_and_said_to_be_alike(raw: Path, train: Path, other: str) -> None:
    (raw / "toy" / "val" / "cat").rename(raw / "toy" / "val" / other)
    assert "differing in capitals or in how an accent is written" in refused(raw)
    write(train / other / "1.png")
    write(raw / "toy" / "val" / "cat" / "1.png")
    assert read(raw).classes == (other, "ant", "cat")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_without_images_is_named_with_what_lies_in_it(raw: Path, split: str) -> None:
    for each in ("train", "val"):
        write(raw / "toy" / each / "bee" / "1.png")
    (raw / "toy" / split / "bee" / "1.png").rename(raw / "toy" / split / "bee" / "1.heic")
    assert f"no image in {split}/bee (there: 1 .heic file)" in refused(raw)


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "toy" / split / "1.png")
    assert "must each have a folder a class" in refused(tmp_path)


def test_a_test_split_that_is_the_training_split_is_refused(raw: Path) -> None:
    (raw / "toy" / "test").symlink_to("train")
    assert "no image in test/ant (there: 1 repeated link), test/cat" in refused(raw)


# --- names --------------------------------------------------------------------------------------------------------


def named(root: Path, *kinds: bytes) -> None:
    for shift, split in enumerate(("train", "test")):
        for i, kind in enumerate(kinds):
            write(root / "toy" / split / os.fsdecode(kind) / f"\udcff{i}.png", seed=100 + 2 * i + shift)


def test_odd_names_are_classes_like_others(tmp_path: Path) -> None:
    named(tmp_path, b"two\nlines", b"\xff\xfe", "é".encode(), b" ", b"-rf", b"*", b"$(x)", b"a" * 255)
    found = read(tmp_path)
    assert found.classes == (" ", "$(x)", "*", "-rf", "a" * 255, "two\nlines", "é", "\udcff\udcfe")
    assert found.train.label.tolist() == list(range(8))


def test_names_mean_the_same_in_every_locale(tmp_path: Path) -> None:
    named(tmp_path, "é".encode(), b"\xff", "ａ".encode(), "😀".encode(), b"z")
    code = (
        "import sys, pathlib; from entia import datasets; "
        "raw = datasets.read('image_folder/toy', pathlib.Path(sys.argv[1]), 8); "
        "print(raw.checksum, ascii(raw.classes), sys.getfilesystemencoding(), raw.train.label.tolist())"
    )

    def printed(**extra: str) -> list[str]:
        environment = {**os.environ, **extra}
        done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, capture_output=True, check=True)
        return done.stdout.decode().split(" ", 1)

    here, plain = printed(), printed(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "ascii" in plain[1] and plain[1].replace(" ascii ", " utf-8 ") == here[1]
    assert plain[0] == here[0]


def test_class_names_pass_through_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    named(tmp_path / "data" / "raw", b"two\nlines", b"\xff")
    for i in range(12):
        write(tmp_path / "data" / "raw" / "toy" / "train" / "two\nlines" / f"{i}.png", seed=i)
        write(tmp_path / "data" / "raw" / "toy" / "train" / "\udcff" / f"{i}.png", seed=20 + i)
    monkeypatch.chdir(tmp_path)
    subset = Subset(dataset="image_folder/toy", side=8)
    trained = cell(subset=subset, encoder=Encoder(name="narrow_resnet", width=2), views=2, epochs=1, batch=8)
    stages.subset(subset)
    assert "of 28 images in 2 classes" in capfd.readouterr().err
    packed = store.path(Path("data"), subset)
    head, content = store.read_head(packed), packed.read_bytes()
    assert head["classes"] == ["two\nlines", "\udcff"] and head["raw"] == "28 images in 2 classes"
    stages.subset(subset)
    assert packed.read_bytes() == content
    stages.pretrain(trained)
    stages.embed(embed := Embed(pretrain=trained, on=subset))
    stages.readout(readout := Readout(embed=embed, probe=Ridge()))
    assert store.read_json(store.path(Path("data"), readout))["classes"] == 2


# --- any folder at all --------------------------------------------------------------------------------------------

ODD = "train test val a A b x.png y.JPG z.tif .x.png ._x.png @eaDir n.txt \udcff.png é.png x.heic ..png - \x1b[31m.gif"
NAMES = st.sampled_from([*ODD.split(" "), "two\nlines", "a b.png"]) | st.binary(min_size=1, max_size=6).map(
    os.fsdecode
).filter(lambda name: not {*"/\0"} & {*name} and name.strip("."))
PATHS = st.lists(NAMES, min_size=1, max_size=5)


def image(form: str, **options: object) -> bytes:
    with TemporaryDirectory() as folder:
        Image.new("RGB", (9, 7), (10, 200, 30)).save(path := Path(folder) / "x", form, **options)
        return path.read_bytes()


CONTENTS = st.sampled_from([image("PNG"), image("JPEG"), image("GIF"), image("TIFF"), b"", TEXT, image("PNG")[:30]])
LINKS = st.tuples(PATHS, st.sampled_from([".", "..", "../..", "../../..", "x.png", "../b", "nowhere", "/dev/null"]))


@settings(deadline=None, max_examples=150)
@given(files=st.lists(st.tuples(PATHS, CONTENTS), max_size=8), links=st.lists(LINKS, max_size=4), whole=st.booleans())
def test_any_folder_is_read_whole_or_refused_in_one_message(
    files: list[tuple[list[str], bytes]], links: list[tuple[list[str], str]], whole: bool
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "toy"
        base = [([split, kind, "0.png"], image("PNG")) for split in ("train", "test") for kind in ("a", "b")]
        for parts, content in [*(base if whole else []), *files]:
            with suppress(OSError):  # what is a file already is no folder
                root.joinpath(*parts).parent.mkdir(parents=True, exist_ok=True)
                root.joinpath(*parts).write_bytes(content)
        for parts, target in links:
            with suppress(OSError):
                root.joinpath(*parts).symlink_to(target)
        try:
            found = read(Path(folder), side=4)
        except fields.Problem as problem:
            said = str(problem)
            assert said.replace("\n", "").isprintable() and said.startswith(folder)
            assert (said.count("\n") > 0) == ("cannot be read" in said)
        else:
            counted = set(images(root))
            assert len(found.train) + len(found.test) == len(counted)
            for part in (found.train, found.test):
                assert set(part.label.tolist()) == set(range(len(found.classes)))
                assert (np.diff(part.label) >= 0).all()
            assert found.said.isprintable()
            assert read(Path(folder), side=4).checksum == found.checksum


def images(root: Path) -> Iterator[str]:
    """Resolved paths of all images that are there without links to folders, found in another way."""
    test = "test" if (root / "test").is_dir() else "val"
    for split in ("train", test):
        for folder, inner, names in os.walk(root / split):
            inner[:] = [name for name in inner if not name.startswith(".") and name.lower() not in walking.SYSTEM]
            if Path(folder) != root / split:
                shown = (name for name in names if not name.startswith("."))
                held = (Path(folder) / name for name in shown if Path(name).suffix.lower() in pictures.ENDINGS)
                yield from (os.path.realpath(path) for path in held)
