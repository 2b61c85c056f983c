"""Where entia's own files are, and a folder of one's own to use them in: a study is not the code."""

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from entia.fields import Problem

PACKAGE = Path(__file__).resolve().parents[1]
HOME = PACKAGE if (PACKAGE / "Snakefile").exists() else PACKAGE.parents[1]
"""What holds Snakefile, workflow/, profiles/, data/reported/ and examples/: the repository, or an installed package."""
REPORTED = HOME / "data" / "reported"
LINK = Path(".snakemake/entia")


def entry(alone: bool) -> str:
    """An entry of PYTHONPATH, from the working folder, that is this code; `alone`: with no other package beside it.

    A colon would end an entry, and an installed package has others beside it. Then it is a folder with a link to it.
    """
    beside = os.path.relpath(PACKAGE.parent)
    if ":" not in beside and not (alone and HOME == PACKAGE):
        return beside
    LINK.mkdir(parents=True, exist_ok=True)
    new = LINK / f"{os.getpid()}.tmp"
    new.symlink_to(PACKAGE)
    new.replace(LINK / PACKAGE.name)
    return str(LINK)


@functools.cache  # asked for every table and figure
def reported(*papers: str) -> list[str]:
    """Each file's SHA-256: what a drawing depends on, since paths of what others reported differ between studies."""
    return [hashlib.sha256((REPORTED / f"{each}.csv").read_bytes()).hexdigest() for each in papers]


def commit(*more: Path) -> tuple[str, bool]:
    """The code's commit, and whether the code (or what of its repository is named besides) differs from it.

    Nothing and False where there is no git, or the code is of no repository.
    """
    if not (HOME / ".git").exists() or shutil.which("git") is None:
        return "", False
    inside = [path.absolute() for path in more if path.absolute().is_relative_to(HOME)]
    found = _git("rev-parse", "HEAD")
    return found, bool(found and _git("status", "--porcelain", "--", "src", "workflow", "Snakefile", *map(str, inside)))


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=HOME, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else ""


def begin(folder: Path, example: str) -> None:
    """Makes a folder a study: what that folder of examples/ holds. Raises `Problem` if it is one already."""
    if (folder / "params.yaml").exists():
        raise Problem(f"{folder}: is a study already (it holds params.yaml); name another folder")
    (folder / "data" / "raw").mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", ".gitignore"):
        if not (folder / name).exists():
            shutil.copyfile(HOME / "examples" / example / name, folder / name)
