"""What a GPU will do, told without one: no device is mixed, none is waited for; and, where there is one, that it does."""

import contextlib
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import msgspec
import pytest
import torch
from test_config import cell
from test_pretrain import ADAMW, METHODS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from entia import devices, embed, feeding, nets, pretrain, views
from entia.config import Augmentation, Crops, Embed, Encoder, Optimizer, Pretrain, Projector, Subset
from entia.fields import Problem
from entia.losses import Batch, instance, momentum
from entia.methods import BarlowTwins, Diet, SDiet, SimCLR, VICReg
from entia.views import operators

ALL = Augmentation(blur=0.5, solarise=0.5, erase=0.5, mean=(125.0, 122.0, 113.0), std=(51.0, 50.0, 51.0))


def small(**fields) -> Pretrain:
    given = {
        "encoder": Encoder(name="narrow_resnet", width=2),
        "projector": Projector(width=8),
        "optimizer": ADAMW,
        "augmentation": ALL,
        "views": 2,
        "batch": 16,
    }
    return cell(**{**given, **fields})


CELLS = {name: small(method=method) for name, method in METHODS.items()} | {
    "as run": small(method=BarlowTwins(weight=0.1, form="as_run", l2_normalise=True, standardise="joint"), views=4),
    "wide": small(method=BarlowTwins(weight=0.1), projector=Projector(width=64)),
    "vicreg as run": small(method=VICReg(form="leave_one_out"), views=4),
    "simclr as run": small(method=SimCLR(form="leave_one_out"), batch_norm="per_view"),
    "crops and probe": small(crops=Crops(views=2, size=8), online_probe=True, optimizer=Optimizer(name="sgd")),
    "lars": small(method=VICReg(), optimizer=Optimizer(name="lars")),
    "bfloat16": small(method=Diet(), views=1, precision="bfloat16", projector=Projector(depth=0)),
    "computed again": small(method=VICReg(), recompute=True),
}
every_cell = pytest.mark.parametrize("config", CELLS.values(), ids=CELLS)
"""All methods, optimisers and forms of the loss."""


def images(device: str, count: int = 64) -> feeding.Data:
    pixels = torch.arange(count * 3 * 16 * 16).remainder(251).to(torch.uint8).view(count, 3, 16, 16)
    index = torch.arange(count, device=device)
    return feeding.Data(pixels.to(device), index, index % 4)


