"""Stages run by `entia` alone, from the list that it prints, and taken up by Snakemake as its own."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from test_workflow import BASELINES, ENVIRONMENT, artefacts, edit, jobs, make_study, refused, run

pytestmark = pytest.mark.workflow


def listed(folder: Path) -> list[str]:
    """The commands that are left, without the comment above them."""
    first, *commands = run(folder, "entia", "plan", "--commands").stdout.splitlines()
    assert first.startswith("# ")
    return commands


def carry_out(folder: Path, commands: list[str]) -> None:
    for command in commands:
        run(folder, *command.split())


def make_by_hand(folder: Path) -> None:
    """A study made without Snakemake, interrupted after its first cell and within its second."""
    make_study(folder)
    commands = listed(folder)
    carry_out(folder, commands[:4])
    assert [command.split()[1] for command in commands[:4]] == ["subset", "pretrain", "embed", "readout"]
    rest = listed(folder)
    assert rest == commands[4:]
    interrupted = subprocess.Popen(rest[0].split(), cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE)
    interrupted.stderr.readline()
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate()
    carry_out(folder, listed(folder))
    assert [command.split()[1] for command in listed(folder)] == ["report", "report", "claims", "index"]


@pytest.fixture
def study(once, tmp_path) -> Path:
    """A copy with the times of files as copying left them: in no order."""
    shutil.copytree(once("by_hand", make_by_hand), tmp_path / "study", symlinks=True, copy_function=shutil.copy)
    return tmp_path / "study"


def test_what_was_made_without_snakemake_is_taken_up_and_nothing_is_made_again(study):
    before = artefacts(study)
    assert f"{1 + 3 * (3 + BASELINES)} artefacts taken up" in run(study, "entia", "adopt").stdout
    assert not {"subset", "pretrain", "embed", "readout"} & jobs(study).keys()
    run(study, "snakemake", "--cores", "2", "--quiet", "reason")
    assert jobs(study) == {} and artefacts(study) == before
    # recorded with its code: an edit is seen, as of artefacts that Snakemake made
    edit(study, "readout")
    assert jobs(study).get("readout") == 3 + BASELINES and "pretrain" not in jobs(study)


def test_nothing_is_taken_up_where_something_is_damaged_or_of_older_code(study):
    damaged = next((study / "data/embeddings").glob("*.h5"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100])
    assert f"{damaged.relative_to(study)}: damaged" in refused(study, "entia", "adopt")
    assert f"{damaged.relative_to(study)}: damaged" in refused(study, "entia", "plan", "--commands")
    damaged.write_bytes(whole)
    edit(study, "readout")
    assert "older code" in refused(study, "entia", "adopt")
    assert not (study / ".snakemake/metadata").exists()
    assert [command.split()[1] for command in listed(study)][: 3 + BASELINES] == ["readout"] * (3 + BASELINES)


def test_an_artefact_without_its_parent_is_not_taken_up(study):
    next((study / "data/checkpoints").glob("vicreg*.safetensors")).unlink()
    assert "what these were made from is missing" in refused(study, "entia", "adopt")
    stages = [command.split()[1] for command in listed(study)]
    assert stages[:3] == ["pretrain", "embed", "readout"]
