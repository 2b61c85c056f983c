"""A study is not the code: an installed package, a folder of one's own, and what git keeps of results."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from PIL import Image
from test_workflow import ENVIRONMENT

from entia import plan
from entia.reports import record
from entia.system import home

LARGEST = 12 * 2**20
"""Bytes that the files in git may have, so that a clone is quick."""
CELLS = 4 + 3
"""Two methods at two seeds; two untrained encoders, and raw pixels, 8 a side."""


def run(folder: Path, *command: str, site: Path | None = None, check: bool = True) -> str:
    """What a command prints, with an unpacked wheel on the path in place of the repository."""
    path = ENVIRONMENT["PYTHONPATH"] if site is None else str(site)
    found = subprocess.run(
        command, cwd=folder, env={**ENVIRONMENT, "PYTHONPATH": path}, capture_output=True, text=True, timeout=600
    )
    text = found.stdout + found.stderr
    assert (found.returncode == 0) == check and "Traceback" not in text, text[-4000:]
    return text


def entia(folder: Path, *arguments: str, site: Path, check: bool = True) -> str:
    return run(folder, sys.executable, "-P", "-m", "entia.cli", *arguments, site=site, check=check)


def jobs(text: str) -> dict[str, int]:
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, flags=re.M)}


def put_images(folder: Path) -> None:
    """Two classes that differ in brightness, with as many images as two batches need."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 36), ("test", 8)):
        for darkness, name in enumerate(("day", "night")):
            (folder / part / name).mkdir(parents=True)
            for each in range(count):
                pixels = generator.integers(0, 128, (12, 10, 3)) + 100 * (1 - darkness)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{each}.png")


def shrink(params: Path) -> None:
    """The same study, on smaller images, with a smaller network, for fewer epochs."""
    raw = yaml.safe_load(params.read_text())
    of = raw["scales"]["laptop"]["defaults"]
    of |= {"subset": {**of["subset"], "side": 8}, "encoder": {"name": "strided_resnet", "width": 2}}
    of |= {"epochs": 2, "batch": 32, "checkpoint_every": 1}
    params.write_text(yaml.safe_dump(raw))


