"""What docs/adding.md says of a new data set, loss, probe and table, done as it is said."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from entia.artefacts import provenance

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/adding.md").read_text()
SECTIONS = {text.split(" (")[0]: text for text in PAGE.split("\n## ")[1:]}
RUN = """
from pathlib import Path
from entia import plan, stages
from entia.reports import files
from entia.artefacts import store
found = plan.load("params.yaml")
for kind in ("subset", "pretrain", "embed", "readout"):
    for stage in found.of(kind).values():
        getattr(stages, kind)(stage)
rows = [found.readouts[row.readout] for row in found.rows["breasts"]]
assert {row.embed.on.dataset for row in rows} == {"breastmnist"} and len(rows) == 4
for row in rows:
    (metrics,) = store.read_json(store.path(Path("data"), row))["metrics"].values()
    assert metrics["accuracy"] > 0.9, metrics
for name in found.reports:
    files.write(found, name)
"""


def edits(section: str) -> list[tuple[str, str, str]]:
    """File, old text and new text of each block."""
    found = []
    for block in re.findall(r"```diff\n\+\+\+ (.*?)\n(.*?)```", section, re.DOTALL):
        lines = block[1].splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        found.append((block[0], old, new))
    return found


def make(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text() if path.exists() else ""
    assert text.count(old) == 1 or (not old and not text), f"{file}: {text.count(old)} places are {old!r}"
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(("section", "most"), [("A data set", 3), ("A loss", 3), ("A probe", 2), ("A table", 2)])
def test_adding_touches_few_files(section, most):
    assert 0 < len({file for file, *_ in edits(SECTIONS[section])}) <= most


def test_what_the_page_adds_runs(tmp_path):
    shutil.copytree(provenance.HERE, tmp_path / "src/entia", ignore=shutil.ignore_patterns("__pycache__"))
    for edit in edits(PAGE):
        make(tmp_path, *edit)
    raw = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    more = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    raw["scales"]["laptop"]["experiments"] = more["experiments"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw | {"reports": more["reports"]}))
    write_images(tmp_path / "data/raw/breastmnist.npz")
    shutil.copytree(ROOT / "data/reported", tmp_path / "data/reported")
    command = [sys.executable, "-c", RUN]
    ended = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": "src"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.glob("reports/tables/breasts.*"))
    assert "greatest %" in (tmp_path / "reports/tables/seeds.csv").read_text()


def write_images(path: Path) -> None:
    """Two classes that any probe tells apart: dark and light."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 120), ("val", 20), ("test", 40)):
        label = np.arange(count) % 2
        noise = generator.integers(0, 40, (count, 28, 28))
        arrays |= {
            f"{part}_images": (noise + 200 * label[:, None, None]).astype(np.uint8),
            f"{part}_labels": label[:, None],
        }
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
