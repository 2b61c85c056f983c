"""The whole pipeline as a user runs it, on a small study: real commands, real files, real kills."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

pytestmark = pytest.mark.workflow

# the stand-in conda is there for those who ask for it with --use-conda
PATHS = (str(Path(sys.executable).parent), os.environ["PATH"], str(ROOT / "tests/conda/bin"))
ENVIRONMENT = {**os.environ, "PATH": ":".join(PATHS), "PYTHONPATH": "src"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of hundreds of processes would compile our code anew


def interruptible() -> None:
    """Called in a process before its command: one started in the background would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def make_study(folder: Path) -> Path:
    """A checkout without its history, and a study of three cells of two methods."""
    for name in ("Snakefile", "workflow", "src"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    shutil.copytree(ROOT / "data/reported", folder / "data/reported")
    raw = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    raw["defaults"]["projector"]["width"] = 8
    raw["scales"]["laptop"] = {
        "defaults": {
            "subset": {"dataset": "mnist5k", "limit": 300},
            "encoder": {"name": "narrow_resnet", "width": 2},
            "epochs": 3,
            "batch": 64,
        },
        "experiments": {
            "twins": [
                {"arm": "fixed", "method.weight": 0.0004},
                {"arm": "tuned", "method.weight": [0.0004, 0.01]},
            ],
            "vicreg": [{"arm": "fixed", "method": {"name": "vicreg"}}, {"arm": "tuned", "method": {"name": "vicreg"}}],
        },
    }
    raw["reports"] = {
        "MV-T1": {"title": "Widths", "table": "width_table", "experiments": ["twins", "vicreg"]},
        "MV-F2a": {"title": "Curve", "figure": "width_curve", "experiments": ["twins"]},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    return folder


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert not check or found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found


def jobs(folder: Path, *options: str) -> dict[str, int]:
    """The jobs that a run would do now, by rule, `all` left out."""
    text = run(folder, "snakemake", "-n", "--quiet", "reason", *options).stdout
    table = re.search(r"^job +count\n-.*\n((?:\w+ +\d+\n)+)", text, flags=re.M)
    found = dict(line.split() for line in table[1].splitlines()) if table else {}
    return {rule: int(count) for rule, count in found.items() if rule not in ("all", "total")}


def change(folder: Path, edit) -> None:
    raw = yaml.safe_load((folder / "params.yaml").read_text())
    edit(raw)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))


BASELINES = 3
"""What every study of these cells has beside them: their encoder untrained, and raw pixels, 8 and 16 a side."""


def artefacts(folder: Path) -> dict[str, bytes]:
    """Every artefact's bytes, but for the logs, which hold seconds."""
    files = [path for part in ("data", "reports") for path in (folder / part).rglob("*") if path.is_file()]
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in files
        if p.parent.name != "checkpoints" or p.suffix != ".csv"
    }


@pytest.fixture(scope="session")
def done(once) -> Path:
    """The study, made by Snakemake, and left as it is."""
    return once("done", lambda folder: run(make_study(folder), "snakemake", "--cores", "2", "--quiet", "reason"))


@pytest.fixture
def study(done, tmp_path) -> Path:
    """A copy of the finished study, to be changed."""
    shutil.copytree(done, tmp_path / "study", symlinks=True)
    return tmp_path / "study"


def test_the_study_ends_with_its_table_and_figure(done, study):
    table = (done / "reports/tables/MV-T1.md").read_text()
    assert "| barlow_twins | 8 | fixed | 0.0004 |" in table and "laptop scale: mnist5k" in table
    assert (done / "reports/figures/MV-F2a.png").read_bytes().startswith(b"\x89PNG")
    assert "MV-F2a" in (done / "reports/index.html").read_text()
    assert "MV-T1. Widths" in run(study, "entia", "results").stdout


def test_a_second_run_finds_nothing_to_do(study):
    assert jobs(study) == {}
    assert "3 to train (shared ones once), 3 done; 3 baselines, 3 done" in run(study, "entia", "plan").stdout


