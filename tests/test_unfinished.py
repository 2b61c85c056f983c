"""A run's saved part: what was saved comes back, other code's is dropped, and saving never takes over its share."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entia.artefacts import store, unfinished
from entia.artefacts.unfinished import Unfinished

HEAD = {"code": "a", "config": {}}
ROWS = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
STATE = {"model/weight": torch.arange(6.0).reshape(2, 3), "updates/0/step": torch.tensor(2.0)}


@pytest.fixture
def run(tmp_path) -> Unfinished:
    return Unfinished(tmp_path / "cell.safetensors", HEAD)


def test_what_was_saved_comes_back(run):
    assert run.load() == ([], None)
    run.save(ROWS, lambda: STATE)
    rows, state = run.load()
    assert rows == ROWS and state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_what_other_code_left_is_removed_and_not_used(run, tmp_path):
    run.save(ROWS, lambda: STATE)
    run.keep(1, STATE)
    assert Unfinished(tmp_path / "cell.safetensors", HEAD | {"code": "b"}).load() == ([], None)
    assert not run.folder.exists()


def test_kept_weights_are_named_by_epoch_and_outlive_a_run(run, tmp_path):
    run.keep(3, {"weight": torch.ones(2)})
    run.keep(12, {"weight": torch.zeros(2)})
    kept = Unfinished(tmp_path / "cell.safetensors", HEAD).kept()
    assert list(kept) == ["00003/weight", "00012/weight"] and kept["00003/weight"].sum() == 2


@given(st.floats(0.001, 100), st.lists(st.floats(0.001, 1000), min_size=1, max_size=60), st.integers(0, 1 << 34))
def test_saving_takes_its_share_of_the_time_and_a_kill_costs_no_more_than_that_many_saves(cost, epochs, size):
    """Whatever an epoch takes: saves are told by the clock. The first is told by the size of what is to be saved."""
    now, spent, saved_at, first = 0.0, 0.0, 0.0, size / unfinished.RATE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unfinished, "time", SimpleNamespace(monotonic=lambda: now))
        run = Unfinished(Path("cell.safetensors"), HEAD)

        def write(*_) -> None:
            nonlocal now
            now += cost

        patch.setattr(store, "write_tensors", write)
        for seconds in epochs:
            now += seconds
            known = first if run.cost is None else cost
            if run.is_due(size):
                assert now - saved_at >= unfinished.SHARE * known * (1 - 1e-9)
                run.save(ROWS, dict)
                spent, saved_at = spent + cost, now
            else:
                assert now - saved_at <= unfinished.SHARE * known + seconds
    if cost <= first:
        assert spent <= now / unfinished.SHARE * (1 + 1e-9)


def test_the_state_is_asked_for_when_it_is_saved_and_never_else(run):
    asked = []
    run.last = float("inf")
    assert not run.is_due(1) and not asked
    run.save(ROWS, lambda: asked.append(1) or STATE)
    assert asked == [1]


def test_a_removed_run_leaves_nothing(run):
    run.save(ROWS, lambda: STATE)
    run.keep(1, STATE)
    run.remove()
    run.remove()
    assert not run.folder.exists() and run.load() == ([], None)
