"""Images to test on that are trained on too, in another size, format or quality: no copies by their bytes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from entia.config import FOLDER, Subset
from entia.datasets.images import Parts
from entia.datasets.walking import counted

SIDE = 16
SAME = 4.0
"""Grey levels of 256. Photographs saved anew (JPEG of quality 40 and half the size, at worst) differed by 2.6 at most
from what they were; different photographs by 24.7 at least, X-rays by 9.9, digits of MNIST by 7.6."""
BLOCK = 500

Pixels = UInt8[Any, "_ channel height width"]
Small = Float[np.ndarray, "_ mean"]


def notice(subset: Subset, parts: Parts) -> str:
    """What is to be said of a folder's images to test on that look like one to train on; nothing where none does.

    Nothing of a published set: it is as it is, and others' results are of the same images.
    """
    if not subset.dataset.startswith(FOLDER):
        return ""
    again = seen_again(*(part.pixels for part in (parts.test, parts.train, parts.validation)))
    looks = "looks" if again == 1 else "look"
    return f"{counted(again, 'image')} to test on {looks} like one to train on: docs/data.md, Copies" if again else ""


def seen_again(test: Pixels, *others: Pixels) -> int:
    """How many images of `test` look like one of the others, in time as the product of their numbers.

    Each image is averaged over channels and to 16 × 16 means. Two are alike whose means differ by less than `SAME`,
    as the root of the mean square. What was cut, turned or made brighter is not found.
    """
    known = [small for other in others for small in _small(other)]
    return sum(int((_nearest(part, known) < SAME).sum()) for part in _small(test))


def _nearest(part: Small, known: list[Small]) -> Float[np.ndarray, "_"]:
    """Each row's root mean square difference from the row that is nearest to it."""
    least = np.full(len(part), np.inf, np.float32)
    for some in known:  # block by block: all differences at once would take more than the images
        least = np.minimum(least, (np.square(some).sum(1) - 2 * part @ some.T).min(1))
    return np.sqrt(np.maximum(least + np.square(part).sum(1), 0)) / SIDE


def _small(pixels: Pixels) -> Iterator[Small]:
    for start in range(0, len(pixels), BLOCK):
        grey = pixels[start : start + BLOCK].mean(1, dtype=np.float32)
        means = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX)) for one in grey]
        yield np.stack(means).reshape(len(means), -1)
