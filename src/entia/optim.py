"""The learning rate's course, and the optimisers' update rules: PyTorch's own functions without its Optimizer class.

The class imports PyTorch's compiler on its first call, which takes longer than a laptop cell's embedding and readout
together; and its state, here, is one flat mapping of tensors, as a resumable file wants it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from entia import config

TRUST = 1e-3
"""LARS: a step's length as a share of the weights' (1708.03888)."""


class Group(NamedTuple):
    """Parameters that share factors of the learning rate and of the weight decay."""

    parameters: list[torch.nn.Parameter]
    lr_factor: float = 1.0
    decay_factor: float = 1.0


class Updates:
    """Steps of one optimiser over groups of parameters; a parameter without a gradient is left alone."""

    def __init__(self, rule: config.Optimizer, groups: list[Group]) -> None:
        self.rule, self.groups = rule, groups
        self.slots: list[dict[str, Tensor]] = [_slots(rule, p) for group in groups for p in group.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update by the gradients at hand, which are dropped."""
        at = 0
        for group in self.groups:
            slots = self.slots[at : at + len(group.parameters)]
            at += len(slots)
            found = [(p, s) for p, s in zip(group.parameters, slots, strict=True) if p.grad is not None]
            if found:
                parameters, states = map(list, zip(*found, strict=True))
                self._update(parameters, states, lr * group.lr_factor, self.rule.weight_decay * group.decay_factor)
            for parameter in group.parameters:
                parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Every slot, by the parameter's position and the slot's name."""
        return {f"{position}/{name}": slot for position, slots in enumerate(self.slots) for name, slot in slots.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes up an earlier `state`."""
        for name, slot in self.state().items():
            slot.copy_(state[name])

    def _update(self, parameters: list[Tensor], slots: list[dict[str, Tensor]], lr: float, decay: float) -> None:
        rule = self.rule
        gradients: list[Tensor] = [parameter.grad for parameter in parameters]  # pyright: ignore[reportAssignmentType]
        if config.is_adam(rule):
            adam(
                parameters,
                gradients,
                [slot["mean"] for slot in slots],
                [slot["square"] for slot in slots],
                [],
                [slot["step"] for slot in slots],
                fused=True,
                decoupled_weight_decay=rule.name == "adamw",
                amsgrad=False,
                beta1=rule.betas[0],
                beta2=rule.betas[1],
                lr=lr,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )
            return
        if rule.name == "lars":  # decay enters before the trust ratio, so not again in sgd
            _scale_to_weights(parameters, gradients, decay)
            decay = 0.0
        sgd(
            parameters,
            gradients,
            [slot["momentum"] for slot in slots],
            fused=True,
            weight_decay=decay,
            momentum=rule.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


def learning_rate(rule: config.Optimizer, progress: float, epochs: int, batch: int) -> float:
    """The learning rate after `progress` epochs (a fraction within an epoch counts) of a run of `epochs`."""
    top = config.rate(rule, batch)
    warmup, start, flat, floor = config.COURSES.get(rule.schedule, (rule.warmup, 0.0, 0.0, rule.floor))
    if progress < warmup:
        return start * top + (1 - start) * top * progress / warmup
    if rule.schedule == "constant":
        return top
    if rule.schedule == "step":
        return top * 0.1 ** sum(progress >= share * epochs for share in (0.5, 0.75))
    done = (progress - warmup - flat) / max(epochs - warmup - flat, 1e-12)
    return top * (floor + (1 - floor) * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2)


def rates(of: config.Pretrain, steps: int) -> list[float]:
    """The learning rate at each step of a run whose epochs have so many."""
    progress = (epoch + step / steps for epoch in range(of.epochs) for step in range(steps))
    return [learning_rate(of.optimizer, done, of.epochs, of.batch) for done in progress]


def _slots(rule: config.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    if config.is_adam(rule):
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return {"mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter), "step": step}
    return {"momentum": torch.zeros_like(parameter)}


def _scale_to_weights(parameters: list[Tensor], gradients: list[Tensor], decay: float) -> None:
    """Scales each weight matrix's gradient, decay included, to `TRUST` × the weights' norm; leaves vectors alone.

    (g + λw) TRUST ‖w‖ / ‖g + λw‖, as the published codes of Barlow Twins and VICReg have it. LARS (1708.03888, eq. 6)
    divides by ‖g‖ + λ‖w‖, which is never smaller: its steps are never longer than these.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.ndim > 1:
            gradient.add_(parameter, alpha=decay)
            ratio = TRUST * parameter.norm() / gradient.norm().clamp_min(1e-12)
            gradient.mul_(torch.where(ratio > 0, ratio, 1.0))
