"""By which code, libraries and machine an artefact was made."""

import ast
import functools
import hashlib
import os
import platform
import re
from collections.abc import Hashable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

from msgspec import Struct

from entia import config, methods, probes
from entia.config import Stage
from entia.planning import drawings
from entia.planning.reports import Report
from entia.system import machines

HERE = Path(__file__).parent.parent
LIBRARIES = (
    "entia", "torch", "torchvision", "numpy", "scipy", "h5py", "pandas", "matplotlib", "safetensors", "timm",
    "pillow", "scikit-learn",
)  # fmt: skip
BESIDE = (
    "artefacts", "forecast", "running", "system", "planning.reading", "planning.mistakes", "planning.layering",
    "planning.like", "planning.blocks", "planning.reports", "planning.feasible", "plan", "reports.files",
    "reports.record", "cli", "commands", "job", "stages", "sizes", "naming.label", "config.features",
    "feeding.ahead", "feeding.is_resident", "datasets.likeness",
)  # fmt: skip
"""Folders, modules and definitions that read, write, name and place, and touch no number."""
KEYED = ("config", "fields", "methods", "probes")
"""Modules of what a key is made of."""
ENTRIES = {
    "subset": ("datasets.read", "datasets.pack", "datasets.statistics", "datasets.Room", "datasets.wanted"),
    "pretrain": ("config.kept", "feeding.Data", "pretrain.pretrain", "processes.Processes", "views.measured"),
    "embed": ("embed.embed", "views.measured"),
    "readout": ("readout.Features", "readout.read_many", "spectrum.summary"),
}
"""What `stages` uses of our modules to run a stage; a test compares."""

Chosen = frozenset[str]
Place = tuple[str, str]
"""A module of ours and a name defined at its top; ALL of them; or no name: what its import runs besides definitions."""
ALL = "*"
IMPORT = "import"
"""What a record calls a module's statements that define nothing."""
DRAWINGS: Chosen = frozenset(kind.__name__ for kind in drawings.KINDS.values())
CHOICES: Chosen = DRAWINGS | frozenset(
    [
        name
        for module in (config, methods, probes)
        for name, item in vars(module).items()
        if isinstance(item, type) and issubclass(item, Struct)
    ]
    + [name.split("/")[0] for name in (*config.DATASETS, config.FOLDER)]
    + list(get_args(config.Encoder.__annotations__["name"]))
)
"""What a `case` may choose by and be left out by: a config's class, a data set, an encoder, a kind of drawing."""


def fingerprint(*entries: str, chosen: Chosen = CHOICES) -> str:
    """Twelve hex digits over the syntax trees of the definitions of ours that these entries reach.

    An entry is a module, or one of its definitions, such as embed.embed. Every name in it is followed to where it is
    defined, across modules; what cannot be told apart (a module used as a value, a star import) counts whole.
    Comments, docstrings and formatting do not count, nor do config structs, which are in every key. Where a `match`
    chooses by one of `CHOICES`, the cases of those `chosen` count alone: a new loss, data set or encoder, or an edit of
    another, is no edit of this one.
    """
    return _fingerprint(entries, chosen & CHOICES)


def stage_code(stage: str, config: Stage) -> str:
    """The fingerprint of the code that decides what a stage makes of a config."""
    return fingerprint(*ENTRIES[stage], chosen=_held(config))


