"""One set of versions: the lock's, in the conda environment, in the container, and as installed here."""

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version

import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from entia.artefacts import provenance

LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "workflow/envs/main.yaml").read_text())
PINS = next(part["pip"] for part in ENVIRONMENT["dependencies"] if isinstance(part, dict))


def locked() -> set[str]:
    """The lock's requirements, without their hashes."""
    return {line.split(" \\")[0].strip() for line in LOCK.splitlines() if re.match(r"[a-z0-9]", line)}


def test_every_pin_of_the_conda_environment_is_a_line_of_the_lock():
    assert PINS and set(PINS) <= locked()


def test_a_package_is_pinned_under_all_its_markers_or_not_at_all():
    names = {Requirement(pin).name for pin in PINS}
    assert {line for line in locked() if Requirement(line).name in names} == set(PINS)


def test_all_that_entia_asks_for_is_pinned_at_a_version_it_accepts():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {(canonicalize_name(pin.name), str(pin.specifier)) for pin in map(Requirement, PINS)}
    for asked in map(Requirement, project["dependencies"]):
        found = [spec.removeprefix("==") for name, spec in pinned if name == canonicalize_name(asked.name)]
        assert found and all(asked.specifier.contains(number) for number in found), asked
    assert any(re.match(r"python =3\.\d+$", str(part)) for part in ENVIRONMENT["dependencies"])


def test_the_pins_are_satisfied_by_what_is_installed_here():
    off = []
    for pin in map(Requirement, PINS):
        if pin.marker is None or pin.marker.evaluate():
            try:
                here = version(pin.name)
            except PackageNotFoundError:
                here = "none"
            if not pin.specifier.contains(here, prereleases=True):
                off.append(f"{pin} (here: {here})")
    assert off == []


def test_the_environment_has_only_keys_that_conda_knows_and_points_at_no_file():
    assert set(ENVIRONMENT) <= {"name", "channels", "dependencies", "variables", "prefix"}
    assert not [pin for pin in PINS if pin.startswith(("-", ".", "/")) or "@" in pin]


def test_the_container_is_built_from_the_lock_with_its_hashes():
    text = (ROOT / "workflow/envs/entia.def").read_text()
    assert "requirements.lock /opt/entia/requirements.lock" in text
    assert "--require-hashes -r requirements.lock" in text
    assert not re.search(r"install (?!.*--require-hashes)", text)
    python = next(str(part) for part in ENVIRONMENT["dependencies"] if str(part).startswith("python "))
    assert f"From: python:{python.removeprefix('python =')}-slim" in text


def test_the_locks_own_uv_is_found_as_makefile_and_container_look_for_it():
    lines = LOCK.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("uv=="))
    assert lines[first].endswith("\\") and lines[first + 1].strip().startswith("--hash=sha256:")


def test_the_lock_names_no_place_to_fetch_from():
    assert "://" not in LOCK and "--index-url" not in LOCK


def test_make_portable_has_every_library_take_the_same_instructions():
    command = ["make", "--silent", "--eval", "show: ; @env", "show", "PORTABLE=1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2", "MKL_CBWR=COMPATIBLE"} <= set(told)


def test_an_artefact_records_which_instructions_were_asked_for(monkeypatch):
    assert not set(provenance.ARITHMETIC) & set(provenance.versions())
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert provenance.versions()["MKL_CBWR"] == "COMPATIBLE"
