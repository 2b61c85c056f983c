"""Mistakes in values meant for a type: each with its place, the value, what was expected, and the remedy."""

import contextlib
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from entia.planning import reading

YES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""What YAML 1.1 takes for true and false, and YAML 1.2 for text."""

ELSEWHERE = {"knn": "neighbours"}
"""What others call some methods and probes, too unlike our names to be taken for a slip."""


def unknown(given: Iterable[str], known: Iterable[str], before: str) -> Iterator[str]:
    """A mistake for each name that is not known."""
    known = list(known)
    yield from (f"{before}{name}: unknown; {hint(name, known)}" for name in given if name not in known)


def hint(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known: the nearest that is, or all that are."""
    close = difflib.get_close_matches(name, known := list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or '(none)'}"


def some(names: Iterable[str], most: int) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def mapping(part: Any, place: str, told: list[str]) -> dict[str, Any]:
    """A part that must be a mapping; an empty one, and the mistake told, where it is none."""
    if isinstance(part, dict):
        return typing.cast("dict[str, Any]", part)
    told.append(f"{place}: {shown(part)} is not a mapping" + " ({} is one without entries)" * (part is None))
    return {}


def structs(kind: Any) -> dict[str, type[Struct]]:
    """The structs that a field may hold, by their tag (a field that is one struct: by its class name)."""
    members = get_args(kind) if isinstance(kind, types.UnionType) or get_origin(kind) is typing.Union else (kind,)
    found = [member for member in members if isinstance(member, type) and issubclass(member, Struct)]
    return {str(member.__struct_config__.tag or member.__name__): member for member in found}


@functools.cache
def fields(struct: type[Struct]) -> dict[str, Any]:
    """The types of a struct's fields, by name."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return {name: hints[name] for name in struct.__struct_fields__}


def wrong(kind: Any, value: Any, path: str, partial: bool) -> Iterator[str]:
    """Mistakes in a value meant for a type. `partial`: a part of a struct, to be laid over others."""
    held = structs(kind)
    if not held or (value is None and type(None) in get_args(kind)):
        yield from leaf(kind, value, path)
        return
    if not isinstance(value, dict):
        example = f", such as {{name: {next(iter(held))}}}" if len(held) > 1 else ""
        yield f"{path}: {shown(value)} is not a mapping{example}"
        return
    given = typing.cast("dict[str, Any]", value)
    tagged = len(held) > 1
    if tagged and not partial and "name" not in given:
        yield f"{path}.name: missing; one of {', '.join(held)}"
        return
    if tagged and "name" in given and (found := tag(held, given["name"], f"{path}.name")):
        yield found
        return
    chosen = [held[given["name"]]] if tagged and "name" in given else list(held.values())
    known = dict.fromkeys(name for struct in chosen for name in fields(struct))
    yield from unknown(given, [*known, "name"] if tagged else known, f"{path}.")
    for name, part in given.items():
        kinds = [fields(struct)[name] for struct in chosen if name in fields(struct)]
        yield from any_of(kinds, part, f"{path}.{name}", partial)
    if not partial:
        for info in msgspec.structs.fields(chosen[0]):
            if info.required and info.name not in given:
                yield f"{path}.{info.name}: missing"


def any_of(kinds: Iterable[Any], value: Any, path: str, partial: bool) -> list[str]:
    """Mistakes in a value that suits none of several types: those for the type that it suits best."""
    return min((list(wrong(kind, value, path, partial)) for kind in kinds), key=len, default=[])


def tag(held: Mapping[str, type[Struct]], name: object, path: str) -> str | None:
    """The mistake in a name that chooses among structs, if there is one."""
    if isinstance(name, str) and name in held:
        return None
    meant = ELSEWHERE.get(str(name).lower(), str(name))
    close = difflib.get_close_matches(meant, held, n=1)
    return f"{path}: {shown(name)} is not one of {', '.join(held)}" + "".join(f"; did you mean {one}?" for one in close)


def leaf(kind: Any, value: Any, path: str) -> Iterator[str]:
    """Mistakes in a value meant for a field that holds no struct."""
    if isinstance(value, list) and holds_many(kind):
        of = next(part for part in (kind, *get_args(kind)) if get_origin(part) is tuple)
        if not value and get_args(of)[0] is not str:  # no names is an answer, no numbers is none
            yield f"{path}: an empty list; give a value, or leave the field out"
            return
        if get_args(of)[-1] is Ellipsis:
            for position, part in enumerate(typing.cast("list[Any]", value)):
                yield from leaf(get_args(of)[0], part, f"{path}[{position}]")
            return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield f"{path}: {shown(value)} is not {_expected(kind, str(error))}{_remedy(value, kind)}"
    else:
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{path}: {value!r} is not a finite number"


def holds_many(kind: Any) -> bool:
    """Whether a list is one value of a field."""
    return any(get_origin(part) is tuple for part in (kind, *get_args(kind)))


def shown(value: object) -> str:
    """A value as Python writes it, but true, false and null as YAML does; cut where it is long."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _expected(kind: Any, message: str) -> str:
    described = [meta.description for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta) and meta.description]
    if described:
        return described[0]
    if choices := _choices(kind):
        return f"one of {', '.join(choices)}"
    return message.split(" - at")[0].replace("Expected ", "").replace("`", "").split(", got")[0]


def _choices(kind: Any) -> list[str]:
    """The names that a field chooses among, if it does; it may be left empty, or not."""
    return [str(name) for part in (kind, *get_args(kind)) if get_origin(part) is Literal for name in get_args(part)]


def _remedy(value: Any, kind: Any) -> str:
    if not isinstance(value, str):
        return ""
    if close := difflib.get_close_matches(value, _choices(kind), n=1):
        return f"; did you mean {close[0]}?"
    if kind is bool:
        word = YES.get(value.lower(), value.lower())
        return f": write {word}, without quotes" if word in ("true", "false") else ": write true or false"
    with contextlib.suppress(ValueError):
        if not isinstance(reading.plain(value), str | None):
            return ": write it without quotes"
        number = float(value)
        if abs(number) < reading.WIDEST:  # neither infinite nor not a number
            return f" (YAML reads it as text: write {int(number) if number.is_integer() else number!r})"
    return ""