def stage_definitions(stage: str, config: Stage) -> dict[str, str]:
    """Each definition under that fingerprint with its own six digits, by module: `barlow_twins 1a2b3c, ...`.

    The fingerprint says that code has changed; beside an older record these say which.
    """
    found: dict[str, list[str]] = {}
    for (module, name), digits in _digests(ENTRIES[stage], _held(config) & CHOICES).items():
        found.setdefault(module, []).append(f"{name or IMPORT} {digits[:6]}")
    return {module: ", ".join(names) for module, names in found.items()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Between two such records the definitions (module.name) that differ, that are new, and that are gone."""
    old, new = _flat(before), _flat(now)
    return (
        [place for place in new if old.get(place, new[place]) != new[place]],
        [place for place in new if place not in old],
        [place for place in old if place not in new],
    )


def drawing_code(report: Report) -> str:
    """The fingerprint of the code that draws a report: another table's or figure's function is no part of it."""
    entries = ("reports.draw.table",) if report.table else ("reports.draw.figure", "reports.plots.save")
    others = DRAWINGS - {type(report.drawing).__name__}
    return fingerprint(*entries, "results.frame", chosen=CHOICES - others)


def definitions(*entries: str, chosen: Chosen = CHOICES) -> set[Place]:
    """The definitions that a fingerprint covers."""
    found: set[Place] = set()
    waiting = [place for entry in entries for place in _entry(entry)]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in found or is_beside(module, name):
            continue
        if name != ALL and name not in _top(module):
            inner = f"{module}.{name}"
            waiting.append((inner, ALL) if _is_module(inner) else (module, ALL))
            continue
        found.add((module, name))
        package = module.rpartition(".")[0]
        waiting += [(module, ""), *([(package, "")] if package else [])]
        waiting += [(module, each) for each in _top(module)] if name == ALL else _part(module, name, chosen)[1]
    return {place for place in found if place[1] != ALL}


def is_beside(module: str, name: str) -> bool:
    """Whether a definition is among what touches no number."""
    return f"{module}.{name}.".startswith(tuple(f"{each}." for each in BESIDE))


ARITHMETIC = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
"""The environment's variables by which PyTorch, oneDNN and MKL take another processor's instructions."""


def versions() -> dict[str, str]:
    """Python's and the libraries' versions, by name, and the instructions that they were told to use."""
    found = {"python": platform.python_version()} | {
        name: os.environ[name] for name in ARITHMETIC if name in os.environ
    }
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor's model. Not the cores that this process may use, which change no result."""
    return model(_processor())


def model(name: str) -> str:
    """One name for a processor or a GPU, whichever kernel or driver named it. Cores, in older logs, are left out."""
    return " ".join(re.sub(r"\((?:R|TM)\)|\bCPU\b|, \d+ cores\b|^NVIDIA\b", "", name, flags=re.IGNORECASE).split())


def host() -> str:
    """The processor's model and how many of its cores this process may use: what a time hangs on."""
    return f"{machine()}, {machines.cores()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache  # the same few for thousands of jobs
def _fingerprint(entries: tuple[str, ...], chosen: Chosen) -> str:
    lines = (f"{module}.{name} {digits}" for (module, name), digits in _digests(entries, chosen).items())
    return _hash("\n".join(lines))[:12]


@functools.cache
def _digests(entries: tuple[str, ...], chosen: Chosen) -> dict[Place, str]:
    """The SHA-256 of each definition that entries reach."""
    return {place: _part(*place, chosen)[0] for place in sorted(definitions(*entries, chosen=chosen))}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _flat(record: Mapping[str, str]) -> dict[str, str]:
    """A record of definitions as digits by module.name."""
    pairs = ((module, pair.partition(" ")) for module, pairs in record.items() for pair in pairs.split(", "))
    return {f"{module}.{name}": digits for module, (name, _, digits) in pairs}


@functools.cache  # thousands of stages hold the same few structs
def _held(item: Hashable) -> Chosen:
    """Classes and texts of a config, and of those inside it."""
    if isinstance(item, str):
        return frozenset([item.split("/")[0]])
    if not isinstance(item, Struct):
        return frozenset()
    inner = (_held(getattr(item, field)) for field in item.__struct_fields__)
    return frozenset(kind.__name__ for kind in type(item).__mro__).union(*inner)


def _entry(entry: str) -> list[Place]:
    module, _, name = entry.rpartition(".")
    return [(entry, ALL)] if _is_module(entry) else [(module, name)]


def _file(module: str) -> Path:
    flat = HERE.joinpath(*module.split(".")).with_suffix(".py") if module else HERE / "__init__.py"
    return flat if flat.exists() else HERE.joinpath(*module.split("."), "__init__.py")


@functools.cache
def _is_module(module: str) -> bool:
    return _file(module).exists()


@functools.cache
def _top(module: str) -> dict[str, list[ast.AST]]:
    """A module's statements by the name that they define; by no name, those that do something else."""
    found: dict[str, list[ast.AST]] = {"": []}
    for statement in ast.parse(_file(module).read_text(encoding="utf-8")).body:
        for name, part in _defined(statement):
            if module not in KEYED or not _is_key(part):
                found.setdefault(name, []).append(part)
            else:
                found.setdefault(name, [])
    return found


def _defined(statement: ast.stmt) -> list[tuple[str, ast.AST]]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [(statement.name, statement)]
        case ast.Import():
            return [(a.asname or a.name.split(".")[0], ast.Import([a])) for a in statement.names]
        case ast.ImportFrom() if statement.names[0].name != ALL:
            parts = ((a, ast.ImportFrom(statement.module, [a], statement.level)) for a in statement.names)
            return [(a.asname or a.name, part) for a, part in parts]
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return [(name, statement)]
        case ast.AugAssign(target=ast.Name(id=name)):
            return [(name, statement)]
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return []
        case _:
            return [("", statement)]


def _is_key(part: ast.AST) -> bool:
    """Whether a definition of `KEYED` is in every key already: a struct, or a type made of others."""
    return isinstance(part, ast.ClassDef) or (
        isinstance(part, ast.Assign) and isinstance(part.value, ast.BinOp | ast.Subscript)
    )


def _part(module: str, name: str, chosen: Chosen) -> tuple[str, set[Place]]:
    """A definition's SHA-256, and the definitions that it names."""
    digits, named, choices = _read(module, name, CHOICES)
    return (digits, named) if choices <= chosen else _read(module, name, chosen & choices)[:2]


@functools.cache
def _read(module: str, name: str, chosen: Chosen) -> tuple[str, set[Place], Chosen]:
    """A definition's SHA-256, the definitions that it names, and what it chooses by."""
    nodes: list[ast.AST] = []
    parts = [_plain(part, chosen, nodes) for part in _top(module)[name] if not _is_text(part)]
    named = _named(module, nodes)
    if not name:  # an import runs the imports at the module's top
        named |= {(inner, "") for part in _tops(module) for inner, _ in _imported(part)}
    options = (option for node in nodes if isinstance(node, ast.match_case) for option in _options(node))
    return _hash(repr(parts)), named, frozenset(map(_choice, options)) - {""}


def _named(module: str, nodes: list[ast.AST]) -> set[Place]:
    attributes = [(node.value, node.attr) for node in nodes if isinstance(node, ast.Attribute)]
    bases = {base for base, _ in attributes}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {place for node in imports for place in _imported(node)}
    found |= {(module, node.id) for node in names if node.id in _top(module)}
    for alias, inner in _aliases(module) | {pair for node in imports for pair in _bound(node)}:
        found |= {(inner, name) for base, name in attributes if isinstance(base, ast.Name) and base.id == alias}
        found |= {(inner, ALL) for node in names if node.id == alias and node not in bases}
    return found


@functools.cache
def _aliases(module: str) -> set[tuple[str, str]]:
    """Names that a module gives to others of ours at its top, and those others."""
    return {pair for part in _tops(module) for pair in _bound(part)}


def _tops(module: str) -> list[ast.AST]:
    return [part for parts in _top(module).values() for part in parts]


def _imported(node: ast.AST) -> Iterator[Place]:
    """What an import statement names of ours."""
    if isinstance(node, ast.Import):
        yield from ((a.name.removeprefix("entia."), ALL) for a in node.names if a.name.startswith("entia."))
    elif isinstance(node, ast.ImportFrom) and (source := _ours(node)) is not None:
        for alias in node.names:
            inner = f"{source}.{alias.name}".removeprefix(".")
            yield (inner, "") if _is_module(inner) else (source, alias.name)


def _bound(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that an import statement gives to modules of ours, and those modules."""
    if isinstance(node, ast.ImportFrom) and _ours(node) is not None:
        yield from ((a.asname or a.name, inner) for a in node.names for inner, name in _imported(node) if not name)


def _ours(node: ast.ImportFrom) -> str | None:
    """The module of ours that a statement imports from; the package itself has no name."""
    package, _, module = (node.module or "").partition(".")
    return module if package == "entia" else None


def _plain(node: object, chosen: Chosen, met: list[ast.AST]) -> object:
    """A syntax tree as tuples and lists, without what decides nothing; `met` gets all its nodes.

    Our own walk, not ast.dump: that prints fields which only some Python versions have, and every version must agree.
    """
    if isinstance(node, list):
        return [_plain(part, chosen, met) for part in node if not _is_text(part)]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.Match):
        kept = [case for each in node.cases if (case := _kept(each, chosen))]
        node = ast.Match(node.subject, kept)
    met.append(node)
    fields = [(field, _plain(value, chosen, met)) for field, value in ast.iter_fields(node)]
    return (type(node).__name__, *(pair for pair in fields if pair[1] is not None and pair[1] != []))


def _is_text(node: object) -> bool:
    """Whether a statement is a text alone, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _kept(case: ast.match_case, chosen: Chosen) -> ast.match_case | None:
    """A case with those of its options that may be met, if any may. One with a guard is kept as it is."""
    kept = [option for option in _options(case) if case.guard or _choice(option) in {"", *chosen}]
    if not kept:
        return None
    return ast.match_case(ast.MatchOr(kept) if len(kept) > 1 else kept[0], case.guard, case.body)


def _options(case: ast.match_case) -> list[ast.pattern]:
    return case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]


def _choice(option: ast.pattern) -> str:
    """Which of `CHOICES` a pattern matches; nothing where it matches otherwise."""
    match option:
        case ast.MatchClass(cls=ast.Name(id=name) | ast.Attribute(attr=name)):
            pass
        case ast.MatchValue(value=ast.Constant(value=str(name))):
            pass
        case _:
            name = ""
    return name if name in CHOICES else ""
