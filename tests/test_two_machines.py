"""A study whose cells were trained on two machines, and one drawing that fails: the page is made, and says so."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_locks import tiny
from test_workflow import ENVIRONMENT, artefacts, change, run

from entia import plan
from entia.artefacts import provenance, store
from entia.reports import page

pytestmark = pytest.mark.workflow

TIMED = {
    "MV-T2": {"title": "Time", "table": "accounting", "experiments": ["twins"]},
    "MV-F5b": {"title": "Pareto", "figure": "pareto", "experiments": ["twins"]},
}


@pytest.fixture(scope="module")
def done(once) -> Path:
    """A finished study of two cells, with a table and a figure of their minutes."""

    def fill(folder: Path) -> None:
        change(tiny(folder), edit)
        run(folder, "snakemake", "--cores", "2", "--quiet", "reason")

    def edit(raw) -> None:
        raw["scales"]["laptop"]["experiments"]["twins"]["views"] = [2, 4]
        raw["reports"] |= TIMED

    return once("two_machines", fill)


@pytest.fixture
def study(done, tmp_path) -> Path:
    shutil.copytree(done, tmp_path / "study", symlinks=True)
    return tmp_path / "study"


def test_cells_of_two_machines_end_with_a_page_that_says_so(study):
    found = plan.load(study / "params.yaml")
    log = store.log_path(study / "data", found.pretrains[found.cells("MV-T2")[-1]])
    rows = [{**row, "machine": "Zuse Z3, no GPU"} for row in store.read_log(log)]
    store.write_log(log, rows)
    run(study, "snakemake", "--cores", "2", "--quiet", "reason")
    text = (study / "reports/index.html").read_text()
    said = f"cells were trained on 2 machines ({provenance.machine()}, no GPU; Zuse Z3, no GPU)"
    assert text.count(page.escape(said)) == 2 and "cannot be drawn" not in text
    assert "alone (1 of 2 cells)" in (study / "reports/figures/MV-F5b.svg").read_text()


def test_a_mistake_in_one_drawing_fails_the_run_and_costs_neither_the_others_nor_the_page(study):
    source = study / "src/entia/reports/views.py"
    source.write_text(source.read_text().replace("def pareto(rows", "def pareto(rows, *, nothing", 1))
    (study / "reports/tables/MV-T2.md").write_text("another's\n")
    failed = run(study, "snakemake", "--cores", "2", "--keep-going", "-R", "table", check=False)
    assert failed.returncode and "TypeError" in failed.stdout + failed.stderr
    text = (study / "reports/index.html").read_text()
    assert text.count("Not drawn") == 1 and "logs/figure/MV-F5b.log" in text
    assert "minutes of training steps alone" in (study / "reports/tables/MV-T2.md").read_text()


@pytest.mark.long
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core alone: there is no other affinity to try")
def test_on_fewer_cores_of_the_same_machine_every_artefact_has_the_same_bytes(done, tmp_path):
    shutil.copy(done / "params.yaml", tiny(tmp_path))
    one = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "-c", one, "snakemake", "--cores", "1", "--quiet", "reason"]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    seconds = re.compile(r"MV-(T2|F5b)|index")  # minutes, and what shows them
    first, second = (
        {name: content for name, content in artefacts(folder).items() if not seconds.search(name)}
        for folder in (done, tmp_path)
    )
    assert first == second and len(first) > 10
    logs = [
        [row["machine"] for row in store.read_log(file)] for file in sorted(tmp_path.glob("data/checkpoints/*.csv"))
    ]
    assert logs == [[row["machine"] for row in store.read_log(f)] for f in sorted(done.glob("data/checkpoints/*.csv"))]
