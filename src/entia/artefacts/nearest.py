"""Which artefact's config is nearest to a planned one, and the fields in which the two differ."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from entia.artefacts import store
from entia.config import Embed, Stage, Subset
from entia.planning import mistakes
from entia.planning.columns import leaves

AROUND: dict[type[Stage], str] = {Subset: "subset.", Embed: "embed."}
"""Where params.yaml has a stage's own fields; a run's stand at the top of a block, and so do a readout's."""
ABSENT = object()


def nearest(data: Path, stage: Stage) -> tuple[Path, list[str]] | None:
    """The artefact of the same stage that differs in the fewest fields, and each of these with both values.

    None where none lies there. Its bytes are not checked: it is only looked at.
    """
    planned, file = _fields(stage), store.path(data, stage)
    found = ((other, store.glance(other)) for other in sorted(file.parent.glob(f"*{file.suffix}")) if other != file)
    there = [(other, _fields(_filled(said, stage))) for other, said in found if said]
    if not there:
        return None
    other, fields = min(there, key=lambda pair: len(differences(pair[1], planned)))
    return other, differences(*_renamed(fields, planned))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The fields in which two differ: `optimizer.lr: 0.001 → 0.002`."""
    found = {
        name: f"{_shown(before.get(name, ABSENT))} → {_shown(now.get(name, ABSENT))}"
        for name in {**before, **now}
        if before.get(name, ABSENT) != now.get(name, ABSENT)
    }
    # what is read out is a subset of its own, and takes these fields from the one that was trained on
    follows = {name for name in found if found.get(name.replace("embed.on.", "subset.", 1)) == found[name]}
    return [f"{name}: {how}" for name, how in found.items() if not (name.startswith("embed.on.") and name in follows)]


def _renamed(before: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configs without the fields of a part that one has as one kind and the other as another, but for its name."""
    parts = [path.removesuffix("name") for path in now if path.endswith(".name") and before.get(path) != now[path]]
    kinds = [part for part in parts if {*_of(part, before)} != {*_of(part, now)}]
    dropped = {path for part in kinds for path in (*_of(part, before), *_of(part, now)) if path != f"{part}name"}
    before, now = ({path: side[path] for path in side if path not in dropped} for side in (before, now))
    return before, now


def _of(part: str, fields: Mapping[str, Any]) -> list[str]:
    return [path for path in fields if path.startswith(part)]


def _fields(config: Stage | tuple[type[Stage], Mapping[str, Any]]) -> dict[str, Any]:
    """A config's values by their dotted paths, in params.yaml's words."""
    kind, said = config if isinstance(config, tuple) else (type(config), msgspec.to_builtins(config))
    found = leaves(said, AROUND.get(kind, ""))
    listed = ((path, list(value) if isinstance(value, tuple) else value) for path, value in found)
    return {path.removeprefix("embed.pretrain."): value for path, value in listed}


def _filled(said: Mapping[str, Any], stage: Stage) -> Stage | tuple[type[Stage], Mapping[str, Any]]:
    """A config with the defaults of fields that came after it; as it is where it has fields that are no more."""
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(said, type(stage))
    return type(stage), said


def _shown(value: object) -> str:
    return "nothing" if value is ABSENT else mistakes.shown(value)
