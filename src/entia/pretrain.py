"""One training loop for every method: views, encoder, projector, objective, update. Variation is data."""

import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from entia import devices, losses, nets, optim, views
from entia.config import Pretrain, all_views
from entia.feeding import Data, batches, is_resident
from entia.fields import Problem
from entia.methods import Untrained
from entia.naming import label
from entia.planning import feasible
from entia.processes import ALONE, Processes

Row = dict[str, float | int | str]
State = dict[str, Tensor]

CHUNK: Final = 500  # test images a pass, as embeddings have
_COMPILED: Final = "run/compiled"
_PROBE, _NOISE, _CROPS = 4, 5, 6  # random streams: the probe's start, dropout, and views of another size

TRIED: Final = 3
"""Eager steps that are timed, after one that warms up, to tell whether compiling pays."""


@dataclass(frozen=True, eq=False)
class Progress:
    """An epoch's end: its log row, and what can be had until the next epoch begins, each a copy on the host."""

    epoch: int
    row: Row
    run: "_Run | _Untrained"

    def weights(self) -> State:
        """The encoder's weights; none of a run that diverged."""
        return {} if "diverged" in self.row else self._now().weights()

    def state(self) -> State:
        """All that is needed to go on from here; nothing of a run that diverged."""
        return {} if "diverged" in self.row else self._now().state()

    @property
    def size(self) -> int:
        """Bytes of the state."""
        return _size(self._now().tensors())

    def _now(self) -> "_Run | _Untrained":
        if self.run.at != self.epoch:
            raise RuntimeError(f"epoch {self.epoch} is over: the run is at epoch {self.run.at}")
        return self.run


def pretrain(
    config: Pretrain,
    data: Data,
    state: State | None = None,
    epoch: int = 0,
    test: Data | None = None,
    among: Processes = ALONE,
) -> Iterator[Progress]:
    """Trains an encoder, epoch by epoch, on the device of `data.index`.

    `state` and `epoch` are of an earlier run's last `Progress`: training goes on after that epoch, and on a CPU ends
    with the same bytes as if it had never stopped. A row has the mean over the epoch's steps of the loss and of each
    weighted term, the seconds spent training and the processor's, view-images processed and peak memory in MiB, all of
    this epoch, and `images`, the number trained on (DIET's N); with an online probe also `probe_loss`, the mean of its
    cross-entropy, which is no part of `loss`, and `probe_accuracy`, the share of `test` (clean, encoder in evaluation
    mode) that it has right after this epoch. The best over epochs is chosen on `test`, and no more than that.
    `warmup_seconds` are a process's own, before its first epoch: see `_Run.warm_up`; `compiled` is 1 where views and
    model are compiled.

    `among` several processes each call this with the same arguments, `data` on a device of their own; they come to the
    same weights and rows, but for seconds and memory, and to those of one process but for rounding.

    A loss that is not finite ends the run: its last row says so in `diverged`, with epoch and step, and has neither
    weights nor state.

    Raises `Problem` where config and images do not go together; ValueError without the labels or the test images that
    the config needs.
    """
    if isinstance(config.method, Untrained):
        found = _Untrained(config, data)
        yield Progress(1, found.row, found)
        return
    run = _Run(config, data, test, among)
    if state is not None:
        run.restore(state)
    run.warm_up(epoch + 1)
    for now in range(epoch + 1, config.epochs + 1):
        row = run.epoch(now)
        if "diverged" in row:
            yield Progress(now, row, run)
            return
        yield Progress(now, row | run.read_out(), run)


class _Untrained:
    """The encoder as it starts, its batch-norm statistics the mean over batches of clean training images."""

    at = 1

    def __init__(self, config: Pretrain, data: Data) -> None:
        count, channels, height, _ = data.pixels.shape
        side, device = config.augmentation.size or height, data.index.device
        self.encoder = nets.build(config.encoder, config.projector, channels, side, config.seed).encoder.to(device)
        start, worked = time.perf_counter(), time.process_time()
        with torch.no_grad():
            self._set_statistics(config, data)
        self.row: Row = {"epoch": 1, "loss": 0.0, "seconds": round(time.perf_counter() - start, 4)}
        self.row["cpu_seconds"] = round(time.process_time() - worked, 4)
        self.row |= {"warmup_seconds": 0.0, "images": count, "view_images": 0, "peak_mib": _peak_mib(device)}

    def _set_statistics(self, config: Pretrain, data: Data) -> None:
        for module in self.encoder.train().modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                module.momentum = None  # torch's word for the mean of all batches, each counted once
        for pixels in data.pixels.split(config.batch):
            if len(pixels) == min(config.batch, len(data.index)):  # a smaller batch would count as much as a whole one
                clean = views.clean(pixels.to(data.index.device), config.augmentation)
                self.encoder(clean.contiguous(memory_format=torch.channels_last))

    def weights(self) -> State:
        return _on_cpu(self.encoder.state_dict())

    def state(self) -> State:
        return {}

    def tensors(self) -> State:
        return {}


