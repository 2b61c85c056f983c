"""Tables beside a folder's images: groups.csv keeps images on one side, labels.csv gives the classes."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_splits import BARE, TESTED, TRAINED, classed, png, put, read, refused, sides

GROUPS = [f"patient {i}" for i in range(40)]


def is_tested(group: str) -> bool:
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64 < 0.2


def table(root: Path, what: str, rows: dict[str, str], *more: str) -> Path:
    lines = [f"file,{what}", *(f'"{file}","{value}"' for file, value in rows.items()), *more]
    (file := root / "toy" / f"{what}s.csv").write_text("\n".join(lines), "utf-8")
    return file


# --- groups ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(of=st.lists(st.sampled_from(GROUPS), min_size=30, max_size=60), bare=st.booleans())
def test_a_group_is_on_the_side_that_its_name_says_whatever_its_images_are(of: list[str], bare: bool) -> None:
    of = [*of, *(group for i in (0, 1) for group in GROUPS if is_tested(group) == bool(i))][:90]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        files = classed([*range(len(of))])
        put(root, files)
        table(root, "group", dict(zip(files, of, strict=True)))
        found = read(root, BARE if bare else "image_folder/toy")
    expected = {group: "test" if is_tested(group) else "train" for group in of}
    by_pixels = sides(found)
    for seed, group in enumerate(of):
        assert by_pixels[pixels(seed)] == expected[group]
    assert f"{sum(map(is_tested, of))} images to test on, by a hash of their groups' names" in found.said


def pixels(seed: int) -> bytes:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png(seed)))).transpose(2, 0, 1).tobytes()


def grouped(root: Path) -> dict[str, str]:
    """Ten images of which group each; both sides have images of both classes."""
    both = [[group for group in GROUPS if is_tested(group) == wanted][:2] for wanted in (True, False)]
    put(root, files := classed([*range(20)]))
    rows = {file: both[i % 4 // 2][i // 4 % 2] for i, file in enumerate(files)}
    table(root, "group", rows)
    return rows


def test_a_group_that_is_renamed_changes_the_checksum_and_a_table_is_not_passed_over(tmp_path: Path) -> None:
    rows = grouped(tmp_path)
    before = read(tmp_path)
    assert "passed over" not in before.said and "not read" not in before.said
    table(tmp_path, "group", dict(reversed(rows.items())))
    after = read(tmp_path)
    assert after.checksum != before.checksum and sides(after) == sides(before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows | {"a/gone.png": "x", "b/gone.png": "x"}, ": 2 rows without an image: a/gone.png, b/gone"),
        (lambda rows: dict([*rows.items()][1:]), ": 1 image without a row: a/0.png; add what is missing"),
        (lambda rows: dict.fromkeys(rows, "one"), ": there must be two groups or more"),
        (lambda rows: {}, ": there must be two groups or more"),
        (lambda rows: rows | {"a/0.png": ""}, ", line 2: each line must be a file's name and its group, once"),
    ],
)
def test_rows_and_images_that_do_not_fit_are_one_message(change, said, tmp_path: Path) -> None:
    rows = grouped(tmp_path)
    file = table(tmp_path, "group", change(rows))
    assert refused(tmp_path).startswith(f"{file}{said}")
    table(tmp_path, "group", rows)
    assert len(read(tmp_path).train) == 10


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ": its first line must be file,group and is empty; mend it"),
        (b"file;group\na/0.png;x\n", ": its first line must be file,group and is file;group; mend it"),
        (b"file,group,more\n", ": its first line must be file,group and is file,group,more; mend it"),
        (b"file,group\na/0.png,x,y\n", ", line 2: each line must be a file's name and its group, once; there is: a/0.png,x,y"),
        (b"file,group\na/0.png,x\na/0.png,y\n", ", line 3: each line must be a file's name and its group, once; there is: a/0.png is there twice"),
        (b'file,group\na/0.png,"x\n', ", line 2: is no CSV (unexpected end of data)"),
        (b"file,group\na/0.png,\xff\n", ": is not UTF-8; save it as CSV in UTF-8"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_one_message(content: bytes, said: str, tmp_path: Path) -> None:
    grouped(tmp_path)
    (file := tmp_path / "toy" / "groups.csv").write_bytes(content)
    for dataset in ("image_folder/toy", BARE):
        assert refused(tmp_path, dataset).startswith(f"{file}{said}")


def test_a_table_as_excel_writes_it_is_read(tmp_path: Path) -> None:
    grouped(tmp_path)
    before = sides(read(tmp_path))
    file = tmp_path / "toy" / "groups.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert sides(read(tmp_path)) == before


def test_files_that_cannot_be_read_are_said_before_tables_that_do_not_fit(tmp_path: Path) -> None:
    grouped(tmp_path)
    (tmp_path / "toy" / "a" / "loose.png").symlink_to("nowhere")
    (tmp_path / "toy" / "a" / "0.png").unlink()
    assert "1 file cannot be read" in refused(tmp_path)


def test_groups_that_a_folders_own_splits_tear_apart_are_counted(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{i}.png": 4 * i for i, (split, kind) in enumerate((s, k) for s in ("train", "test") for k in "ab")}  # fmt: skip
    put(tmp_path, files)
    table(tmp_path, "group", dict(zip(files, ("x", "y", "x", "z"), strict=True)))
    found = read(tmp_path)
    assert len(found.test) == 2
    assert found.said == "4 images in 2 classes; 1 group with images to train on and images to test on"


# --- labels ---------------------------------------------------------------------------------------------------------


def test_a_table_gives_flat_images_the_classes_that_folders_would(tmp_path: Path) -> None:
    seeds = [*TRAINED[:6], *TESTED[:4]]
    put(tmp_path / "one", classed(seeds))
    put(tmp_path / "other", {f"images/{i}.png": seed for i, seed in enumerate(seeds)})
    table(tmp_path / "other", "label", {f"images/{i}.png": "ab"[i % 2] for i in range(len(seeds))})
    folders, flat = read(tmp_path / "one"), read(tmp_path / "other")
    assert flat.said == folders.said and flat.classes == folders.classes
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(flat, part).pixels, getattr(folders, part).pixels)
        np.testing.assert_array_equal(getattr(flat, part).label, getattr(folders, part).label)


def test_labels_are_kept_to_within_a_folders_own_splits_and_with_groups(tmp_path: Path) -> None:
    files = {f"{split}/{i}.png": seed for split, seeds in (("train", range(4)), ("test", range(4, 6))) for i, seed in enumerate(seeds)}  # fmt: skip
    put(tmp_path, files)
    table(tmp_path, "label", {name: ("größer", "kleiner")[seed % 2] for name, seed in files.items()})
    table(tmp_path, "group", {name: str(seed) for name, seed in files.items()})
    found = read(tmp_path)
    assert found.classes == ("größer", "kleiner")
    assert (found.train.label.tolist(), found.test.label.tolist()) == ([0, 0, 1, 1], [0, 1])
    assert found.said == "6 images in 2 classes"


def test_a_changed_label_changes_the_checksum_and_none_is_read_without_classes(tmp_path: Path) -> None:
    put(tmp_path, {f"{i}.png": i for i in range(30)})
    rows = {f"{i}.png": "ab"[i % 2] for i in range(30)}
    table(tmp_path, "label", rows)
    labelled, bare = read(tmp_path).checksum, read(tmp_path, BARE)
    table(tmp_path, "label", rows | {"29.png": "a"})
    assert read(tmp_path).checksum != labelled
    assert read(tmp_path, BARE).checksum == bare.checksum and bare.classes == ()


def test_an_image_without_a_label_is_refused(tmp_path: Path) -> None:
    put(tmp_path, {f"{i}.png": i for i in range(30)})
    file = table(tmp_path, "label", {f"{i}.png": "ab"[i % 2] for i in range(29)})
    assert refused(tmp_path).startswith(f"{file}: 1 image without a row: 29.png")