DRAWN = {"table": 1, "figure": 1, "claims": 1, "index": 1}


def follows(cells: int) -> dict[str, int]:
    """The jobs of so many cells trained anew."""
    return {"pretrain": cells, "embed": cells, "readout": cells, **DRAWN}


def twins(raw) -> list:
    return raw["scales"]["laptop"]["experiments"]["twins"]


def defaults(raw) -> dict:
    return raw["scales"]["laptop"]["defaults"]


# what a user changes in params.yaml, and all that has to run then
CHANGES = {
    "nothing": (lambda raw: None, {}),
    "a method's parameter: its cells": (
        lambda raw: raw["defaults"]["method"].update({"l2_normalise": True}),
        follows(2),
    ),
    "one cell's weight: that cell": (lambda raw: twins(raw)[1].update({"method.weight": [0.0004, 0.02]}), follows(1)),
    "one cell's override: that cell": (lambda raw: twins(raw)[0].update({"optimizer.lr": 0.002}), follows(1)),
    "the readout: no pretraining": (
        lambda raw: raw["defaults"].update({"probe": {"name": "neighbours", "k": 5}}),
        {"readout": 3 + BASELINES, **DRAWN},
    ),
    "another width beside the first: its cells": (
        lambda raw: twins(raw)[0].update({"projector.width": [8, 16]}),
        follows(1),
    ),
    "a cell dropped: nothing but drawing": (lambda raw: twins(raw)[1].update({"method.weight": [0.0004]}), DRAWN),
    "lr and weight decay, swapped: every cell": (
        lambda raw: raw["defaults"]["optimizer"].update({"lr": 0.000001, "weight_decay": 0.001}),
        follows(3),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_of_params_reruns_what_has_it_and_what_follows(case, study):
    edit, wanted = CHANGES[case]
    change(study, edit)
    assert jobs(study) == jobs(study, "--use-conda") == wanted


EDITS = {
    "losses/redundancy": ("    x = _standardise(", "    _ = of\n    x = _standardise("),
    "losses/contrastive": ("    x = F.normalize(", "    _ = of\n    x = F.normalize("),
    "readout": ("    for problem in problems:\n", "    _ = classes\n    for problem in problems:\n"),
    "reports/draw": ("    rows = _judged(report, ended)\n", "    _ = scale\n    rows = _judged(report, ended)\n"),
    "cli": ("def main() -> None:", "EDITED = 1\n\n\ndef main() -> None:"),
}
"""In each module an edit of a function that stages run, one that changes no result."""


def edit(folder: Path, module: str) -> None:
    source = folder / f"src/entia/{module}.py"
    old, new = EDITS[module]
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("losses/redundancy", {"pretrain": 2}),  # the edit is Barlow Twins' alone
        ("losses/contrastive", {}),
        ("readout", {"readout": 3 + BASELINES}),
        ("reports/draw", {"figure": 1}),
        ("cli", {}),
    ],
)
def test_an_edit_of_code_reruns_the_stages_that_use_it_and_a_comment_none(module, rules, study):
    source = study / f"src/entia/{module}.py"
    source.write_text(source.read_text() + "\n# a comment\n")
    assert jobs(study) == {}
    edit(study, module)
    found = jobs(study)
    assert {rule: found.get(rule) for rule in rules} == rules and bool(found) == bool(rules)
    assert rules.get("pretrain") or "pretrain" not in found


def test_why_names_what_snakemake_will_draw_again_and_for_what(study):
    files = {"MV-T1": "reports/tables/MV-T1.csv", "MV-F2a": "reports/figures/MV-F2a.pdf", "claims": "reports/claims.md"}
    assert run(study, "entia", "why", *files).stdout.splitlines() == [
        f"{file}: is current: nothing would run" for file in files.values()
    ]
    change(study, lambda raw: raw["reports"]["MV-F2a"].update({"title": "Curves"}))
    edit(study, "losses/redundancy")
    text = run(study, "entia", "why", *files).stdout
    assert f"{files['MV-F2a']}: params.yaml: report.title: 'Curve' → 'Curves'\n" in text
    assert f"{files['MV-T1']}: 2 of its {3 + BASELINES} readouts would be made anew first\n" in text
    assert " and 1 more: code: changed: losses.redundancy.barlow_twins\n" in text


