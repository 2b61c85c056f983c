"""Shapes and dtypes are checked under pytest: every annotated function of ours, by jaxtyping and beartype."""

from pathlib import Path

import jaxtyping
import pytest

jaxtyping.install_import_hook("entia", "beartype.beartype")

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run the whole pipeline come first: begun last, one of them would keep one core busy at the end."""
    slow = ("test_slurm", "test_dvc", "test_workflow", "test_kubernetes", "test_job")
    place = {name: number for number, name in enumerate(slow)}
    items.sort(key=lambda item: place.get(item.path.stem, len(slow)))


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run on shared cores, and a sum's last bits depend on the number of threads."""
    import torch

    torch.set_num_threads(1)