@pytest.fixture(scope="session")
def made(once) -> Path:
    """Beside each other an installed package, `site`, and a study of own images, `mine`, which it has made."""
    pytest.importorskip("hatchling")

    def fill(folder: Path) -> None:
        run(ROOT, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(site := folder / "site")
        study = folder / "mine"
        assert 'snakemake --snakefile "$(entia where)/Snakefile"' in entia(folder, "study", "mine", site=site)
        put_images(study / "data/raw/mine")
        shrink(study / "params.yaml")
        where = entia(study, "where", site=site).strip()
        command = ["snakemake", "--snakefile", f"{where}/Snakefile", "--cores", "2", "--quiet", "reason"]
        assert jobs(run(study, *command, "-n", site=site))["pretrain"] == CELLS
        run(study, *command, site=site)

    return once("made", fill)


@pytest.fixture
def mine(made, tmp_path) -> Path:
    """A copy of that study, to be changed, beside the same package."""
    (tmp_path / "site").symlink_to(made / "site")
    return Path(shutil.copytree(made / "mine", tmp_path / "mine", symlinks=True))


@pytest.mark.workflow
def test_own_images_end_in_a_table_and_a_figure_made_by_an_installed_package(made):
    table = (made / "mine/reports/tables/accuracy.md").read_text()
    assert "barlow_twins" in table and "diet" in table and "2 seeds" in table
    assert (made / "mine/reports/figures/training.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (made / "mine").iterdir()} == {
        "params.yaml", "data", "reports", "logs", ".snakemake", ".gitignore",
    }  # fmt: skip


@pytest.mark.workflow
def test_another_copy_of_the_same_code_finds_nothing_to_do(mine):
    found = run(ROOT, "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-d", str(mine), "-n", "--quiet", "reason")
    assert jobs(found) == {} and "Nothing to be done" in found


@pytest.mark.workflow
def test_an_environment_of_its_own_sees_the_package_and_nothing_that_lies_beside_it(mine):
    site = mine.parent / "site"
    (mine / "reports/tables/accuracy.csv").unlink()
    run(mine, "snakemake", "--snakefile", str(site / "entia/Snakefile"), "--cores", "1", "--use-conda", site=site)
    assert (mine / "reports/tables/accuracy.csv").exists()
    assert [path.name for path in (mine / ".snakemake/entia").iterdir()] == ["entia"]


@pytest.mark.workflow
def test_git_sees_what_a_user_wrote_and_nothing_that_a_run_made(mine):
    run(mine, "git", "init", "-q")
    assert run(mine, "git", "ls-files", "--others", "--exclude-standard").split() == [".gitignore", "params.yaml"]


@pytest.mark.workflow
def test_what_is_recorded_names_its_origin_and_every_link_of_its_page_leads_somewhere(mine):
    site = mine.parent / "site"
    said = entia(mine, "record", site=site)
    folder = mine / "recorded/laptop"
    held = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert held == {
        "README.md", "claims.json", "claims.md", "figures/training.png", "index.html", "metrics.json",
        "tables/accuracy.csv", "tables/accuracy.md",
    }  # fmt: skip
    page, origin = (folder / "index.html").read_text(), (folder / "README.md").read_text().split("\n\n")[1].strip()
    assert (
        origin in said
        and origin.startswith(f"Drawn from a copy of no commit: {CELLS} pretraining runs")
        and "torch" in origin
    )
    assert "Drawn from a copy of no commit" in page
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert links and set(links) <= held
    (folder / "tables/of-before.csv").write_text("")
    entia(mine, "record", site=site)
    assert not (folder / "tables/of-before.csv").exists()


@pytest.mark.workflow
def test_what_is_not_of_todays_study_is_not_recorded(mine):
    raw = yaml.safe_load((mine / "params.yaml").read_text())
    raw["defaults"]["probe"] = {"name": "neighbours", "k": 5}
    (mine / "params.yaml").write_text(yaml.safe_dump(raw))
    said = entia(mine, "record", site=mine.parent / "site", check=False)
    assert f"{CELLS - 1} more are not current" in said and not (mine / "recorded").exists()


@pytest.mark.workflow
def test_a_study_is_never_begun_over_another(mine):
    before = (mine / "params.yaml").read_bytes()
    said = entia(mine.parent, "study", "mine", site=mine.parent / "site", check=False)
    assert said == "entia: mine: is a study already (it holds params.yaml); name another folder\n"
    assert (mine / "params.yaml").read_bytes() == before


# --- without a run --------------------------------------------------------------------------------------------------


def test_the_example_is_a_study_of_two_methods_and_two_seeds():
    found = plan.load(ROOT / "examples/own-images/params.yaml")
    rows = [row for artefact in found.rows for row in found.rows[artefact]]
    cells = {found.readouts[row.readout].embed.pretrain for row in rows}
    assert {(type(cell.method).__name__, cell.seed) for cell in cells} == {
        (m, s) for m in ("BarlowTwins", "Diet") for s in (0, 1)
    }
    assert {bool(report.table) for report in found.reports.values()} == {True, False} and not found.notices


def test_a_package_with_a_colon_in_its_path_is_an_entry_of_pythonpath_all_the_same(tmp_path, monkeypatch):
    package, study = tmp_path / "a:b/entia", tmp_path / "study"
    package.mkdir(parents=True)
    study.mkdir()
    monkeypatch.chdir(study)
    monkeypatch.setattr(home, "PACKAGE", package)
    for _ in range(2):  # again over what the last run left
        entry = home.entry(alone=False)
        assert os.pathsep not in entry and (Path(entry) / "entia").samefile(package)
    monkeypatch.setattr(home, "PACKAGE", tmp_path / "entia")
    assert home.entry(alone=False) == ".."


@pytest.fixture
def files() -> list[str]:
    """What git holds of this repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no repository")
    return [name for name in run(ROOT, "git", "ls-files", "-z").split("\0") if name and (ROOT / name).is_file()]


def test_runs_write_nothing_that_git_holds(files):
    assert not [name for name in files if name.startswith(("reports/", "logs/", ".snakemake/"))]
    made = ["reports/tables/MV-T1.csv", "reports/photos/index.html", "data/readouts/a.json", "logs/a.log"]
    assert run(ROOT, "git", "check-ignore", *made).split() == made
    assert run(ROOT, "git", "check-ignore", "recorded/laptop/tables/MV-T1.csv", check=False) == ""


def test_a_clone_stays_small(files):
    assert sum((ROOT / name).lstat().st_size for name in files) < LARGEST
    recorded = [Path(name) for name in files if name.startswith("recorded/")]
    assert recorded and {path.suffix for path in recorded} <= set(record.FORMATS)


def test_a_links_format_decides_whether_a_recorded_page_has_it():
    page = '<p><a href="a/X.csv">csv</a> <a href="a/X.tex">tex</a></p><p><a href="X.pdf">pdf</a> <a href="X.svg">svg</a></p>'
    assert record._linked(page) == '<p><a href="a/X.csv">csv</a></p><p></p>'


def test_the_commit_is_that_of_the_code_and_no_other_repositorys(tmp_path, monkeypatch):
    for name in ("src/entia", "workflow"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.py").write_text("")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "x"]):
        run(tmp_path, "git", *command)
    monkeypatch.setattr(home, "HOME", tmp_path)
    commit = run(tmp_path, "git", "rev-parse", "HEAD").strip()
    assert home.commit(Path("/elsewhere/params.yaml")) == (commit, False)
    (tmp_path / "params.yaml").write_text("")
    assert home.commit() == (commit, False) and home.commit(tmp_path / "params.yaml") == (commit, True)
    (tmp_path / "src/entia/a.py").write_text("1\n")
    assert home.commit() == (commit, True)
    monkeypatch.setattr(home, "HOME", tmp_path / "src/entia")  # as an installed package inside somebody's repository
    assert home.commit() == ("", False)


# --- what is asked of a file that is not there ------------------------------------------------------------------------


def test_an_empty_name_is_refused_and_no_working_folder_becomes_a_study(tmp_path):
    for command in (
        ["study", ""],
        ["study", " "],
        ["why", ""],
        ["run", "--archive", ""],
        ["plan", "--calibration", ""],
    ):
        found = entia(tmp_path, *command, site=ROOT / "src", check=False)
        assert "an empty text names nothing" in found
    assert not [*tmp_path.iterdir()]


def test_a_missing_file_is_said_to_be_made_by_what_makes_it_and_by_nothing_else(tmp_path):
    def shown(name: str) -> str:
        return entia(tmp_path, "show", name, site=ROOT / "src", check=False)

    assert "x.json: missing; nothing in " in shown("x.json")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    name = next(iter(plan.load(ROOT / "params.yaml", "gpu_hour").readouts))
    assert (
        f"with `scale: gpu_hour` in params.yaml, `snakemake --cores all data/readouts/{name}.json` makes it"
        in shown(f"data/readouts/{name}.json")
    )
    assert "missing; nothing in " in shown(f"{name}.json")
