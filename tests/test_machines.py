"""GPUs shared out, one process a cell, stopping when asked, and going on after a kill, on one machine."""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from test_workflow import ENVIRONMENT, change, make_study, run
from torch.utils.flop_counter import FlopCounterMode

from entia import catalogue, config, nets, plan, probes, stages
from entia import pretrain as training
from entia.artefacts import store, unfinished
from entia.system import machines

# --- memory ---------------------------------------------------------------------------------------------------------

FAULTS = """
import resource; from entia.system import machines
assert machines.keep_freed_memory()
import torch
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
given = []
for _ in range(5):
    before = faults()
    step = [torch.ones(10 << 20) for _ in range(4)]  # 40 MiB each
    del step
    given.append(faults() - before)
print(min(given))  # the system itself may take pages away for a step
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no such setting but in glibc")
def test_a_step_is_not_given_anew_the_memory_that_the_last_one_freed():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10


# --- GPUs -----------------------------------------------------------------------------------------------------------

HOLD = """
import sys; from pathlib import Path; from entia.system import machines
print(machines.take_gpu(sys.argv[2:], Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def hold(folder: Path, gpus: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), *gpus]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_that_start_together_are_spread_evenly_over_the_gpus(count, tmp_path):
    processes = [hold(tmp_path, [str(gpu) for gpu in range(count)]) for _ in range(6)]
    taken = Counter(process.stdout.readline().strip() for process in processes)
    for process in processes:
        process.communicate("")
    assert taken == {str(gpu): 6 // count for gpu in range(count)}


def test_a_gpu_is_free_again_however_its_process_ends(tmp_path):
    for number in (signal.SIGKILL, signal.SIGTERM):
        first = hold(tmp_path, ["0", "1"])
        assert first.stdout.readline() == "0\n"
        first.send_signal(number)
        first.communicate()
        second = hold(tmp_path, ["0", "1"])
        assert second.stdout.readline() == "0\n"
        second.communicate("")


def test_a_log_says_how_many_share_a_gpu_at_that_moment(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Test")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    cuda = torch.device("cuda")
    assert machines.take_gpu(["1"]) == "1"
    assert stages.name_of(cuda) == "Test"
    others = [hold(tmp_path, [gpu]) for gpu in ("1", "1", "0", "11")]
    for other in others:
        other.stdout.readline()
    assert stages.name_of(cuda) == "Test, shared by 3"
    for other in others:
        other.kill()
        other.communicate()
    assert stages.name_of(cuda) == "Test"


def test_no_gpu_is_no_gpu(tmp_path):
    assert machines.take_gpu([], tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ["0", "1", "2"]),
        ("2", ["2"]),
        ("0,3", ["0", "3"]),
        ("GPU-8932f937", ["GPU-8932f937"]),
        ("", []),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_is_obeyed_and_gpus_are_counted_where_it_is_not_set(named, found, monkeypatch, tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert machines.gpus(tmp_path) == found


# --- estimates ------------------------------------------------------------------------------------------------------


def cell(folder: Path, **over) -> config.Pretrain:
    folder.mkdir(exist_ok=True)
    make_study(folder)
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update(over))
    return next(iter(plan.load(folder / "params.yaml").pretrains.values()))


def test_the_multiply_adds_are_those_that_torchvision_publishes():
    import torchvision

    for name, network in catalogue.NETWORKS.items():
        if name not in ("narrow_resnet", "strided_resnet", "pixels") and not name.startswith("mlp_mixer"):
            assert network.multiply_adds == next(iter(torchvision.models.get_model_weights(name))).meta["_ops"]


@pytest.mark.parametrize(
    "encoder",
    [
        {"name": "resnet18"},
        {"name": "narrow_resnet", "width": 16},
        {"name": "strided_resnet"},
        {"name": "mlp_mixer_8", "stem": "imagenet"},
        {"name": "mlp_mixer_12", "stem": "imagenet"},
    ],
)
def test_the_estimated_work_is_near_what_pytorch_counts(encoder, tmp_path):
    import torch

    stage = cell(
        tmp_path, encoder=encoder, projector={"width": 512}, epochs=1, subset={"dataset": "mnist5k", "limit": 100}
    )
    side = stage.augmentation.size
    model = nets.build(stage.encoder, stage.projector, 1, side, 0)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 1, side, side))
    counted = 3 * 100 * stage.views * counter.get_total_flops() / 2 / 2 / 1e9  # two flops a multiply-add, two images
    assert machines.work(stage) == pytest.approx(counted, rel=0.25)


def test_more_epochs_images_and_views_are_more_work_and_a_longer_limit(tmp_path):
    few = cell(
        tmp_path / "few", epochs=1000, subset={"dataset": "cifar10", "limit": 10_000}, encoder={"name": "resnet18"}
    )
    many = cell(tmp_path / "many", epochs=2000, subset={"dataset": "cifar10"}, encoder={"name": "resnet18"}, views=4)
    assert machines.work(many) == pytest.approx(20 * machines.work(few))
    assert machines.minutes(many) > 10 * machines.minutes(few) > 0
    assert machines.memory(many) > machines.memory(few)


def test_packing_files_of_one_image_each_takes_the_same_memory_however_many(tmp_path):
    files, arrays = (
        cell(tmp_path / "a", subset={"dataset": "food101"}),
        cell(tmp_path / "b", subset={"dataset": "stl10"}),
    )
    assert (
        machines.memory(files.subset) == machines.memory(config.Subset(dataset="dtd")) < machines.memory(arrays.subset)
    )
    assert machines.memory(files) > 29_000  # MiB: its images are trained from memory


def test_an_mlp_readout_has_a_limit_that_grows_with_its_work(tmp_path):
    trained = cell(tmp_path, epochs=20, checkpoint_every=5, encoder={"name": "resnet50"})
    on = config.Subset(dataset="cifar10")

    def limit(probe, epochs="last"):
        return machines.minutes(config.Readout(embed=config.Embed(pretrain=trained, on=on, epochs=epochs), probe=probe))

    linear, one = limit(probes.AdamProbe()), limit(probes.MLPProbe())
    assert one > linear
    assert limit(probes.MLPProbe(epochs=200)) - 10 == pytest.approx(2 * (one - 10), abs=2)
    assert limit(probes.MLPProbe(), "all") - 10 == pytest.approx(4 * (one - 10), abs=4)


# --- one process a cell, and stopping -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, str, bytes]:
    """A study, one cell's name, and the bytes of its uncut run, removed again."""
    folder = make_study(tmp_path_factory.mktemp("whole"))
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 40, "checkpoint_every": 20}))
    found = plan.load(folder / "params.yaml")
    run(folder, "entia", "subset", next(iter(found.subsets)))
    name = next(iter(found.pretrains))
    run(folder, "entia", "pretrain", name)
    target = folder / f"data/checkpoints/{name}.safetensors"
    content = target.read_bytes()
    target.unlink()
    return folder, name, content


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    command = ["entia", "pretrain", name]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def wait_for_epochs(process: subprocess.Popen[str], count: int) -> int:
    """Reads a process's messages until `count` epochs went by; the last one's number."""
    for line in process.stderr:
        if match := re.search(r"epoch (\d+) of", line):
            count -= 1
            if count == 0:
                return int(match[1])
    raise AssertionError("it ended before")


