"""Shapes and dtypes are checked under pytest: every function of a module that names any, by jaxtyping and beartype.

Where beartype is not there they are not, and the tests run all the same: on a machine with a GPU that has PyTorch and
pytest, say.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# a check costs more than most calls: in modules without shapes, types are the type checker's to see
SHAPED = [path for path in (ROOT / "src/entia").rglob("*.py") if "from jaxtyping import" in path.read_text()]
if importlib.util.find_spec("beartype"):
    from jaxtyping import install_import_hook

    install_import_hook(
        [".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__") for path in SHAPED],
        "beartype.beartype",
    )


SLOW = ("test_slurm", "test_dvc", "test_workflow", "test_running", "test_job", "test_adopt", "test_study")
"""Files that run the whole pipeline, the longest first: begun last, one of them would keep one core busy at the end."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Pipelines go one by one to whichever worker is free; other files stay whole, for what their tests share."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))
    for item in items:
        if item.path.stem not in SLOW[1:]:  # SLURM's tests share a cluster
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Once:
    """Makes a folder for all workers: the first that asks for it fills it, and none changes it afterwards."""
    from filelock import FileLock

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, made = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                made.touch()
        return folder

    return make


@pytest.fixture(autouse=True)
def same_machine():
    """A GPU that a test chose and leaves chosen changes what the next test's machine looks like."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    yield
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == chosen, "this test leaves a GPU chosen for those after it"


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run on shared cores, and a sum's last bits depend on the number of threads."""
    import torch

    torch.set_num_threads(1)
