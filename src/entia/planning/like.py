"""`like: NAME` → what NAME stands for: something that stands beside a part, which is laid over it.

Data set beside data set, recipe beside recipe, a method's part beside another's in one recipe; and an experiment, or a
block of one, beside the experiments and named blocks of its scale: nobody looks further than that for a name. Several
names lie upon each other in their order.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from entia.planning import mistakes, reading

T = TypeVar("T")


class Beside(Generic[T]):
    """What stands beside each other, by name: each made when it is first asked for, and once."""

    def __init__(self, names: Iterable[str], make: Callable[[str, "Beside[T]"], T], told: list[str]) -> None:
        self._names = tuple(names)
        self._make = make
        self._told = told
        self._made: dict[str, T] = {}
        self._begun: list[str] = []

    def of(self, name: str) -> T:
        """What a name stands for."""
        if name not in self._made:
            self._begun.append(name)
            self._made[name] = self._make(name, self)
            self._begun.pop()
        return self._made[name]

    def all(self) -> dict[str, T]:
        """What every name stands for."""
        return {name: self.of(name) for name in self._names}

    def under(self, part: Mapping[str, Any], place: str) -> list[T]:
        """What a part is like, in the order in which it lies below; a name that stands for nothing is told."""
        names: list[reading.Name] = part.get(reading.LIKE, [])
        wrong = {name: why for name in names if (why := self._wrong(name))}
        self._told += [f"line {name.line}: {place}.{reading.LIKE}: {name}: {why}" for name, why in wrong.items()]
        return [self.of(name) for name in names if name not in wrong]

    def _wrong(self, name: str) -> str:
        if name not in self._names:
            return f"unknown; {mistakes.hint(name, self._names)}"
        if name in self._begun:
            circle = " → ".join([*self._begun[self._begun.index(name) :], name])
            return f"is like itself ({circle}); write out the fields of one of them"
        if len(self._begun) > reading.DEEPEST:
            return f"more than {reading.DEEPEST} names, each like the next; write out the fields of one of them"
        return ""