def test_a_cell_stopped_five_times_ends_with_the_bytes_of_an_uncut_one(whole):
    folder, name, content = whole
    target = folder / f"data/checkpoints/{name}.safetensors"
    reached = 0
    for number in (signal.SIGTERM, signal.SIGUSR1) * 2 + (signal.SIGTERM,):
        process = start(folder, name)
        now = wait_for_epochs(process, 2)
        process.send_signal(number)
        text = process.communicate()[1]
        assert process.returncode == machines.STOPPED, text
        saved = int(re.search(r"asked to stop; saved epoch (\d+)", text)[1])
        assert now == reached + 2 and saved >= now  # it went on right after what the last one saved
        reached = saved
        assert not target.exists()
    run(folder, "entia", "pretrain", name)
    assert target.read_bytes() == content
    target.unlink()


def test_a_stop_lets_the_running_epoch_end_and_saves_it_also_where_saving_is_put_off(whole, monkeypatch):
    folder, name, _ = whole
    stage = plan.load(folder / "params.yaml").pretrains[name]
    state = folder / f"data/checkpoints/{name}.part/state.safetensors"
    copied: list[int] = []

    def interrupted(*arguments):
        for progress in real(*arguments):
            if progress.epoch == 4:  # it is not yet handed over: as good as under way
                assert not state.exists()
                os.kill(os.getpid(), signal.SIGTERM)
            yield progress

    real, copy = training.pretrain, training.Progress.state
    monkeypatch.chdir(folder)
    monkeypatch.setattr(training, "pretrain", interrupted)
    monkeypatch.setattr(training.Progress, "state", lambda now: copied.append(now.epoch) or copy(now))
    monkeypatch.setattr(unfinished, "RATE", 1e-9)  # saving seems slow: put off
    with pytest.raises(SystemExit) as stopped:
        stages.pretrain(stage)
    assert stopped.value.code == machines.STOPPED
    assert copied == [4]  # nor is a state copied that is not saved
    assert store.read_tensors(state)[1]["rows"][-1]["epoch"] == 4
    shutil.rmtree(state.parent)


