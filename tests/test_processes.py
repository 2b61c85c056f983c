"""One cell in several processes (gloo, on CPUs) against the same cell in one."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_config import cell
from torch import distributed, nn

from entia import pretrain, processes, stages
from entia.artefacts import store
from entia.config import Crops, Encoder, Optimizer, Pretrain, Projector, Subset
from entia.feeding import Data
from entia.fields import Problem
from entia.methods import BYOL, BarlowTwins, Diet, MoCo, SDiet, SimCLR, SpectralContrastive, Supervised, VICReg
from entia.processes import Processes
from entia.system import machines
from entia.system import together as together_

COUNTS = (1, 2, 4)
ALIKE = 1e-10
"""How far gradients may be from one process's, as a share of their length, in float64. In float32 rounding alone makes
1e-5 of so deep a network's."""
ROUNDED = 1e-4
CELLS = {
    "barlow_twins": {"method": BarlowTwins(weight=0.005)},
    "barlow_twins, as run": {"method": BarlowTwins(weight=0.1, form="as_run", standardise="joint"), "views": 3},
    "vicreg": {"method": VICReg()},
    "simclr": {"method": SimCLR()},
    "spectral_contrastive": {"method": SpectralContrastive(weight=0.5)},
    "diet": {"method": Diet(bias=True), "views": 1, "projector": Projector(depth=0)},
    "sdiet": {"method": SDiet(normalise=True), "optimizer": Optimizer(name="adamw", weight_decay=0.05)},
    "supervised": {"method": Supervised()},
    "byol": {"method": BYOL(momentum=0.9)},
    "moco": {"method": MoCo(momentum=0.9, queue=100)},
    "a pass a view": {"method": BYOL(momentum=0.9), "batch_norm": "per_view"},
    "crops": {"method": VICReg(), "crops": Crops(views=2, size=8)},
    "recomputed": {"method": SimCLR(), "recompute": True},
    "bfloat16": {"method": BarlowTwins(weight=0.005), "precision": "bfloat16"},
}
every_cell = pytest.mark.parametrize("name", CELLS)
several = pytest.mark.parametrize("count", COUNTS[1:])


def images() -> Data:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(30, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(12, 12), mode="bilinear")
    return Data((255 * smooth).to(torch.uint8), torch.arange(30) * 7, torch.arange(30) % 4)


def small(**fields: Any) -> Pretrain:
    """Batches of 24 and then of 6: shares of 6 and of 1 or 2 images for four processes."""
    fixed = {
        "encoder": Encoder(name="narrow_resnet", width=2),
        "projector": Projector(width=8),
        "optimizer": Optimizer(name="sgd", lr=0.01),
        "views": 2,
        "epochs": 3,
        "batch": 24,
        "drop_last": False,
        "online_probe": True,
    }
    return cell(**{**fixed, **fields})


# --- what each process does ---------------------------------------------------------------------------------------


def begin(rank: int, count: int, place: str) -> Processes:
    torch.set_num_threads(1)
    if count > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=count)
    return Processes(rank, count)


@dataclass
class Step:
    """A step's terms, and what it asks of every parameter, by part."""

    terms: dict[str, float]
    gradients: dict[str, torch.Tensor]
    head: dict[str, torch.Tensor] = field(default_factory=dict)
    """Moments of a head that has an optimiser of its own: a tenth of its gradient."""
    running: dict[str, torch.Tensor] = field(default_factory=dict)


def own(run: pretrain._Run, rows: torch.Tensor) -> torch.Tensor:
    """The images of a batch's rows that are a process's."""
    return run.data.pixels[rows[run.among.share(len(rows))]]


def step_of(config: Pretrain, number: int, among: Processes) -> Step:
    """The first epoch's step of that number, without those before it."""
    run = pretrain._Run(config, images(), images(), among)
    found: dict[str, torch.Tensor] = {}

    def take(lr: float) -> None:
        for part, module in run.parts.items():
            for name, parameter in module.named_parameters():
                if parameter.grad is not None:
                    found[f"{part}/{name}"] = parameter.grad.clone()
                    parameter.grad = None

    run.updates.step = take  # pyright: ignore[reportAttributeAccessIssue]
    run.model.train()
    rows = run.order(1)[number * config.batch : (number + 1) * config.batch]
    terms = run.step(own(run, rows), rows, 1, number)
    state = run.tensors()
    head = {name: state[name] for name in ("objective/first", "objective/keys") if name in state}
    running = {name: held for name, held in state.items() if "running" in name or "tracked" in name}
    return Step({name: float(term) for name, term in terms.items()}, found, head, running)


@contextmanager
def exact() -> Iterator[None]:
    """Within it all that is float32 otherwise is float64, so that rounding hides nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(torch, "float32", torch.float64)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float)


def steps(among: Processes) -> dict[str, list[Step]]:
    return {name: [step_of(small(**fields), number, among) for number in (0, 1)] for name, fields in CELLS.items()}


def mean_instead(among: Processes) -> Step:
    """With the fault that others have shipped: gradients averaged over processes, where the loss is a whole one."""
    summed = Processes.sum_gradients

    def averaged(self: Processes, parameters: Any) -> None:
        parameters = list(parameters)
        summed(self, parameters)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= self.count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "sum_gradients", averaged)
        return step_of(small(**CELLS["vicreg"]), 0, among)


def own_statistics(among: Processes) -> Step:
    """With batch-norms that see their own process's images alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "normalise_together", lambda self, model: None)
        return step_of(small(**CELLS["vicreg"]), 0, among)