def test_times_of_files_do_not_matter(study):
    generator = random.Random(0)
    for path in study.rglob("*"):
        if path.is_file():
            when = generator.uniform(1e9, 1.7e9)
            os.utime(path, (when, when))
    assert jobs(study) == {}


def test_a_lost_checkpoint_is_made_again_with_the_same_bytes(study):
    lost = next((study / "data/checkpoints").glob("*.safetensors"))
    before = artefacts(study)
    lost.unlink()
    run(study, "snakemake", "--cores", "2", "--quiet", "reason")
    assert artefacts(study) == before


def test_one_table_is_made_from_nothing_as_in_a_fresh_clone(study):
    for folder in ("data/subset", "data/checkpoints", "data/embeddings", "data/readouts", "reports", ".snakemake"):
        shutil.rmtree(study / folder)
    made = jobs(study, "--", "reports/tables/MV-T1.csv")
    cells = 3 + BASELINES
    assert made == {"subset": 1, "pretrain": cells, "embed": cells, "readout": cells, "table": 1}


def test_stages_run_by_hand_make_what_the_rules_make(done, tmp_path):
    folder = make_study(tmp_path)
    key = next((done / "data/readouts").glob("vicreg*")).stem
    config = json.loads((done / f"data/readouts/{key}.json").read_text())["config"]
    assert config["embed"]["pretrain"]["method"]["name"] == "vicreg"
    for stage, kind in (
        ("subset", "subset"),
        ("pretrain", "checkpoints"),
        ("embed", "embeddings"),
        ("readout", "readouts"),
    ):
        names = [p.stem for p in (done / "data" / kind).glob("*") if p.stem.startswith(("mnist", "vicreg"))]
        run(folder, "entia", stage, names[0].rsplit("-", 1)[1])  # the key alone will do
    made = (folder / f"data/readouts/{key}.json").read_bytes()
    assert made == (done / f"data/readouts/{key}.json").read_bytes()


def test_a_pretraining_killed_at_random_moments_ends_with_the_same_bytes(done, tmp_path):
    folder = make_study(tmp_path)
    longer = {"epochs": 8, "checkpoint_every": 3, "subset": {"dataset": "mnist5k", "limit": 2000}}
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update(longer))
    cell = re.search(r"(barlow_twins\S+)", run(folder, "entia", "plan", "MV-F2a").stdout)[1]
    run(folder, "snakemake", "--cores", "1", "--until", "subset")
    run(folder, "entia", "pretrain", cell)
    target = folder / f"data/checkpoints/{cell}.safetensors"
    whole = target.read_bytes()
    target.unlink()
    generator, kills = random.Random(1), 0
    while not target.exists() and kills < 20:
        process = subprocess.Popen(
            ["entia", "pretrain", cell],
            cwd=folder,
            env=ENVIRONMENT,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        state = folder / f"data/checkpoints/{cell}.part/state.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        # a run must get on by an epoch before it is killed, or a slow machine would never end
        while process.poll() is None and (state.stat().st_mtime_ns if state.exists() else 0) == before:
            time.sleep(0.02)
        time.sleep(generator.uniform(0, 0.8))
        if process.poll() is None:
            os.killpg(process.pid, generator.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            kills += 1
        process.communicate()
    assert kills >= 3 and target.read_bytes() == whole
    assert not (folder / f"data/checkpoints/{cell}.part").exists()


# --- bad input: one clear error, nothing harmed ---------------------------------------------------------------------


def refused(folder: Path, *command: str) -> str:
    found = run(folder, *command, check=False)
    assert found.returncode != 0
    text = found.stdout + found.stderr
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"views": 0}, "params.yaml: defaults.views: 0 is not a positive whole number"),
        ({"wiews": 2}, "params.yaml: defaults.wiews: unknown; did you mean views?"),
        ({"batch": "1e-3"}, "params.yaml: defaults.batch: '1e-3' is not a positive whole number"),
        ({"projector": {"width": 0}}, "params.yaml: defaults.projector.width: 0 is not a positive whole number"),
    ],
)
@pytest.mark.parametrize("command", [("snakemake", "--cores", "2"), ("entia", "plan")])
def test_a_mistake_in_params_is_one_clear_error_and_harms_nothing(edit, message, command, study):
    before = artefacts(study)
    change(study, lambda raw: raw["defaults"].update(edit))
    assert message in refused(study, *command)
    assert artefacts(study) == before