def test_a_cell_that_an_orphan_trains_is_waited_for_and_not_trained_again(whole):
    folder, name, content = whole
    orphan = start(folder, name)
    wait_for_epochs(orphan, 1)
    second = start(folder, name)
    drain = threading.Thread(target=orphan.stderr.read)
    drain.start()
    text = second.communicate()[1]
    drain.join()
    assert (
        "another process is training it" in text and "made by that other process" in text and "of 40, loss" not in text
    )
    orphan.communicate()
    assert orphan.returncode == second.returncode == 0
    assert (folder / f"data/checkpoints/{name}.safetensors").read_bytes() == content
    assert not list((folder / "data/checkpoints").glob(".*"))


# --- going on after a killed controller -----------------------------------------------------------------------------


def locked(folder: Path, line: str) -> Path:
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/runs.txt").write_text(line)
    lock = folder / ".snakemake/locks/0.input.lock"
    lock.touch()
    return lock


def test_the_locks_of_a_process_that_is_gone_are_removed(tmp_path):
    lock = locked(tmp_path, f"{os.uname().nodename} {os.getpid()} 1.00\n")  # our number, but another start
    assert machines.take_over(tmp_path) and not lock.exists()
    assert not machines.take_over(tmp_path)


def test_the_locks_of_a_process_that_ended_and_whose_parent_never_asked_are_removed(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as ended:
        lock = locked(tmp_path, f"{os.uname().nodename} {ended.pid} {machines._start(ended.pid)}\n")
        ended.kill()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
        assert machines.take_over(tmp_path) and not lock.exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_locks_of_a_run_that_is_alive_or_on_another_machine_stay(elsewhere, tmp_path):
    host = "elsewhere" if elsewhere else os.uname().nodename
    lock = locked(tmp_path, f"{host} {os.getpid()} {machines._start(os.getpid())}\n")
    assert not machines.take_over(tmp_path) and lock.exists()
    assert not machines.take_over(tmp_path) and lock.exists()


@pytest.mark.workflow
def test_after_a_killed_snakemake_the_same_command_goes_on(tmp_path):
    folder = make_study(tmp_path)
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 20}))
    command = ["snakemake", "--cores", "2", "--quiet", "reason", "--until", "pretrain"]
    killed = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list((folder / "data").glob("checkpoints/*.part/state.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    found = run(folder, *command)
    assert "The last run here was killed" in found.stderr
    made = {file.stem for file in (folder / "data/checkpoints").glob("*.safetensors")}
    assert made == set(plan.load(folder / "params.yaml").pretrains)
    assert not list((folder / "data/checkpoints").glob(".*"))
