"""An experiment, or a named block, as params.yaml gives it → blocks, each over what it is like.

A block lies over another field by field. A part whose `name` it gives is given whole, and fields that a list gives
together (`paired`, mappings in a list) can only be given anew together.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from entia.planning import layering, mistakes, reading
from entia.planning.layering import Axis, Mistake
from entia.planning.like import Beside

MOST = 1_000
"""Blocks of one name: each `like` stands for all blocks of another."""


@dataclass(frozen=True)
class Block:
    """A block whose values are right, each for itself."""

    place: str
    said: Mapping[str, Any]
    """What it says besides fields."""
    paired: list[Axis]
    """The axis of fields that go together; none where none do."""
    own: list[Axis]

    @property
    def axes(self) -> list[Axis]:
        """All of its axes."""
        return [*self.paired, *self.own]

    @property
    def arm(self) -> str:
        """Its label."""
        return str(self.said.get("arm", ""))

    @property
    def recipe(self) -> str | None:
        """The recipe that its cells follow."""
        return self.said.get("recipe")


Blocks = list[Block]


def read(
    named: Mapping[str, Any], experiments: Mapping[str, Any], recipes: Mapping[str, Any], told: list[str]
) -> dict[str, Blocks]:
    """The blocks of each experiment; mistakes, those of named blocks too, are told."""
    told += [f"blocks.{name}: an experiment has this name too; rename one" for name in named if name in experiments]

    every = {**experiments, **named}

    def make(name: str, beside: Beside[Blocks]) -> Blocks:
        place, part = f"{'blocks' if name in named else 'experiments'}.{name}", every[name]
        found: Blocks = []
        for where, given in _places(place, part):
            told.extend(_empty(given, where, every))
            found += _blocks(given, where, recipes, beside, told)
            if len(found) > MOST:
                told.append(f"{place}: stands for more than {MOST:,} blocks; shorten what it is like")
                return []
        return found

    found = Beside([*named, *experiments], make, told).all()
    return {name: found[name] for name in experiments}


def _empty(given: Any, place: str, every: Mapping[str, Any]) -> Iterator[str]:
    """A mistake for each name that a block is like and that is left out: the block would stand for nothing."""
    for name in given.get(reading.LIKE, []) if isinstance(given, dict) else ():
        if every.get(name) == []:
            yield (
                f"line {name.line}: {place}.{reading.LIKE}: {name}: is [], an experiment left out at this scale, so "
                f"nothing would be run; give {name} a block, or make {place.split('[')[0]} [] too"
            )


def _places(place: str, part: Any) -> list[tuple[str, Any]]:
    if isinstance(part, list):
        return [(f"{place}[{position}]", given) for position, given in enumerate(cast("list[Any]", part))]
    return [(place, part)]


def _blocks(part: Any, place: str, recipes: Mapping[str, Any], beside: Beside[Blocks], told: list[str]) -> Blocks:
    """One block over each block of what it is like, or none where there is a mistake."""
    if not isinstance(part, dict):
        told.append(f"{place}: {mistakes.shown(part)} is not a mapping of fields to values or lists of values")
        return []
    given = cast("dict[str, Any]", part)
    wrong = list(_labels(given, place, recipes))
    found: Blocks = []
    try:
        block = Block(
            place, {name: given[name] for name in layering.APART if name in given}, *layering.axes(given, place)
        )
        wrong += layering.wrong(block.axes)
        found = _over(beside.under(given, place), block)
    except Mistake as mistake:
        wrong.append(str(mistake))
    wrong += [mistake for laid in found for mistake in layering.wrong(laid.axes)]
    told += wrong
    return [] if wrong else found


def _labels(given: Mapping[str, Any], place: str, recipes: Mapping[str, Any]) -> Iterator[str]:
    arm, recipe = given.get("arm", ""), given.get("recipe")
    if isinstance(arm, bool) or not isinstance(arm, str | int | float) or "\n" in str(arm):
        yield f"{place}.arm: {mistakes.shown(arm)} is not a label of one line; write a block for each arm"
    if recipe is not None and not (isinstance(recipe, str) and recipe in recipes):
        known = ", ".join(recipes) or "(none defined)"
        yield f"{place}.recipe: {mistakes.shown(recipe)} is not one of {known}"


def _over(below: list[Blocks], block: Block) -> Blocks:
    """A block over every choice of one block from each name that it is like."""
    if math.prod(map(len, below)) > MOST:
        raise Mistake(f"{block.place}: stands for more than {MOST:,} blocks; shorten what it is like")
    return [
        functools.reduce(functools.partial(_laid, block.place), [*chosen, block])
        for chosen in itertools.product(*below)
    ]


def _laid(place: str, under: Block, over: Block) -> Block:
    """One block over another; what it gives anew stands where it stood.

    Raises `Mistake` where it gives a part of what goes together.
    """
    parts = tuple(path.removesuffix("name") for path in layering.given(over.axes) if path.endswith(".name"))
    anew = {path for path in layering.given(under.axes) if _meets({path}, over.axes, parts)}
    own: list[Axis] = []
    left = over.own
    for axis in under.own:
        here = [other for other in left if _meets(layering.given([axis]), [other], parts)]
        left = [other for other in left if other not in here]
        own += here + _kept([axis], anew, place)
    paired = over.paired if "paired" in over.said else _kept(under.paired, anew, place)
    return replace(over, said={**under.said, **over.said}, paired=paired, own=own + left)


def _meets(fields: set[str], axes: list[Axis], parts: tuple[str, ...]) -> bool:
    """Whether one of the axes gives one of the fields: it, what it lies in, what lies in it, or its renamed part."""
    pairs = ((f"{one}.", f"{other}.") for one in fields for other in layering.given(axes))
    return any(
        one.startswith(other)
        or other.startswith(one)
        or any(one.startswith(part) and other.startswith(part) for part in parts)
        for one, other in pairs
    )


def _kept(axes: list[Axis], anew: set[str], place: str) -> list[Axis]:
    """What remains of axes whose fields are given anew, each axis whole or not at all unless it is one choice."""
    found: list[Axis] = []
    for axis in axes:
        fields = layering.given([axis])
        if len(axis) == 1:
            kept = {path: leaf for path, leaf in axis[0].items() if path not in anew}
            found += [[kept]] if kept else []
        elif not fields & anew:
            found.append(axis)
        elif left := sorted(fields - anew):
            where = next(choice[path].place for choice in axis for path in choice)
            raise Mistake(
                f"{place}: gives {', '.join(sorted(fields & anew))}, which {where} gives together with "
                f"{', '.join(left)}; give all of them here"
            )
    return found