def test_a_config_that_snakemake_alone_would_know_is_refused_and_max_minutes_is_not(study):
    text = refused(study, "snakemake", "-n", "--config", "scale=paper")
    assert text.splitlines()[-1] == (
        "entia: --config: scale: unknown; max_minutes alone is set there. What the study is, `scale:` included, stands in params.yaml"
    )
    run(study, "snakemake", "-n", "--config", "max_minutes=60")


def test_what_has_no_effect_is_said_once_by_snakemake_and_plan(study):
    change(study, lambda raw: raw["defaults"]["subset"].update({"dataset": "cifar10"}))
    change(study, lambda raw: raw["scales"]["laptop"]["experiments"].update({"mine": {"seed": 5}}))
    for command in (("snakemake", "-n"), ("entia", "plan")):
        said = run(study, *command).stderr
        assert (
            said.count("entia: params.yaml: defaults.subset.dataset: cifar10 has no effect here; mnist5k of scales.l")
            == 1
        )
        assert said.count("entia: params.yaml: experiments.mine: no report of this scale names it") == 1


def test_a_report_of_ones_own_may_have_an_underscore_in_its_name(study):
    change(study, lambda raw: raw["reports"].update({"my_table": raw["reports"]["MV-T1"]}))
    assert jobs(study)["table"] == 1


def test_a_missing_data_set_says_which_files_go_where(study):
    change(
        study,
        lambda raw: raw["scales"]["laptop"]["defaults"]["subset"].update(
            {"dataset": "image_folder/flowers", "side": 32}
        ),
    )
    text = refused(study, "snakemake", "--cores", "2", "--quiet", "reason")
    assert "data/raw/flowers: there must be a folder train and a folder test or val" in text


@pytest.mark.parametrize(
    ("kind", "stage"), [("checkpoints", "embed"), ("embeddings", "readout"), ("subset", "pretrain")]
)
def test_a_truncated_artefact_is_named_and_never_used(kind, stage, study):
    (path, *_) = sorted(path for path in (study / "data" / kind).glob("*") if path.suffix != ".csv")
    child = {"checkpoints": "embeddings", "embeddings": "readouts", "subset": "checkpoints"}[kind]
    for made in (study / "data" / child).glob("*"):
        made.unlink()
    path.write_bytes(path.read_bytes()[:-100])
    text = refused(study, "snakemake", "--cores", "2", "--quiet", "reason")
    assert f"entia: {path.relative_to(study)}: damaged" in text


@pytest.fixture
def closed(study) -> Iterator[Path]:
    """A folder of the study that nobody can write to."""
    folder = study / "data/checkpoints"
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        return
    for options in (["--bind", folder], ["-o", "remount,ro,bind"]):  # root may write wherever a mode alone forbids it
        if subprocess.run(["mount", *options, folder]).returncode:
            pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_read_only_folder_is_named_before_anything_runs(study, closed):
    before = artefacts(study)
    change(study, lambda raw: raw["defaults"].update({"seed": 5}))
    text = refused(study, "snakemake", "--cores", "2")
    assert text.splitlines()[-1] == "entia: data/checkpoints: cannot be written; make it writable and run again"
    assert artefacts(study) == before
