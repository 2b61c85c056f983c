"""What is asked of a device, set in one place: its arithmetic, and whether a run is compiled for it.

docs/architecture.md says what results are promised by it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

COMPILING: Final = 60.0
"""Seconds that compiling a cell's views and model takes, the first time; what it must save to be worth it."""
SAVED: Final = 1 / 3
"""Share of an eager step that a GPU is spared by operations that are fused, mostly on what memory must hold."""


def settle(deterministic: bool = False) -> None:
    """Sets how this process's GPU computes: float32 means float32, and whether each kernel gives the same bits twice.

    Products and convolutions of float32 are not rounded to TF32's ten bits, which PyTorch does to convolutions by
    default. `deterministic` is PyTorch's: an operation that has no such kernel raises RuntimeError.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False  # it would choose by time, so not the same kernel twice
    # cuBLAS reads it when it starts; as much as it takes by itself on a new GPU
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # asked first: setting it imports the compiler
        torch.use_deterministic_algorithms(deterministic)


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Within it, if `wanted`, a GPU's float32 products take factors of TF32's ten bits and add in float32."""
    if not wanted:
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def can_compile(device: torch.device) -> bool:
    """Whether PyTorch can compile for this device here: a GPU, on a machine with a compiler for C."""
    compilers = (os.environ.get("CC", "cc"), "gcc", "clang")
    return device.type == "cuda" and any(map(shutil.which, compilers))


def earns_compiling(seconds: float) -> bool:
    """Whether a run that has so many seconds of eager steps before it is over sooner if it is compiled."""
    return seconds * SAVED > COMPILING


def compiled_for_all() -> None:
    """From now on compiled code is kept for every shape and policy that a process meets, and none runs eagerly unsaid.

    PyTorch keeps eight a function, and runs the ninth as it is, with no more than a warning.
    """
    import torch._dynamo  # seconds, and needed by what is compiled alone

    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.accumulated_recompile_limit = 1 << 16
    torch._dynamo.config.fail_on_recompile_limit_hit = True
