"""Pictures saved anew are found among the images to train on, and different ones are not taken for them."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from entia import datasets, stages
from entia.config import Subset
from entia.datasets import likeness, pictures


@cache
def digits() -> np.ndarray:
    return datasets.read("mnist5k", Path("nowhere")).train.pixels[::40]


def saved(picture: np.ndarray, how: str) -> bytes:
    """A picture of 28 pixels, four times as large, in a file."""
    image = Image.fromarray(picture).resize((112, 112), Image.Resampling.BICUBIC)
    if how == "half":
        image = image.resize((56, 56), Image.Resampling.LANCZOS)
    image.save(file := io.BytesIO(), "PNG" if how == "png" else "JPEG", **({} if how == "png" else {"quality": 60}))
    return file.getvalue()


def packed(how: str, side: int = 28) -> np.ndarray:
    return np.stack([pictures.decode(saved(one[0], how), side).pixels for one in digits()])


@pytest.mark.parametrize("how", ["jpeg", "half"])
@pytest.mark.parametrize("side", [16, 28, 45])
def test_every_picture_saved_anew_is_found_and_no_other_is(how, side):
    test, train = packed(how, side), packed("png", side)
    assert likeness.seen_again(test, train) == len(test)
    assert likeness.seen_again(test[::2], train[1::2]) == 0


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(2, 9))
def test_the_count_is_of_images_to_test_on_wherever_and_however_often_they_are_trained_on(one, two, other, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "BLOCK", block)
        known = digits()
        test = known[: one + other]
        assert likeness.seen_again(test, known[:one], known[30 : 30 + two]) == min(one, len(test))
        assert likeness.seen_again(test, *[known[:one]] * 2) == min(one, len(test))


def test_a_picture_that_is_lighter_by_more_than_a_copy_is_another():
    grey = np.full((1, 3, 20, 20), 100, np.uint8)
    assert likeness.seen_again(grey + np.uint8(3), grey) == 1
    assert likeness.seen_again(grey + np.uint8(5), grey) == 0


def test_packing_a_folder_says_how_many_images_to_test_on_are_trained_on(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for number, one in enumerate(digits()[::10]):
        for part, how in (("train", "png"), *([("test", "half")] if number < 3 else [])):
            place = (
                tmp_path
                / "data"
                / "raw"
                / "mine"
                / part
                / "ab"[number % 2]
                / f"{number}.{'png' if how == 'png' else 'jpg'}"
            )
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(saved(one[0], how))
    stages.subset(Subset(dataset="image_folder/mine", side=20, validation=0.2))
    assert "3 images to test on look like one to train on" in capfd.readouterr().err