class NoWaiting(TorchDispatchMode):
    """Raises on what makes the host wait for a GPU: a value read, a shape that depends on values, a copy to the host.

    A copy of ordinary memory to the GPU waits too. Only tensors on `device` count.
    """

    READS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero")
    COPIES = ("_to_copy", "copy_")

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        flat = [part for part in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
        if any(part.device.type == self.device for part in flat):
            assert name not in self.READS, f"the host waits: {func}"
            assert name != "index" or not any(part.dtype == torch.bool for part in flat[1:]), f"the host waits: {func}"
        if name == "_fused_sgd_" and self.device == "meta":  # PyTorch cannot imagine it
            assert {part.device.type for part in flat} == {self.device}, "at least two devices"
            return None
        out = func(*args, **(kwargs or {}))
        if name in self.COPIES and isinstance(out, torch.Tensor):
            here, there = {out.device.type, flat[-1].device.type}, flat[-1]
            assert len(here) == 1 or there.ndim == 0, f"the host waits: {func}"
        return out


def moved(module: nn.Module, move, recurse: bool = True) -> nn.Module:
    """`Module._apply`, by which a module goes to a device, with new parameters: imagined ones cannot be exchanged."""
    for child in module.children():
        moved(child, move)
    for name, part in module._parameters.items():
        if part is not None:
            module._parameters[name] = nn.Parameter(move(part.detach()), part.requires_grad)
    for name, part in module._buffers.items():
        module._buffers[name] = part if part is None else move(part)
    return module


@contextlib.contextmanager
def imagined() -> Iterator[None]:
    """Within it tensors have shapes and devices, and no values: a GPU may be named without one.

    Autograd alone asks for a real one. So forward passes are looked at on `cuda`, whole steps on `meta`, which is no
    more the host's, and for which our code makes no exception.
    """
    known = mock.patch.object(pretrain, "_classes", lambda *_: 4)  # which reads labels, once a run
    one = mock.patch.object(FakeTensorMode, "__deepcopy__", lambda mode, _: mode, create=True)
    with warnings.catch_warnings(), FakeTensorMode(), mock.patch.object(nn.Module, "_apply", moved), known, one:
        warnings.filterwarnings("ignore", "CUDA is not available")  # said by autocast
        warnings.filterwarnings("ignore", "Accessing the data pointer")  # said where a network is copied
        yield


def steps(config: Pretrain, device: str) -> None:
    """Two steps, and all that a run does between them, but for what reads a value: an epoch's end."""
    data = images(device)
    run = pretrain._Run(config, data, data)
    run.model.train()
    rows = torch.arange(config.batch, device=device)
    with NoWaiting(device):
        for step in range(2):
            run.step(data.pixels[rows], rows, 1, step)


def on_meta(config: Pretrain) -> None:
    def none(*_, **__) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    # autocast does not know it
    with imagined(), mock.patch.object(torch, "autocast", none), mock.patch.object(operators, "_float32", none):
        steps(msgspec.structs.replace(config, precision="float32"), "meta")


@every_cell
def test_a_step_away_from_the_host_mixes_no_devices_and_waits_for_nothing(config):
    on_meta(config)


@every_cell
def test_a_forward_pass_on_a_gpu_mixes_no_devices_and_waits_for_nothing(config, monkeypatch):
    def reached(*_) -> None:
        raise StopIteration

    monkeypatch.setattr(torch.autograd, "backward", reached)
    with imagined(), pytest.raises(StopIteration):
        steps(config, "cuda")


@every_cell
def test_a_step_reads_no_value_back(config):
    """On a CPU, where values are there to be read."""
    steps(config, "cpu")


def planted(monkeypatch, harm) -> None:
    """Harm done to an objective that all else leaves as it is."""
    forward = instance.Instance.forward

    def harmed(self, z, batch):
        harm(z)
        return forward(self, z, batch)

    monkeypatch.setattr(instance.Instance, "forward", harmed)


HARMS = {
    "item": lambda z: z.sum().item(),
    "truth": lambda z: bool(z.sum() > 0),
    "to the host": lambda z: z.cpu(),
    "from the host": lambda z: torch.ones(3).to(z.device),
    "chosen by value": lambda z: z[z > 0],
    "on the host": lambda z: z + torch.ones(z.shape[-1]),
    "nonzero": lambda z: torch.nonzero(z),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_planted_wait_or_a_planted_tensor_of_the_host_is_found(harm, monkeypatch):
    planted(monkeypatch, harm)
    with pytest.raises(Exception, match="the host waits|at least two devices"):
        on_meta(CELLS["diet"])


@pytest.mark.parametrize("harm", ["item", "truth", "nonzero"])
def test_a_value_that_is_read_is_found_on_a_cpu_too(harm, monkeypatch):
    planted(monkeypatch, HARMS[harm])
    with pytest.raises(AssertionError, match="the host waits"):
        steps(CELLS["diet"], "cpu")


def test_an_offloaded_head_waits_as_it_says():
    with pytest.raises(AssertionError, match="the host waits"):
        on_meta(small(method=SDiet(offload=True)))


def test_an_embedding_on_a_gpu_holds_a_chunk_of_images_whatever_their_number():
    """Images come from the host, and embeddings go there, chunk by chunk."""
    largest = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type == "meta":
                largest.append((len(out) if out.ndim == 4 else 0, str(func)))
            return out

    config = small(augmentation=Augmentation(mean=(0.0,), std=(1.0,)))
    with imagined():
        weights = nets.build(config.encoder, Projector(depth=0), 1, 8, 0).encoder.state_dict()
        pixels = torch.zeros(3 * embed.CHUNK + 7, 1, 8, 8, dtype=torch.uint8)
        index = torch.arange(len(pixels), device="meta")
        with Sizes():
            found = embed.embed(Embed(pretrain=config, on=Subset(dataset="mnist5k")), weights, pixels, index)
    assert found.device.type == "cpu" and found.shape == (len(pixels), 16)
    assert max(largest)[0] == embed.CHUNK


def counted(run) -> int:
    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            Count.calls += 1
            return func(*args, **(kwargs or {}))

    with Count():
        run()
    return Count.calls


def test_a_gpu_catches_up_a_batch_of_sdiet_in_few_operations():
    with imagined():
        rows = instance.Rows(*(torch.zeros(512, 512, device="cuda") for _ in range(3)))
        adamw = instance.AdamW([0.01] * 500, (0.9, 0.999), 0.05, torch.device("cuda"))
        since = torch.zeros(512, dtype=torch.int64, device="cuda")
        assert counted(lambda: adamw.missed(rows, since, 400)) < 100


def test_catching_up_in_a_gpus_parts_gives_a_cpus_numbers(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    rows = instance.Rows(*(torch.rand(64, 128, generator=draw) for _ in range(3)))
    adamw = instance.AdamW([0.01] * 500, (0.9, 0.999), 0.05, torch.device("cpu"))
    found = []
    for values in (instance._CATCH_UP, instance._CATCH_UP_GPU):
        monkeypatch.setattr(instance, "_CATCH_UP", values)
        found.append(adamw.missed(rows, torch.arange(64), 400))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_second_network_follows_in_one_operation():
    data = images("cpu")
    objective = pretrain._Run(small(method=METHODS["byol"]), data, None).objective
    assert isinstance(objective, momentum.Averaged)
    assert counted(lambda: objective.average(0.9)) == 1


# --- arithmetic ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 everywhere, as PyTorch or another program may have set it."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def arithmetic() -> tuple[bool, bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark


def test_float32_means_float32_in_training_and_embedding(tf32):
    config, data = small(epochs=1), images("cpu")
    *_, last = pretrain.pretrain(config, data)
    assert arithmetic() == (False, False, False)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    embed.embed(Embed(pretrain=config, on=Subset(dataset="mnist5k")), last.weights(), data.pixels, data.index)
    assert arithmetic() == (False, False, False)


def test_a_cell_is_deterministic_where_it_is_asked_to_be_and_the_next_one_is_not():
    data = images("cpu")
    for wanted in (True, False):
        pretrain._Run(small(deterministic=wanted), data, None)
        assert torch.are_deterministic_algorithms_enabled() == wanted


@pytest.mark.parametrize(("precision", "narrow"), [("bfloat16", True), ("float32", False)])
def test_diets_head_alone_takes_tf32_where_the_encoder_has_fewer_bits(precision, narrow):
    seen = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "addmm_"):
                seen.append((func.overloadpacket.__name__, torch.backends.cuda.matmul.allow_tf32))
            return func(*args, **(kwargs or {}))

    config = small(method=Diet(), views=1, precision=precision, projector=Projector(depth=0))
    with imagined():
        data = images("cuda")
        run = pretrain._Run(config, data, data)
        z, rows = torch.zeros(1, 16, 16, device="cuda"), torch.arange(16, device="cuda")
        with Products():
            run.draw(data.pixels[rows], data.index[rows], 1)
            run.objective(z, Batch(z, rows, None, 0))
            kept = (z[0], run.objective.head.weight, None, rows, rows.float(), torch.zeros(16, 64, device="cuda"))
            context = SimpleNamespace(narrow=run.objective.narrow, rows=16, smoothing=0.8, saved_tensors=kept)
            instance._CrossEntropy.backward(context, torch.ones((), device="cuda"))
    *of_views, logits, slope, slope_weight = seen
    assert ("bmm", False) in of_views and not any(rounded for _, rounded in of_views)
    assert [logits, slope, slope_weight] == [("mm", narrow), ("mm", narrow), ("addmm_", narrow)]
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_cell_that_began_compiled_is_not_gone_on_with_uncompiled(monkeypatch):
    monkeypatch.setattr(devices, "can_compile", lambda device: False)
    with imagined():
        data = images("cuda")
        run = pretrain._Run(small(), data, None)
        monkeypatch.setattr(run, "load", lambda tensors: None)
    with pytest.raises(Problem, match="began compiled, and there is no compiler for C here"):
        run.restore({pretrain._COMPILED: torch.tensor(True)})


# --- where there is one -------------------------------------------------------------------------------------------

gpu = pytest.mark.gpu
missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that PyTorch can use")


@gpu
@missing
@every_cell
def test_a_gpu_trains_as_a_cpu_does_and_waits_for_nothing(config):
    found = []
    for device in ("cpu", "cuda"):
        data = images(device)
        run = pretrain._Run(config, data, data)
        run.model.train()
        rows, losses = torch.arange(config.batch, device=device), []
        for step in range(3):
            torch.cuda.set_sync_debug_mode("error" if device == "cuda" and step == 2 else "default")
            losses.append(run.step(data.pixels[rows], rows, 1, step)["loss"])
            torch.cuda.set_sync_debug_mode("default")
        found.append(torch.stack(losses).cpu())
    tolerance = 1e-4 if config.precision == "float32" else 2e-2
    torch.testing.assert_close(found[1], found[0], rtol=tolerance, atol=tolerance)


@gpu
@missing
def test_a_gpus_views_are_a_cpus():
    data = images("cpu")
    ours, theirs = (
        views.augment(data.pixels.to(device), data.index.to(device), 2, ALL, 3, 7).cpu() for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@gpu
@missing
def test_a_deterministic_cell_ends_with_the_same_bytes_on_a_gpu_also_after_a_resume():
    config, data = small(method=VICReg(), epochs=3, deterministic=True), images("cuda")
    whole = [(now.weights(), now.state()) for now in pretrain.pretrain(config, data)]
    again = [now.weights() for now in pretrain.pretrain(config, data)][-1]
    rest = [now.weights() for now in pretrain.pretrain(config, data, whole[0][1], 1)][-1]
    assert all(torch.equal(part, again[name]) and torch.equal(part, rest[name]) for name, part in whole[-1][0].items())
