import subprocess
import sys

import pytest
import torch
from torch import nn

from entia import optim
from entia.config import Optimizer

TRUSTED = {
    "adam": lambda groups, rule: torch.optim.Adam(groups, betas=rule.betas, weight_decay=rule.weight_decay),
    "adamw": lambda groups, rule: torch.optim.AdamW(groups, betas=rule.betas, weight_decay=rule.weight_decay),
    "sgd": lambda groups, rule: torch.optim.SGD(groups, momentum=rule.momentum, weight_decay=rule.weight_decay),
}


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def loss(model: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(step))
    return model(x).square().mean() + model(x).sum() / 10


@pytest.mark.parametrize("name", TRUSTED)
def test_updates_are_torchs_with_a_rate_and_a_decay_for_each_group(name):
    rule = Optimizer(name=name, weight_decay=0.1)
    ours, theirs = net(), net()
    updates = optim.Updates(
        rule, [optim.Group(list(ours[0].parameters())), optim.Group(list(ours[2].parameters()), 0.5, 2.0)]
    )
    groups = [{"params": theirs[0].parameters()}, {"params": theirs[2].parameters(), "weight_decay": 0.2}]
    trusted = TRUSTED[name](groups, rule)
    for step in range(20):
        rate = 0.02 / (1 + step)
        loss(ours, step).backward()
        updates.step(rate)
        trusted.zero_grad()
        loss(theirs, step).backward()
        for group, factor in zip(trusted.param_groups, (1.0, 0.5), strict=True):
            group["lr"] = rate * factor
        trusted.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars"])
def test_a_restored_state_goes_on_bit_for_bit(name):
    def run(steps, state=None, model=None):
        model = model or net()
        updates = optim.Updates(Optimizer(name=name, lr=0.01), [optim.Group(list(model.parameters()))])
        if state:
            updates.restore(state)
        for step in steps:
            loss(model, step).backward()
            updates.step(0.01)
        return model, {key: slot.clone() for key, slot in updates.state().items()}

    whole, _ = run(range(6))
    half, state = run(range(3))
    rest, _ = run(range(3, 6), state, half)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), rest.parameters(), strict=True))


def test_a_parameter_without_a_gradient_is_left_alone():
    model = net()
    before = [parameter.detach().clone() for parameter in model[2].parameters()]
    updates = optim.Updates(Optimizer(), [optim.Group(list(model.parameters()))])
    model[0](torch.ones(4, 5)).sum().backward()
    updates.step(0.1)
    assert all(torch.equal(now, was) for now, was in zip(model[2].parameters(), before, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_lars_steps_a_share_of_the_weights_norm_decay_and_all_and_biases_as_they_are(decay):
    weight, bias = nn.Parameter(torch.full((4, 4), 2.0)), nn.Parameter(torch.zeros(4))
    updates = optim.Updates(Optimizer(name="lars", weight_decay=decay), [optim.Group([weight, bias])])
    weight.grad, bias.grad = torch.full((4, 4), 3.0), torch.ones(4)
    before = weight.detach().clone()
    updates.step(1.0)
    assert float((weight.detach() - before).norm()) == pytest.approx(optim.TRUST * float(before.norm()), rel=1e-4)
    torch.testing.assert_close(bias.detach(), -torch.ones(4))


def test_lars_is_its_papers_equation_with_the_decay_added_to_the_gradient():
    """v ← m v + lr λ (g + β w), λ = η ‖w‖ / ‖g + β w‖; w ← w - v (1708.03888, eq. 6 and algorithm 1, here lr outside v)."""
    rule = Optimizer(name="lars", weight_decay=0.5, momentum=0.9)
    draw = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, generator=draw))
    updates, ours = optim.Updates(rule, [optim.Group([weight])]), weight.detach().clone()
    velocity = torch.zeros_like(ours)
    for step in range(3):
        gradient = torch.randn(4, 3, generator=draw)
        weight.grad = gradient.clone()
        updates.step(0.3 + step)
        toward = gradient + 0.5 * ours
        velocity = 0.9 * velocity + optim.TRUST * ours.norm() / toward.norm() * toward
        ours = ours - (0.3 + step) * velocity
        torch.testing.assert_close(weight.detach(), ours)


def test_an_update_does_not_import_torchs_compiler():
    code = (
        "import sys, torch; from entia import optim; from entia.config import Optimizer; p = torch.nn.Parameter(torch.ones(2));"
        "u = optim.Updates(Optimizer(), [optim.Group([p])]); p.sum().backward(); u.step(0.1);"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