def gathered_and_summed_back(among: Processes) -> Step:
    """With a gather whose backward pass sums over processes, as torch's own does."""
    back = processes._Whole.backward

    def summed(ctx: Any, grad: torch.Tensor) -> Any:
        grad = grad.clone()
        distributed.all_reduce(grad)
        return back(ctx, grad)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes._Whole, "backward", staticmethod(summed))
        return step_of(small(**CELLS["vicreg"]), 0, among)


FAULTS: dict[str, Callable[[Processes], Step]] = {
    "gradients averaged": mean_instead,
    "batch statistics of a share": own_statistics,
    "the loss counted by every process": gathered_and_summed_back,
}


def views_of(among: Processes) -> torch.Tensor:
    run = pretrain._Run(small(), images(), images(), among)
    rows = run.order(2)[:24]
    return run.draw(own(run, rows), run.data.index[rows[among.share(24)]], 2)[0]


def everything(rank: int, count: int, place: str) -> dict[str, Any]:
    among = begin(rank, count, place)
    faults = {name: fault(among) for name, fault in FAULTS.items()} if count > 1 else {}
    with exact():
        finely = steps(among)
    return {"finely": finely, "steps": steps(among), "faults": faults, "views": views_of(among)}


# --- the processes ------------------------------------------------------------------------------------------------


def together(count: int, task: Callable[..., Any], *more: Any) -> list[Any]:
    """What the task gives in each of so many processes, called with its rank, their number and a meeting place."""
    with tempfile.TemporaryDirectory() as folder:
        context = get_context("spawn")
        each = [context.Process(target=one, args=(rank, count, folder, task, more)) for rank in range(count)]
        for process in each:
            process.start()
        for process in each:
            process.join(300)
            process.kill()
        # not by a queue: that would share the tensors' memory, which ends with its process
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(count)]


