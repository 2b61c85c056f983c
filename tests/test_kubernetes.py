"""The Kubernetes profile, run whole through a stand-in for kubectl that does what kubelet does with a Job's processes."""

import json
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from test_workflow import ENVIRONMENT, change, make_study, run

from entia import plan
from entia.system import machines

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        find_spec("snakemake_executor_plugin_cluster_generic") is None,
        reason="snakemake-executor-plugin-cluster-generic is not installed",
    ),
]
SNAKEMAKE = ("snakemake", "--cores", "2", "--workflow-profile", "profiles/kubernetes", "--latency-wait", "5")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "study").mkdir()
    return make_study(tmp_path / "study")


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    (tmp_path / "kube").mkdir()
    path = f"{ROOT / 'tests/kubernetes/bin'}:{ENVIRONMENT['PATH']}"
    return {**ENVIRONMENT, "PATH": path, "KUBE_FOLDER": str(tmp_path / "kube")}


def submitted(cluster: dict[str, str], rule: str) -> list[dict]:
    """What was asked for, of each Job of a rule."""
    folder = Path(cluster["KUBE_FOLDER"])
    return [
        json.loads(path.read_text()) for end in ("json", "deleted") for path in folder.glob(f"entia-{rule}-*.{end}")
    ]


def test_the_whole_study_is_planned_on_kubernetes(cluster, folder):
    found = subprocess.run([*SNAKEMAKE, "-n"], cwd=folder, env=cluster, capture_output=True, text=True, check=True)
    assert "pretrain" in found.stdout and "index" in found.stdout
    assert not submitted(cluster, "*")


def test_a_cell_deleted_while_it_trains_saves_and_ends_in_the_bytes_of_an_uncut_one(cluster, folder, tmp_path):
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 40, "checkpoint_every": 20}))
    stage = next(iter(plan.load(folder / "params.yaml").pretrains.values()))
    target = next(iter(plan.load(folder / "params.yaml").pretrains))
    target = folder / f"data/checkpoints/{target}.safetensors"
    command = [*SNAKEMAKE, str(target.relative_to(folder))]
    with (tmp_path / "controller.txt").open("w") as log:
        controller = subprocess.Popen(command, cwd=folder, env=cluster, stdout=log, stderr=log)
    state = target.with_suffix(".part") / "state.safetensors"
    deadline = time.monotonic() + 300
    while not state.exists() and controller.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (job,) = Path(cluster["KUBE_FOLDER"]).glob("entia-pretrain-*.json")
    subprocess.run(["kubectl", "delete", "--wait=false", f"job.batch/{job.stem}"], env=cluster, check=True)
    assert controller.wait(400) == 0, (tmp_path / "controller.txt").read_text()[-3000:]

    first, second = sorted(submitted(cluster, "pretrain"), key=lambda found: found["spec"]["activeDeadlineSeconds"])
    for attempt, found in enumerate((first, second), start=1):
        spec = found["spec"]["template"]["spec"]
        resources = spec["containers"][0]["resources"]
        assert resources["limits"] == {"memory": f"{attempt * machines.memory(stage)}Mi", "nvidia.com/gpu": 1}
        assert found["spec"]["activeDeadlineSeconds"] == attempt * machines.minutes(stage) * 60
        assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "studies"}
        assert spec["containers"][0]["workingDir"] == str(folder)
    assert "from epoch" in (folder / f"logs/pretrain/{target.stem}.log").read_text()
    whole = target.read_bytes()
    target.unlink()
    run(folder, "entia", "pretrain", target.stem)
    assert target.read_bytes() == whole
