"""One training loop for every method: views, encoder, projector, loss, update. Variation is data."""

import math
import resource
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from entia import losses, nets, views
from entia.config import Optimizer, Pretrain, Problem, label

Row = dict[str, float | int | str]
State = dict[str, Tensor]


class Data(NamedTuple):
    """Training images on the device that trains."""

    pixels: UInt8[Tensor, "datum channel height width"]
    index: Int64[Tensor, "datum"]


class Progress(NamedTuple):
    """What an epoch leaves: its log row, the encoder's weights, and all that is needed to go on from here."""

    epoch: int
    row: Row
    weights: State
    state: State


def pretrain(config: Pretrain, data: Data, state: State | None = None, epoch: int = 0) -> Iterator[Progress]:
    """Trains an encoder, epoch by epoch, on the device of `data`.

    `state` and `epoch` are an earlier run's last `Progress`: training goes on after that epoch, and on a CPU ends with
    the same bytes as if it had never stopped. A row has the mean over the epoch's steps of the loss and of each
    weighted term, the seconds spent training, view-images processed and peak memory in MiB, all of this epoch.
    Raises `Problem` when a loss is not finite, naming the epoch and step.
    """
    run = _Run(config, data)
    if state is not None:
        run.restore(state)
    for now in range(epoch + 1, config.epochs + 1):
        row = run.epoch(now)
        yield Progress(now, row, run.weights(), run.state())


def is_kept(config: Pretrain, epoch: int) -> bool:
    """Whether an epoch's weights are asked for."""
    return epoch == config.epochs or bool(config.checkpoint_every and epoch % config.checkpoint_every == 0)


def learning_rate(config: Optimizer, progress: float, epochs: int) -> float:
    """The learning rate after `progress` epochs (a fraction within an epoch counts) of a run of `epochs`."""
    if progress < config.warmup:
        return config.lr * progress / config.warmup
    if config.schedule == "step":
        return config.lr * 0.1 ** sum(progress >= share * epochs for share in (0.5, 0.75))
    if config.schedule == "cosine":
        done = (progress - config.warmup) / max(epochs - config.warmup, 1e-12)
        return config.lr * (config.floor + (1 - config.floor) * (1 + math.cos(math.pi * min(done, 1.0))) / 2)
    return config.lr


class _Run:
    """Everything that changes while a cell trains."""

    def __init__(self, config: Pretrain, data: Data) -> None:
        self.config, self.data, self.device = config, data, data.pixels.device
        _, channels, height, _ = data.pixels.shape
        side = config.augmentation.size or height
        model = nets.build(config.encoder, config.projector, channels, side, config.seed)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.loss = losses.build(config.method)
        self.parameters = list(self.model.parameters())
        self.optimizer = _optimizer(config.optimizer, self.parameters, self.device)
        count = len(data.index)
        self.steps = count // config.batch if config.drop_last else math.ceil(count / config.batch)
        if self.steps == 0:
            raise Problem(f"{label(config)}: a batch of {config.batch} is more than its {count} images; lower `batch`")

    def epoch(self, epoch: int) -> Row:
        config = self.config
        order = torch.randperm(len(self.data.index), generator=_generator(config.seed, epoch)).to(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        totals: dict[str, Tensor] = {}
        bad = torch.full((), -1, device=self.device)
        start = time.perf_counter()
        self.model.train()
        for step in range(self.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(config.optimizer, epoch - 1 + step / self.steps, config.epochs)
            terms = self.step(order[step * config.batch : (step + 1) * config.batch], epoch)
            for name, term in terms.items():
                totals[name] = totals.get(name, 0) + term
            # remembered on the device and read once an epoch: asking every step would stop the device every step
            bad = torch.where((bad < 0) & ~torch.isfinite(terms["loss"]), step, bad)
        if int(bad) >= 0:
            raise Problem(
                f"{label(config)}: the loss is not finite in epoch {epoch}, step {int(bad) + 1} of {self.steps}; "
                "lower optimizer.lr or the loss weights"
            )
        row: Row = {"epoch": epoch, **{name: float(total) / self.steps for name, total in totals.items()}}
        row["seconds"] = round(time.perf_counter() - start, 4)  # after the reads above, so the device has finished
        row["view_images"] = min(self.steps * config.batch, len(order)) * config.views
        row["peak_mib"] = _peak_mib(self.device)
        return row

    def step(self, rows: Int64[Tensor, "batch"], epoch: int) -> dict[str, Tensor]:
        config = self.config
        batch = views.augment(
            self.data.pixels[rows], self.data.index[rows], config.views, config.augmentation, config.seed, epoch
        )
        low = config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if low else nullcontext():
            z = self.project(batch)
        terms = self.loss(z.float())
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.optimizer.name == "lars":
            _lars(self.parameters, config.optimizer.weight_decay)
        self.optimizer.step()
        return {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def project(self, batch: Float[Tensor, "views batch channel side side"]) -> Float[Tensor, "views batch dim"]:
        if self.config.batch_norm == "per_view":
            return torch.stack([self.model(view.contiguous(memory_format=torch.channels_last))[1] for view in batch])
        flat = batch.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.model(flat)[1].unflatten(0, batch.shape[:2])

    def weights(self) -> State:
        return _on_cpu(self.model.encoder.state_dict())

    def state(self) -> State:
        """Model and optimiser as one flat mapping of tensors."""
        flat = {f"model/{name}": part for name, part in self.model.state_dict().items()}
        for position, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer/{position}/{slot}": part for slot, part in slots.items() if part is not None}
        return _on_cpu(flat)

    def restore(self, state: State) -> None:
        self.model.load_state_dict({n.removeprefix("model/"): p for n, p in state.items() if n.startswith("model/")})
        slots: dict[int, State] = {}
        for name, part in state.items():
            if name.startswith("optimizer/"):
                _, position, slot = name.split("/")
                slots.setdefault(int(position), {})[slot] = part
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})


def _optimizer(config: Optimizer, parameters: list[torch.nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
    fused = device.type == "cuda"
    match config.name:
        case "adam" | "adamw":
            kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
            return kind(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=fused)
        case "sgd":
            decay = config.weight_decay
            return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=decay, fused=fused)
        case "lars":  # its decay enters before the trust ratio, in `_lars`
            return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, fused=fused)


def _lars(parameters: list[torch.nn.Parameter], weight_decay: float, trust: float = 1e-3) -> None:
    """Scales each weight matrix's gradient to `trust` × its norm; biases and norms are left alone (1708.03888, eq. 6)."""
    for parameter in parameters:
        if parameter.ndim > 1 and parameter.grad is not None:
            gradient = parameter.grad.add_(parameter.detach(), alpha=weight_decay)
            ratio = trust * parameter.detach().norm() / gradient.norm().clamp_min(1e-12)
            gradient.mul_(torch.where(ratio > 0, ratio, 1.0))


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _on_cpu(state: State) -> State:
    return {name: part.detach().to("cpu", copy=True).contiguous() for name, part in state.items()}


def _peak_mib(device: torch.device) -> int:
    """Peak memory: a GPU's as torch allocated it in this epoch; on a CPU the whole process's so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
