"""A run's saved part: what was saved comes back, other code's is dropped, and saving never takes over its share."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from entia import store, unfinished
from entia.unfinished import Unfinished

HEAD = {"code": "a", "config": {}}
ROWS = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
STATE = {"model/weight": torch.arange(6.0).reshape(2, 3), "updates/0/step": torch.tensor(2.0)}


@pytest.fixture
def run(tmp_path) -> Unfinished:
    return Unfinished(tmp_path / "cell.safetensors", HEAD)


def test_what_was_saved_comes_back(run):
    assert run.load() == ([], None)
    run.save(ROWS, STATE)
    rows, state = run.load()
    assert rows == ROWS and state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_what_other_code_left_is_removed_and_not_used(run, tmp_path):
    run.save(ROWS, STATE)
    run.keep(1, STATE)
    assert Unfinished(tmp_path / "cell.safetensors", HEAD | {"code": "b"}).load() == ([], None)
    assert not run.folder.exists()


def test_kept_weights_are_named_by_epoch_and_outlive_a_run(run, tmp_path):
    run.keep(3, {"weight": torch.ones(2)})
    run.keep(12, {"weight": torch.zeros(2)})
    kept = Unfinished(tmp_path / "cell.safetensors", HEAD).kept()
    assert list(kept) == ["00003/weight", "00012/weight"] and kept["00003/weight"].sum() == 2


def test_a_slow_save_puts_off_the_next_ones_until_it_was_its_share_of_the_time(run, monkeypatch):
    clock = itertools.count()  # every look at the clock is a second later: a save takes one
    monkeypatch.setattr(unfinished, "time", SimpleNamespace(monotonic=clock.__next__))
    saved: list[int] = []
    for epoch in range(1, 100):
        run.save([{"epoch": epoch}], STATE)
        if run.pending is None:
            saved.append(epoch)
    gaps = [b - a for a, b in itertools.pairwise(saved)]
    assert saved[0] == 1 and len(gaps) >= 2 and min(gaps) >= unfinished.SHARE - 3


def test_what_was_put_off_is_saved_when_asked(run):
    run.next = float("inf")
    run.save(ROWS, STATE)
    assert not run.state.exists()
    run.flush()
    assert run.load()[0] == ROWS and run.pending is None


def test_a_flush_within_a_write_leaves_the_write_alone(run, monkeypatch):
    """As a signal that comes while the state is being written."""
    real, written = store.write_tensors, []

    def interrupted(*arguments) -> None:
        run.flush()
        written.append(arguments[0])
        real(*arguments)

    monkeypatch.setattr(store, "write_tensors", interrupted)
    run.save(ROWS, STATE)
    assert written == [run.state] and run.load()[0] == ROWS


def test_a_removed_run_leaves_nothing(run):
    run.save(ROWS, STATE)
    run.keep(1, STATE)
    run.remove()
    run.remove()
    assert not run.folder.exists() and run.load() == ([], None)
