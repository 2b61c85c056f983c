"""How many settings of a run were tried on held-out images: the budget that its method was tuned with."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from entia.config import Pretrain, Readout

WEIGHTS = ("weight", "invariance", "variance")
"""Fields of a method that hold a weight."""
ASIDE = ("seed", "checkpoint_every", "online_probe")
"""Fields of a cell that are no setting: what runs are repeated over, and what changes nothing of what they learn."""

Shown = tuple[str, str]
"""An experiment, and a readout's name in it."""
_Tried = defaultdict[tuple[str, str], defaultdict[int, set[str]]]
"""(Experiment, kind of cell) → seed → settings that it ran."""


def tried(shown: Iterable[Shown], readouts: Mapping[str, Readout]) -> dict[Shown, int]:
    """How many learning rates and weights a plan's tuning seed tried for each of these readouts.

    A tuning seed ran cells that differ from the readout's in nothing else, held images out, and is not judged in the
    readout's experiment. 1 where there is none: the readout's own setting alone, so that it was not tuned.
    """
    asked = dict.fromkeys(shown)
    kinds = {name: _parts(readout.embed.pretrain) for name, readout in readouts.items()} if asked else {}
    own, planned = _by_seed(asked, kinds), _by_seed((("", name) for name in kinds), kinds)

    def count(experiment: str, name: str) -> int:
        judged = _judged(own[experiment, kinds[name][0]])
        others = [len(found) for seed, found in planned["", kinds[name][0]].items() if seed not in judged]
        return max(others, default=1) if readouts[name].embed.pretrain.subset.validation else 1

    return {pair: count(*pair) for pair in asked}


def _judged(seeds: Mapping[int, set[str]]) -> set[int]:
    """The seeds of an experiment that did not run more settings than another of its seeds did."""
    least = min(map(len, seeds.values()))
    return {seed for seed, found in seeds.items() if len(found) == least}


def _by_seed(shown: Iterable[Shown], kinds: Mapping[str, tuple[str, int, str]]) -> _Tried:
    found: _Tried = defaultdict(lambda: defaultdict(set))
    for experiment, name in shown:
        kind, seed, setting = kinds[name]
        found[experiment, kind][seed].add(setting)
    return found


def _parts(cell: Pretrain) -> tuple[str, int, str]:
    """A cell's config without its settings, its seed, and its settings."""
    content = msgspec.to_builtins(cell)
    setting = [content["optimizer"].pop("lr"), *(content["method"].pop(name, None) for name in WEIGHTS)]
    kept = {name: value for name, value in content.items() if name not in ASIDE}
    return json.dumps(kept, sort_keys=True), cell.seed, json.dumps(setting)
