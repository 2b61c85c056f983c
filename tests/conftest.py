"""Shapes and dtypes are checked under pytest: every annotated function of ours, by jaxtyping and beartype."""

from pathlib import Path

import jaxtyping
import pytest

jaxtyping.install_import_hook("entia", "beartype.beartype")

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run on shared cores, and a sum's last bits depend on the number of threads."""
    import torch

    torch.set_num_threads(1)
