"""A YAML file → mappings, lists, texts, whole numbers, decimals, true, false and null; or one line with its place.

Only what every reader of YAML takes alike is a number, a truth value or null. What YAML 1.1 and 1.2 read differently
(010, 1:30, 1_000, 2024-01-01, 1e3, yes, on) stays text, and is refused wherever a text is not what was asked for.
Tags are not read. Nothing that a file holds makes reading it long, deep or endless.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from entia.fields import Problem

DEEPEST = 50
"""Mappings and lists inside each other."""
MOST = 1_000_000
"""Values of a file, each alias counted as all that it stands for."""
WIDEST = 2**63
"""No whole number is as large: JSON and tensors hold 64 bits."""

_WORDS = {"": None, "~": None} | {
    spelt: value
    for word, value in {"null": None, "true": True, "false": False}.items()
    for spelt in (word, word.capitalize(), word.upper())
}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?"
    r"|-?[1-9]e[+-][0-9]{2,}"  # as Python and DVC write 0.000002; what people type as 1e-3 is text to YAML 1.1
)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML forbids."""
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Those that an escape such as "\\0" can bring into a text, and that no table, page or terminal can show."""
LIKE = "like"
"""The key that names what a part is like (`planning.like`): wherever it stands, it holds names and nothing else."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises `Problem`: one line with the place, and the remedy where one is."""
    text = _text(path)
    try:
        value = _Document(yaml.parse(text, _Loader)).value()
    except _Refused as refused:
        raise Problem(f"{path.name}{_place(refused.mark)}: {refused}") from refused
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Problem(f"{path.name}{_place(mark)}: {_tab(text, mark) or error.problem}") from error
    if value is None:
        raise Problem(f"{path.name}: is empty")
    if not isinstance(value, dict):
        raise Problem(f"{path.name}: is not a mapping of names to values")
    return value


def plain(text: str) -> object:
    """What an unquoted word stands for. ValueError where it is a number out of range."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        if len(text) > 20 or not -WIDEST <= int(text) < WIDEST:
            raise ValueError("a whole number out of range (64 bits)")
        return int(text)
    if _DECIMAL.fullmatch(text):
        if not math.isfinite(float(text)):
            raise ValueError("a number out of range")
        return float(text)
    return text


class Name(str):
    """A name that `like` gives, and the line where it does."""

    __slots__ = ("line",)
    line: int


class _Refused(Exception):
    def __init__(self, message: str, mark: yaml.Mark) -> None:
        super().__init__(message)
        self.mark = mark


def _place(mark: yaml.Mark | None) -> str:
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _tab(text: str, mark: yaml.Mark | None) -> str:
    """What to say of a tab at a place; empty where there is none."""
    lines = text.splitlines()
    is_there = mark is not None and mark.line < len(lines) and lines[mark.line].startswith("\t", mark.column)
    return "a tab cannot indent YAML; put spaces in its place" if is_there else ""


def _text(path: Path) -> str:
    """A file's text, once it is known to be UTF-8 without what YAML forbids."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Problem(f"{path}: {error.strerror}; run in the folder that holds params.yaml") from error
    except OSError as error:
        raise Problem(f"{path}: cannot be read ({error.strerror})") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Problem(f"{path.name}: is in UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Problem(
            f"{path.name}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error
    if found := _FORBIDDEN.search(text):
        before = text[: found.start()]
        line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
        raise Problem(f"{path.name}, line {line}, column {column}: {found[0]!r} cannot be in a YAML file; remove it")
    return text


class _Document:
    """Builds values from a parser's events, and keeps what anchors stand for."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.anchored: dict[str, tuple[Any, int]] = {}
        self.count = 0

    def value(self) -> Any:
        """The one document's value; None where there is none."""
        found = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self.count:
                    raise _Refused("a second document begins here; params.yaml is one", event.start_mark)
                found = self.node(next(self.events), 0)
        return found

    def node(self, event: Any, depth: int) -> Any:
        self.count += 1
        if depth > DEEPEST:
            raise _Refused(f"more than {DEEPEST} mappings and lists inside each other", event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if event.tag not in (None, "!"):
            raise _Refused(f"a tag ({event.tag}); leave it out", event.start_mark)
        before = self.count
        match event:
            case yaml.ScalarEvent():
                found = _scalar(event)
            case yaml.SequenceStartEvent():
                found = [self.node(inner, depth + 1) for inner in self.until(yaml.SequenceEndEvent)]
            case _:
                found = self.mapping(depth)
        if event.anchor:
            self.anchored[event.anchor] = found, self.count - before + 1
        return found

    def until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self.events), end):
            yield event

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchored:
            raise _Refused(f"*{event.anchor}: nothing above is called &{event.anchor}", event.start_mark)
        found, size = self.anchored[event.anchor]
        self.count += size
        if self.count > MOST:
            raise _Refused(f"the aliases stand for more than {MOST:,} values", event.start_mark)
        return found

    def mapping(self, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        under: dict[str, Any] = {}
        merged = False
        for event in self.until(yaml.MappingEndEvent):
            key, mark = self.key(event), event.start_mark
            merges = key == "<<" and event.implicit[0]
            if key in own or (merges and merged):
                raise _Refused(f"{key!r} is given twice", mark)
            value = self.node(next(self.events), depth + 1)
            if key == LIKE:
                own[key] = _names(value, mark)
            elif merges:
                under, merged = _laid(value, mark), True
            else:
                own[key] = value
        return under | own

    def key(self, event: Any) -> str:
        """A key is a text as it is written, whatever it would be as a value."""
        if not isinstance(event, yaml.ScalarEvent):
            raise _Refused("a name must stand here; text in braces or brackets needs quotes", event.start_mark)
        if "\n" in event.value:
            raise _Refused("a name must be one line", event.start_mark)
        return _shown(event)


def _scalar(event: Any) -> object:
    if not event.implicit[0]:
        return _shown(event)
    try:
        return plain(event.value)
    except ValueError as error:
        raise _Refused(f"{event.value[:30]}: {error}", event.start_mark) from error


def _shown(event: Any) -> str:
    if found := _UNSEEN.search(event.value):
        raise _Refused(f"{found[0]!r} inside a text; leave it out", event.start_mark)
    return event.value


def _names(value: Any, mark: yaml.Mark) -> list[Name]:
    """What `like` brings: a name, or several."""
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(name, str) for name in given):
        raise _Refused("like: takes a name, or a list of names", mark)
    found = [Name(name) for name in given]
    for name in found:
        name.line = mark.line + 1
    return found


def _laid(value: Any, mark: yaml.Mark) -> dict[str, Any]:
    """What `<<` brings: a mapping, or several, of which the first wins."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, dict) for part in parts):
        raise _Refused("<<: takes a mapping, such as <<: *name", mark)
    found: dict[str, Any] = {}
    for part in reversed(parts):
        found |= part
    return found