def one(rank: int, count: int, folder: str, task: Callable[..., Any], more: tuple[Any, ...]) -> None:
    torch.save(task(rank, count, f"{folder}/meet", *more), f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def found() -> dict[int, list[dict[str, Any]]]:
    return {count: together(count, everything) for count in COUNTS}


def apart(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The distance as a share of the length, over a part's tensors."""
    assert ones.keys() == others.keys()
    if not ones:
        return 0.0
    one, other = (torch.cat([part[name].double().flatten() for name in ones]) for part in (ones, others))
    return float((one - other).norm() / other.norm())


def part(of: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {each: held for each, held in of.items() if each.startswith(f"{name}/")}


@pytest.mark.parametrize("count", COUNTS)
@every_cell
def test_the_gradients_of_several_processes_are_one_processs(name, count, found):
    for number in (0, 1):  # a whole batch, and a last one of unequal shares
        alone = found[1][0]["finely"][name][number]
        for one in found[count]:
            here = one["finely"][name][number]
            for parts in ("model", "objective", "probe"):
                assert apart(part(here.gradients, parts), part(alone.gradients, parts)) < ALIKE, parts
            assert apart(here.head, alone.head) < ALIKE and apart(here.running, alone.running) < ALIKE
            assert here.terms == pytest.approx(alone.terms, rel=ALIKE)


@several
@every_cell
def test_in_training_precision_they_are_the_same_but_for_rounding(name, count, found):
    most = 0.5 if CELLS[name].get("precision") == "bfloat16" else ROUNDED  # eight bits, through batch-norms
    for number in (0, 1):
        alone = found[1][0]["steps"][name][number]
        for here in (one["steps"][name][number] for one in found[count]):
            assert apart(here.gradients, alone.gradients) < most
            assert here.terms == pytest.approx(alone.terms, rel=most / 10)


@several
@every_cell
def test_all_processes_have_the_same_gradients_to_the_last_bit(name, count, found):
    """Or their weights would drift apart."""
    for number in (0, 1):
        first, *others = (one["steps"][name][number] for one in found[count])
        for other in others:
            assert apart(other.gradients, first.gradients) == apart(other.running, first.running) == 0.0


@several
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault, count, found):
    """So the tests above would fail with it."""
    alone = found[1][0]["steps"]["vicreg"][0]
    assert all(apart(one["faults"][fault].gradients, alone.gradients) > 0.3 for one in found[count])


@several
def test_an_images_views_are_the_same_in_whichever_process(count, found):
    parts = [one["views"] for one in found[count]]
    assert len(parts) == count and torch.equal(torch.cat(parts, 1), found[1][0]["views"])


@given(st.integers(0, 300), st.integers(1, 9))
def test_shares_stand_in_order_and_differ_by_one_image_at_most(images, count):
    shares = [range(images)[Processes(rank, count).share(images)] for rank in range(count)]
    assert [row for share in shares for row in share] == [*range(images)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_processes_than_images_in_the_last_batch_are_refused():
    with pytest.raises(Problem, match="7 devices, and 6 images in a batch; take fewer devices"):
        pretrain._Run(small(), images(), images(), Processes(0, 7))


# --- a cell's training ----------------------------------------------------------------------------------------------

SUBSET = Subset(dataset="mnist5k", limit=110, side=12)
"""99 images to train on: at batches of 47 an epoch ends with one of 5."""


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    stages.subset(SUBSET)
    return tmp_path


def trained(name: str, **fields: Any) -> Pretrain:
    return small(**{"subset": SUBSET, "batch": 47, "epochs": 4, **CELLS[name], **fields})


def weights(of: Pretrain) -> dict[str, torch.Tensor]:
    return store.read_tensors(store.path(stages.DATA, of))[0]


def log(of: Pretrain) -> list[dict[str, Any]]:
    return store.read_log(store.log_path(stages.DATA, of))


def after(config: Pretrain, count: int, stop_after: int = 0) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """A cell's weights and log, made anew by so many processes, in float64; they are asked to stop after an epoch.

    In float32 a few steps of so high a rate make of the last bit the second digit.
    """
    for file in (store.path(stages.DATA, config), store.log_path(stages.DATA, config)):
        file.unlink(missing_ok=True)
    begin = together_.run

    def run(task: Callable[..., None], calls: Any, patient: int) -> int:
        assert task is stages._train_as
        return begin(_finely, [(stop_after, *call) for call in calls], patient)

    with pytest.MonkeyPatch.context() as patch, exact():
        patch.setattr(together_, "run", run)
        stages.pretrain(config, count)
    return weights(config), log(config)


def _finely(stop_after: int, stage: Pretrain, rank: int, *rest: Any) -> None:
    """As `stages._train_as`; one process alone, and not the first, gets SIGTERM in the epoch after which all stop."""
    epoch = pretrain._Run.epoch

    def signalled(self: pretrain._Run, number: int) -> pretrain.Row:
        if rank == 1 and number == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return epoch(self, number)

    pretrain._Run.epoch = signalled
    with exact():
        stages._train_as(stage, rank, *rest)


MOVED = 1e-6
"""How far apart weights may be after four epochs in float64, as a share of their length."""


@pytest.mark.parametrize("name", ["diet", "byol"])
def test_a_cell_trained_by_several_is_the_cell_trained_by_one(name, study):
    """DIET's head has a row an image; BYOL has a second network and a predictor."""
    config = trained(name)
    alone, rows = after(config, 1)
    for count in COUNTS[1:]:
        several, theirs = after(config, count)
        assert apart(several, alone) < MOVED
        for row, mine in zip(theirs, rows, strict=True):
            assert float(row["loss"]) == pytest.approx(float(mine["loss"]), rel=MOVED)
            assert row["probe_accuracy"] == mine["probe_accuracy"] and row["view_images"] == mine["view_images"]
            assert row["machine"] == f"{mine['machine']}, {count} together"
        again, _ = after(config, count)
        assert apart(again, several) == 0.0


@pytest.mark.parametrize("name", ["moco", "sdiet"])
def test_a_cell_goes_on_with_another_number_of_processes_from_where_it_was(name, study):
    config = trained(name)
    whole, _ = after(config, 1)
    with pytest.raises(SystemExit) as ended:
        after(config, 2, stop_after=2)
    assert ended.value.code == machines.STOPPED
    part = store.path(stages.DATA, config).with_suffix(".part")
    shutil.copytree(part, study / "halfway")
    for count in (4, 1):
        shutil.copytree(study / "halfway", part, dirs_exist_ok=True)
        ended_by, rows = after(config, count)
        assert apart(ended_by, whole) < MOVED
        assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
        assert ["2 together" in row["machine"] for row in rows] == [True, True, False, False]


def test_what_one_process_cannot_do_is_said_once_and_ends_the_others(study, capfd):
    config = trained("vicreg", batch=16)  # the last batch has three
    with pytest.raises(Problem, match="4 devices, and 3 images in a batch; take fewer devices"):
        stages.pretrain(config, 4)
    assert "Traceback" not in capfd.readouterr().err


def fails(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def test_a_process_that_dies_ends_the_others():
    start = time.monotonic()
    assert together_.run(fails, [(0,), (1,), (2,)], machines.STOPPED) == 128 + signal.SIGKILL
    assert time.monotonic() - start < 300


def test_each_process_has_a_gpu_of_its_own_the_freest_first(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert machines.several_gpus(3, tmp_path) == ["0", "1", "2"]
    assert machines.take_gpu(["0"], tmp_path) == "0"
    assert machines.several_gpus(2, tmp_path) == ["1", "2"]
    with pytest.raises(Problem, match="devices: 4 are asked for, and here are 3 GPUs"):
        machines.several_gpus(4, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machines.several_gpus(2, tmp_path) == [None, None]
