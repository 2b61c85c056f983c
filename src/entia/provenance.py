"""By which code, libraries and machine an artefact was made."""

import ast
import functools
import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from entia.config import Pretrain, Stage, Subset

HERE = Path(__file__).parent
LIBRARIES = ("entia", "torch", "torchvision", "numpy", "scipy", "h5py", "pandas", "matplotlib", "safetensors")
# Configs are in every key already; the others read, write and name, and touch no number.
BESIDE = ("config", "provenance", "plan", "store", "check", "machines", "cli")


def fingerprint(*modules: str, chosen: frozenset[str] = frozenset()) -> str:
    """Twelve hex digits over the syntax trees of these modules of ours and of all of ours that they import.

    Comments, docstrings and formatting do not count. Where a `match` chooses by the class of a config, only the cases
    of the `chosen` classes count, and what those import: a new loss, or an edit of another, is no edit of this one.
    """
    digest = hashlib.sha256()
    for module in sorted(_closure(modules, chosen)):
        digest.update(f"{module}\n{_tree(module, chosen)[0]}\n".encode())
    return digest.hexdigest()[:12]


def stage_code(stage: str, config: Stage) -> str:
    """The fingerprint of the code that decides what a stage makes of a config."""
    module = "datasets" if isinstance(config, Subset) else stage
    chosen = frozenset({type(config.method).__name__}) if isinstance(config, Pretrain) else frozenset[str]()
    return fingerprint(module, chosen=chosen)


def versions() -> dict[str, str]:
    """Python's and the libraries' versions, by name."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor's name and the number of cores this process may use."""
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _closure(modules: tuple[str, ...], chosen: frozenset[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and module not in BESIDE:
            found.add(module)
            waiting.extend(_tree(module, chosen)[1])
    return found


@functools.cache
def _tree(module: str, chosen: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """A module's syntax tree as text, and the modules of ours that it imports, at its top or inside."""
    flat = HERE.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse((flat if flat.exists() else flat.with_suffix("") / "__init__.py").read_text())
    return _read(tree, chosen)


def _read(tree: ast.Module, chosen: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Match) and chosen:
            node.cases = [case for case in node.cases if _class_of(case) in {"", *chosen}]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_silent(part)]
    imports = [found for node in ast.walk(tree) for found in _imported(node)]
    return repr(_plain(tree)), tuple(imports)


def _class_of(case: ast.match_case) -> str:
    """The class that a case matches by name; nothing where it matches otherwise."""
    pattern = case.pattern
    return pattern.cls.id if isinstance(pattern, ast.MatchClass) and isinstance(pattern.cls, ast.Name) else ""


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.removeprefix("entia.") for alias in node.names if alias.name.startswith("entia.")]
    if isinstance(node, ast.ImportFrom) and node.module == "entia":
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("entia."):
        return [node.module.removeprefix("entia.")]
    return []


def _is_silent(node: ast.stmt) -> bool:
    """Whether a statement decides nothing: a text, or an import of config classes, which are in the key."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "entia.config"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _plain(node: object) -> object:
    # Our own walk, not ast.dump: that prints fields which only some Python versions have, and every version must agree.
    if isinstance(node, ast.AST):
        fields = [(field, _plain(value)) for field, value in ast.iter_fields(node) if value not in (None, [])]
        return (type(node).__name__, *fields)
    return [_plain(part) for part in node] if isinstance(node, list) else node
