"""Images to the steps that train on them, from where they lie: on the device, in memory, or in a file."""

import mmap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

Rows = Int64[Tensor, "batch"]
Pixels = UInt8[Tensor, "share channel height width"]


@dataclass(frozen=True, eq=False)
class Data:
    """Images sorted by index."""

    pixels: UInt8[Tensor, "datum channel height width"]
    """On the device that trains; or on the host, whence each batch is copied while the device works on the last."""
    index: Int64[Tensor, "datum"]
    """On the device that trains, as `label`."""
    label: Int64[Tensor, "datum"] | None = None
    """Seen by supervised training and by the online probe alone."""
    ahead: Callable[[Iterable[int]], None] | None = None
    """Asks the system for these rows, without waiting for them, where `pixels` are in a file."""

    @property
    def is_at_hand(self) -> bool:
        """Whether a batch's images are there at once."""
        return self.pixels.device == self.index.device and self.ahead is None


def is_resident(size: int, device: torch.device) -> bool:
    """Whether images of `size` bytes are held on the device: all but those above a quarter of a GPU's free memory.

    The network needs the most of it.
    """
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 4


def ahead(array: np.ndarray) -> Callable[[Iterable[int]], None] | None:
    """Asks the system to read rows of an array that is in a file, and waits for none; None of one in memory.

    Rows are then read side by side, and without what lies around them.
    """
    if not isinstance(array, np.memmap):
        return None
    with Path(str(array.filename)).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    first, size = array.offset, array[0].nbytes

    def ask(rows: Iterable[int]) -> None:
        for row in rows:
            start = first + row * size
            within = start % mmap.PAGESIZE  # where it begins in its page, as the system asks for whole ones
            mapped.madvise(mmap.MADV_WILLNEED, start - within, within + size)

    return ask


def batches(data: Data, order: Rows, size: int, share: Callable[[int], slice]) -> Iterator[tuple[Rows, Pixels]]:
    """The rows of each batch of so many, and its images, both on the device that trains.

    `order` is the rows to go through, on the host. `share` says which of a batch's images this process works on; its
    rows are all of them. What is not at hand is fetched while the step before is at work.
    """
    rows = order.to(data.index.device).split(size)
    if data.is_at_hand:
        yield from ((row, data.pixels[row[share(len(row))]]) for row in rows)
        return
    wanted = [part[share(len(part))] for part in order.split(size)]
    with ThreadPoolExecutor(1) as pool:
        fetched = (pool.submit(_fetch, data, part) for part in wanted)
        coming = next(fetched)
        for row in rows:
            pixels, coming = coming.result(), next(fetched, coming)
            # The device is still at the last step, so nobody waits; torch keeps pinned memory until it is copied.
            yield row, pixels.to(data.index.device, non_blocking=True)


def _fetch(data: Data, rows: Rows) -> Pixels:
    """These rows' images, on the host."""
    if data.ahead is not None:
        data.ahead(rows.tolist())
    found = data.pixels[rows]
    return found.pin_memory() if data.index.device.type == "cuda" else found