class _Run:
    """Everything that changes while a cell trains."""

    def __init__(self, config: Pretrain, data: Data, test: Data | None, among: Processes = ALONE) -> None:
        self.config, self.data, self.test, self.device = config, data, test, data.index.device
        self.among = among
        devices.settle(config.deterministic)
        count, channels, height, _ = data.pixels.shape
        if found := list(feasible.pretrain(config, feasible.Held(count, None, None, channels, height))):
            raise Problem(f"{label(config)}: {'; '.join(found)}")
        self.steps = count // config.batch if config.drop_last else math.ceil(count / config.batch)
        last = config.batch if config.drop_last else count - (self.steps - 1) * config.batch
        if last < among.count:
            raise Problem(f"{label(config)}: {among.count} devices, and {_images(last)} in a batch; take fewer devices")
        self.rates = optim.rates(config, self.steps)
        side = min(config.augmentation.size or height, config.crops.size if config.crops else height)
        model = nets.build(config.encoder, config.projector, channels, side, config.seed)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        among.normalise_together(self.model)
        if config.recompute:
            nets.recompute(self.model.encoder)
        classes = _classes(data, test)
        self.objective = losses.objective(losses.Setting(config, self.model, count, classes, self.rates, among))
        self.parts: dict[str, nn.Module] = {"model": self.model, "objective": self.objective}
        if config.online_probe:
            if not classes or test is None:
                raise ValueError("online_probe: needs labels and test images")
            self.parts["probe"] = nets.linear(self.model.features, classes, nets.stream(config.seed, _PROBE)).to(
                self.device
            )
        self.updates = optim.Updates(config.optimizer, [_group(part) for part in self.parts.values()])
        self.augment = views.augment
        # Tensors, or torch.compile would compile again for each seed.
        self.seeds = [torch.full((), seed, device=self.device) for seed in _view_seeds(config)]
        self.at, self.warmup = 0, 0.0
        open_ = devices.can_compile(self.device) and not config.recompute and not config.deterministic
        open_ = open_ and among.count == 1  # how long the others wait in a step is no part of a graph
        self.compiled: bool | None = None if open_ else False  # None: not decided yet

    def compile(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Views and networks are compiled by the next step, with what earlier runs left in the compiler's cache."""
        devices.compiled_for_all()
        self.augment = torch.compile(views.augment, dynamic=False, backend=backend)
        for part in self.parts.values():
            for net in part.modules():
                if isinstance(net, nets.Model):  # a method's second network too
                    net.compile(dynamic=False, backend=backend)  # in place: its state's names stay

    def warm_up(self, epoch: int) -> None:
        """Steps that are undone: this process's first, a device's start-up in it, and what tells if compiling pays.

        So an epoch's seconds are those of its steps, in whichever process it runs. On a GPU a few more steps are timed,
        and the cell is compiled where the rest of it is then over sooner. That is decided once a cell, by the clock,
        and is part of its state: whoever goes on from there goes on in the same way.
        """
        start, held = self.waited(), self.tensors()
        room = is_resident(_size(held), self.device)
        held = _copied(held, self.device if room else torch.device("cpu"))
        if not self.compiled:
            self.trial(epoch, 1)
        if self.compiled is None:
            left = (self.config.epochs - epoch + 1) * self.steps
            self.compiled = devices.earns_compiling(self.trial(epoch, TRIED) / TRIED * left)
        if self.compiled:
            self.compile()
            self.trial(epoch, 1)
        self.load(held)
        self.warmup = self.waited() - start

    def trial(self, epoch: int, count: int) -> float:
        """The seconds of `count` steps on an epoch's first images."""
        order, start = self.order(epoch)[: self.config.batch], self.waited()
        self.model.train()
        with nets.seeded(0, self.device):
            for row, pixels in batches(self.data, order.repeat(count), len(order), self.among.share):
                self.step(pixels, row, epoch, 0)
        return self.waited() - start

    def order(self, epoch: int) -> Int64[Tensor, "datum"]:
        """The rows in the order in which an epoch takes them, on the host."""
        return torch.randperm(len(self.data.index), generator=_generator(self.config.seed, epoch))

    def epoch(self, epoch: int) -> Row:
        config, self.at = self.config, epoch
        order = self.order(epoch)
        taken = order[: self.steps * config.batch]
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        totals: dict[str, Tensor] = {}
        bad = torch.full((), -1, device=self.device)
        # What each process computes for itself of the same numbers may differ in last bits: no further than an epoch.
        if self.among.count > 1:
            self.among.as_first(tensor for name, tensor in self.tensors().items() if not name.startswith("model/"))
        start, worked = time.perf_counter(), time.process_time()
        self.model.train()
        with nets.seeded(self.noise(epoch), self.device):
            for step, (row, pixels) in enumerate(batches(self.data, taken, config.batch, self.among.share)):
                with self.whole_alone(len(row)):
                    terms = self.step(pixels, row, epoch, step)
                for name, term in terms.items():
                    totals[name] = totals.get(name, 0) + term
                # remembered on the device and read once an epoch: asking every step would stop the device every step
                bad = torch.where((bad < 0) & ~torch.isfinite(terms["loss"]), step, bad)
        self.among.as_first([bad])
        log: Row = {"epoch": epoch, **{name: float(total) / self.steps for name, total in totals.items()}}
        # After the reads above, so the device has finished.
        log["seconds"] = round(time.perf_counter() - start, 4)
        log["cpu_seconds"] = round(self.among.total(time.process_time() - worked, self.device), 4)
        log["warmup_seconds"], self.warmup = round(self.warmup, 4), 0.0
        log["compiled"] = int(bool(self.compiled))
        log["images"] = len(order)  # that it trains on, whether or not an epoch's whole batches take them all
        log["view_images"] = len(taken) * all_views(config)
        log["peak_mib"] = _peak_mib(self.device)
        if int(bad) >= 0:
            log["diverged"] = f"epoch {epoch}, step {int(bad) + 1} of {self.steps}: the loss is not finite"
        return log

    def noise(self, epoch: int) -> int:
        """The seed of an epoch's dropout: each process has numbers of its own."""
        return nets.stream(self.config.seed * 1_000_003 + epoch + (self.among.rank << 20), _NOISE)

    def whole_alone(self, images: int) -> AbstractContextManager[object]:
        """Within it, what is compiled is used for whole batches alone: an epoch's smaller last one would be another."""
        smaller = images < min(self.config.batch, len(self.data.index))
        return torch.compiler.set_stance("force_eager") if self.compiled and smaller else nullcontext()

    def waited(self) -> float:
        """The time, once the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def step(
        self, pixels: UInt8[Tensor, "share channel height width"], row: Int64[Tensor, "batch"], epoch: int, step: int
    ) -> dict[str, Tensor]:
        config, data, among = self.config, self.data, self.among
        drawn = self.draw(pixels, data.index[row[among.share(len(row))]], epoch)
        before = (epoch - 1) * self.steps + step
        batch = losses.Batch(drawn[0], row, None if data.label is None else data.label[row], before)
        passed = [nets.project(self.model, part, config.batch_norm, config.precision) for part in drawn]
        embedding, z = (torch.cat(parts) for parts in zip(*passed, strict=True))
        terms = self.objective(among.whole(z.float(), len(row)), batch)
        loss = torch.stack(list(terms.values())).sum()
        aside = self.probe_loss(embedding, batch)
        torch.autograd.backward((loss, *aside.values()))
        among.sum_gradients(self.model.parameters())
        self.updates.step(self.rates[before])
        self.objective.after_step(batch)
        return {"loss": loss.detach(), **{name: term.detach() for name, term in (terms | aside).items()}}

    def draw(
        self, pixels: UInt8[Tensor, "batch channel height width"], index: Int64[Tensor, "batch"], epoch: int
    ) -> list[Float[Tensor, "views batch channel side side"]]:
        """The views of these images, those of each size in a tensor of their own."""
        config, policy = self.config, self.config.augmentation
        # A tensor, or torch.compile would compile again each epoch.
        now = torch.full((), epoch, device=self.device)
        found = [self.augment(pixels, index, config.views, policy, self.seeds[0], now)]
        if (crops := config.crops) is not None:
            scale = crops.crop_scale or policy.crop_scale
            policy = msgspec.structs.replace(policy, size=crops.size, crop_scale=scale)
            found.append(self.augment(pixels, index, crops.views, policy, self.seeds[1], now))
        return found

    def probe_loss(self, embedding: Float[Tensor, "views share feature"], batch: losses.Batch) -> dict[str, Tensor]:
        """The online probe's cross-entropy, whose gradient ends at the embedding; nothing without a probe."""
        if "probe" not in self.parts or batch.label is None:
            return {}
        rows = self.among.whole(embedding.detach().float(), len(batch.row))
        logits = self.parts["probe"](rows.flatten(0, 1))
        return {"probe_loss": F.cross_entropy(logits, batch.label.repeat(len(rows)))}

    @torch.no_grad()
    def read_out(self) -> Row:
        """The online probe's accuracy on clean test images; nothing without a probe."""
        if "probe" not in self.parts or self.test is None or self.test.label is None:
            return {}
        read = nn.Sequential(self.model.encoder, self.parts["probe"]).eval()
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        for pixels, true in zip(self.test.pixels.split(CHUNK), self.test.label.split(CHUNK), strict=True):
            clean = views.clean(pixels.to(self.device), self.config.augmentation).contiguous(
                memory_format=torch.channels_last
            )
            right += (read(clean).argmax(1) == true).sum()
        return {"probe_accuracy": int(right) / len(self.test.label)}

    def weights(self) -> State:
        return _on_cpu(self.model.encoder.state_dict())

    def state(self) -> State:
        """A copy of `tensors`, and how the cell is computed."""
        return {**_on_cpu(self.tensors()), _COMPILED: torch.tensor(bool(self.compiled))}

    def restore(self, state: State) -> None:
        self.load({name: part for name, part in state.items() if name != _COMPILED})
        began = bool(state[_COMPILED])
        if self.compiled is None:
            self.compiled = began
        elif (
            began and self.among.count == 1 and self.device.type == "cuda"
        ):  # on a CPU nothing is compiled, and the log says so
            raise Problem(f"{label(self.config)}: began compiled, and there is no compiler for C here; install gcc")

    def tensors(self) -> State:
        """Model, objective, probe and optimiser as one flat mapping of the tensors themselves."""
        flat = {f"{part}/{name}": held for part in self.parts for name, held in self.parts[part].state_dict().items()}
        return flat | {f"updates/{name}": slot for name, slot in self.updates.state().items()}

    def load(self, tensors: State) -> None:
        for part, module in self.parts.items():
            before = f"{part}/"
            module.load_state_dict({n.removeprefix(before): p for n, p in tensors.items() if n.startswith(before)})
        before = "updates/"
        self.updates.restore({n.removeprefix(before): p for n, p in tensors.items() if n.startswith(before)})


def _view_seeds(config: Pretrain) -> tuple[int, int]:
    """Of the views, and of those of another size."""
    return config.seed, nets.stream(config.seed, _CROPS)


def _group(part: nn.Module) -> optim.Group:
    """A part's trained parameters, with the factors that it asks for."""
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    return optim.Group(trained, getattr(part, "lr_factor", 1.0), getattr(part, "decay_factor", 1.0))


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def _classes(data: Data, test: Data | None) -> int:
    """One more than the largest label; 0 without labels."""
    labels = [part.label for part in (data, test) if part is not None and part.label is not None]
    return 1 + max(int(found.max()) for found in labels) if labels else 0


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _on_cpu(state: State) -> State:
    return {name: part.contiguous() for name, part in _copied(state, torch.device("cpu")).items()}


def _copied(state: State, device: torch.device) -> State:
    return {name: part.detach().to(device, copy=True) for name, part in state.items()}


def _size(state: State) -> int:
    """In bytes."""
    return sum(part.nbytes for part in state.values())


def _peak_mib(device: torch.device) -> int:
    """Peak memory: a GPU's as torch allocated it in this epoch; on a CPU the whole process's so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
