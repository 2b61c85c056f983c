"""Writes workflow/envs/main.yaml: what a rule needs to run, at the versions that requirements.lock pins.

Snakemake copies the file before it makes the environment, so it cannot point at the lock: the pins are written out.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = """\
# Made from requirements.lock by from_lock.py (`make lock`); do not edit.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python =3.11
  - pip
  - pip:
"""


def pins(lock: str) -> dict[str, list[str]]:
    """The lock's requirement lines by package name, hashes dropped."""
    found: dict[str, list[str]] = {}
    for line in lock.splitlines():
        if match := re.match(r"([a-z0-9._-]+)==\S+.*?(?= \\|$)", line):
            found.setdefault(match[1], []).append(match[0].strip())
    return found


def needed() -> list[str]:
    """Names of the packages that entia needs when it runs (without what develops and tests it)."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11", "-q"]
    command += ["--constraint", "requirements.lock", "--no-header", "--no-annotate"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return list(pins(text))


def main() -> None:
    """Writes the file."""
    lock = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    lines = [f'      - "{line}"\n' for name in needed() for line in lock[name]]
    (ROOT / "workflow/envs/main.yaml").write_text(HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
