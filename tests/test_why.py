"""`entia why`: after an edit of the code, of a field and of an input, the very cause is named, and no other."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_config import cell
from test_provenance import edit, source  # noqa: F401
from test_workflow import ENVIRONMENT, make_study

from entia import naming, plan, stages
from entia.artefacts import adopted, nearest, provenance, redrawing, store
from entia.artefacts.why import CURRENT, Why
from entia.config import Readout
from entia.methods import BYOL, BarlowTwins, Diet, MoCo, SimCLR, VICReg

DATA = Path("data")


def by_hand(folder: Path) -> None:
    """Every artefact of a study, made without Snakemake."""
    make_study(folder)
    shutil.rmtree(folder / "src")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        change("        epochs: 3", "        epochs: 1")
        planned = plan.load("params.yaml")
        for step, run in (("subset", stages.subset), ("pretrain", stages.pretrain), ("embed", stages.embed)):
            for of in planned.of(step).values():
                run(of)
        for of in planned.readouts.values():
            stages.readout(of)


@pytest.fixture
def study(once, tmp_path, monkeypatch) -> None:
    """A copy of the study, which is the working folder from now on."""
    shutil.copytree(once("why", by_hand), tmp_path / "study", symlinks=True)
    monkeypatch.chdir(tmp_path / "study")


def change(old: str, new: str) -> None:
    """Another text in params.yaml."""
    text = Path("params.yaml").read_text()
    found = re.sub(old.strip(), new.strip(), text)
    assert found != text, old
    Path("params.yaml").write_text(found)


def asked(name: str) -> list[str]:
    return Why(plan.load("params.yaml"), DATA).answer(name)


def readout(method=BarlowTwins) -> Readout:
    """The first readout of a method."""
    return next(of for of in plan.load("params.yaml").readouts.values() if isinstance(of.embed.pretrain.method, method))


def chain(method=BarlowTwins):
    """The four artefacts that a readout rests on, itself first."""
    of = readout(method)
    return of, of.embed, of.embed.pretrain, of.embed.pretrain.subset


def path(of) -> str:
    return str(store.path(DATA, of))


def test_what_is_current_says_so_by_name_digits_and_file(study):
    for of in chain():
        for name in (naming.name(of), naming.key(of), path(of)):
            assert asked(name) == [f"{path(of)}: is current: nothing would run"]


def test_an_edit_of_code_is_named_by_its_definition_and_by_the_file_where_it_counts(study, source):  # noqa: F811
    last, embed, run, _ = chain()
    edit(source / "losses/redundancy.py", '"redundancy": of.weight * off', '"redundancy": off')
    assert asked(naming.name(last)) == [
        f"{path(last)}: input {path(embed)}: would be made anew first",
        f"{path(embed)}: input {path(run)}: would be made anew first",
        f"{path(run)}: code: changed: losses.redundancy.barlow_twins",
    ]
    assert asked(naming.name(readout(VICReg))) == [f"{path(readout(VICReg))}: {CURRENT}"]


def test_a_change_of_a_field_is_named_with_both_values_beside_the_nearest_run(study):
    before = chain()
    change(r"epochs: 1\b", "epochs: 2")
    last, *_, subset = chain()
    lines = asked(naming.name(last))
    assert lines[:2] == [
        f"{path(last)}: missing; `snakemake --cores all` makes it",
        f"{path(last)}: input {path(last.embed)}: would be made anew first",
    ]
    assert f"{path(last)}: field epochs: 1 → 2 (of the nearest that lies there, {naming.name(before[0])})" in lines
    assert sum(": field " in line for line in lines) == 1
    assert asked(naming.name(subset)) == [f"{path(subset)}: {CURRENT}"]


@settings(deadline=None)
@given(st.data())
def test_a_replaced_method_or_probe_is_named_alone_and_its_own_fields_are_not(data):
    kinds = [BarlowTwins(weight=0.1), VICReg(), SimCLR(), Diet(), MoCo(), BYOL()]
    one, other = data.draw(st.permutations(kinds))[:2]
    before, now = (nearest._fields(cell(method=method)) for method in (one, other))
    assert nearest.differences(*nearest._renamed(before, now)) == [
        f"method.name: {before['method.name']!r} → {now['method.name']!r}"
    ]
    before, now = nearest._fields(cell(method=one)), nearest._fields(cell(method=one, epochs=99))
    assert nearest._renamed(before, now) == (before, now)


def test_a_change_of_method_is_one_line_beside_the_nearest_run(study):
    one = next(of for of in plan.load("params.yaml").pretrains.values() if isinstance(of.method, BarlowTwins))
    other = msgspec.structs.replace(one, method=SimCLR())
    (field,) = nearest.nearest(DATA, other)[1]
    assert field.startswith("method.name: ") and field.endswith(" → 'simclr'")


def test_a_subsets_field_is_named_once_though_two_subsets_have_it(study):
    change("limit: 300", "limit: 200")
    fields = [line.split(": field ")[1] for line in asked(naming.name(readout())) if ": field " in line]
    assert [field.split(" (")[0] for field in fields] == ["subset.limit: 300 → 200"]


def test_another_content_of_an_input_is_named(study):
    _, _, run, subset = chain()
    arrays, head = store.read_hdf5(store.path(DATA, subset))
    before, now = head["content"], "f" * 64
    store.write_hdf5(store.path(DATA, subset), arrays, {**head, "content": now})
    assert asked(naming.name(run)) == [
        f"{path(run)}: input {path(subset)}: its content is {now[:10]}; this was made from {before[:10]}"
    ]


@pytest.mark.parametrize("position", range(4))
def test_what_is_missing_or_damaged_is_named_where_it_lies(position, study):
    of = chain()[position]
    store.path(DATA, of).unlink()
    lines = asked(naming.name(readout()))
    assert f"{path(of)}: missing; `snakemake --cores all` makes it" in lines
    store.path(DATA, of).write_bytes(b"\0" * 8)
    lines = asked(naming.name(readout()))
    assert any(line.startswith(f"{path(of)}: damaged") for line in lines)


def test_a_missing_log_is_named(study):
    run = chain()[2]
    store.log_path(DATA, run).unlink()
    assert asked(naming.name(run)) == [
        f"{path(run)}: {store.log_path(DATA, run)}: missing; `snakemake --cores all` makes it"
    ]


def test_what_was_made_before_definitions_were_recorded_says_so(study):
    of = readout()
    body = {name: part for name, part in store.read_json(store.path(DATA, of)).items() if name != "definitions"}
    store.write_json(store.path(DATA, of), {}, {**body, "code": "0" * 12})
    (line,) = asked(naming.name(of))
    assert line.endswith("code: has changed; which part is not known, since this was made before that was recorded")


def test_a_run_that_diverged_is_current_and_says_how_it_ended(study):
    run = chain()[2]
    tensors, head = store.read_tensors(store.path(DATA, run))
    store.write_tensors(store.path(DATA, run), tensors, {**head, "diverged": "epoch 1"})
    assert asked(naming.name(run)) == [f"{path(run)}: {CURRENT} (diverged, which is its result: epoch 1)"]


def test_an_interrupted_run_says_where_it_goes_on(study):
    run = chain()[2]
    store.path(DATA, run).unlink()
    state = store.path(DATA, run).with_suffix(".part") / "state.safetensors"
    store.write_tensors(state, {}, stages.header("pretrain", run, rows=[{"epoch": 1}]))
    assert f"{path(run)}: {state.parent}: goes on after epoch 1 of 1" in asked(naming.name(run))


def test_a_run_that_was_trained_elsewhere_is_not_made_here(study):
    planned = plan.load("params.yaml")
    last, embed, run, _ = chain()
    origin = adopted.Origin(commit="", changed=False, machine="a cluster", code="0" * 12)
    store.write_text(adopted.record(planned), adopted.encode({naming.name(run): origin}))
    for of in (embed, run):
        store.path(DATA, of).unlink()
    for of in (last, embed, run):
        assert asked(naming.name(of)) == [f"{path(of)}: its run was trained elsewhere and taken up: nothing would run"]
    draw("MV-T1")
    assert asked("MV-T1") == [f"reports/tables/MV-T1.csv: {CURRENT}"]


# --- tables and claims ----------------------------------------------------------------------------------------------


def draw(artefact: str) -> None:
    """Leaves what Snakemake leaves when it has drawn an artefact: its files, and its record of the first."""
    planned = plan.load("params.yaml")
    read = [store.path(DATA, planned.readouts[name]) for *_, name in redrawing.rows(planned, artefact)]
    record = {
        "params": [repr(redrawing.parameter(planned, artefact))],
        "input_checksums": {str(file): store.stamp(file) for file in read},
    }
    for file in redrawing.files(planned, artefact):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        place = redrawing.METADATA / base64.urlsafe_b64encode(str(file).encode()).decode()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(record))


@pytest.mark.parametrize("artefact", ["MV-T1", "MV-F2a", "claims"])
def test_what_is_drawn_is_current_or_names_the_code_that_draws_it(artefact, study, source):  # noqa: F811
    draw(artefact)
    file, *_ = redrawing.files(plan.load("params.yaml"), artefact)
    assert asked(artefact) == [f"{file}: {CURRENT}"]
    for module in ("reports/tables", "reports/figures", "claims/__init__"):
        text = (source / f"{module}.py").read_text()
        (source / f"{module}.py").write_text(f"{text}\n\nprint()\n")
    edit(source / "results.py", "import", "import")
    assert asked(artefact) == [f"{file}: code: what draws it has changed since it was drawn"]


def test_a_table_names_what_params_yaml_says_otherwise_of_it(study):
    draw("MV-T1")
    change("title: Widths", "title: Wider")
    assert asked("MV-T1") == ["reports/tables/MV-T1.csv: params.yaml: report.title: 'Widths' → 'Wider'"]


def test_a_table_names_its_rows_that_came_and_went_and_the_runs_behind_them(study):
    draw("MV-T1")
    change(
        r"arm: tuned\n +method.weight:\n +- 0.0004\n +- 0.01",
        "arm: tuned\n        method.weight:\n        - 0.0004\n        - 0.02",
    )
    lines = asked("MV-T1")
    assert [line.split("rows: ")[1][:6] for line in lines if ": rows: " in line] == ["1 more", "1 fewe"]
    assert "reports/tables/MV-T1.csv: 1 of its 6 readouts would be made anew first" in lines


def test_a_table_names_one_cause_behind_many_readouts_once(study, source):  # noqa: F811
    draw("MV-T1")
    edit(source / "embed.py", "CHUNK = 500", "CHUNK = 400")
    first, second = asked("MV-T1")
    assert first == "reports/tables/MV-T1.csv: 6 of its 6 readouts would be made anew first"
    assert second.endswith(" and 5 more: code: changed: embed.CHUNK")


def test_a_table_names_the_readout_whose_content_is_another(study):
    draw("MV-T1")
    of = readout()
    body = store.read_json(store.path(DATA, of))
    store.write_json(store.path(DATA, of), {**body, "chance": 0.5}, {})
    assert asked("MV-T1") == [
        f"reports/tables/MV-T1.csv: input {path(of)}: its content differs from what this was drawn from"
    ]


def test_a_table_that_snakemake_did_not_draw_says_so_and_a_missing_one_is_missing(study):
    for file in redrawing.files(plan.load("params.yaml"), "MV-T1"):
        assert f"{file}: missing" in asked("MV-T1")
    draw("MV-T1")
    shutil.rmtree(".snakemake")
    assert asked("MV-T1") == ["reports/tables/MV-T1.csv: drawn without Snakemake: what from was not recorded"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"params": null}', '{"params": ["x y"]}', '{"params": ["3"]}'])
def test_a_record_that_was_cut_short_is_none(text, tmp_path, monkeypatch):
    monkeypatch.setattr(redrawing, "METADATA", tmp_path)
    file = Path("reports/tables/MV-T1.csv")
    (tmp_path / base64.urlsafe_b64encode(str(file).encode()).decode()).write_text(text)
    with pytest.raises(LookupError):
        redrawing._record(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 3}'])
def test_what_is_no_artefact_is_compared_with_nothing(text, tmp_path):
    (tmp_path / "other.json").write_text(text)
    assert store.glance(tmp_path / "other.json") is None


# --- the command ----------------------------------------------------------------------------------------------------


def test_several_are_asked_at_once_and_an_unknown_name_is_one_clear_error(study):
    def entia(*names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "entia.cli", "why", *names]
        return subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONPATH": SOURCES})

    of, embed, *_ = chain()
    found = entia(naming.name(of), naming.key(embed), naming.key(of))
    assert found.stdout.splitlines() == [f"{path(of)}: {CURRENT}", f"{path(embed)}: {CURRENT}"], found.stderr
    found = entia("MV-T2")
    assert found.returncode == 1 and found.stderr.startswith("entia: MV-T2: not in params.yaml at laptop scale; ")


SOURCES = str(provenance.HERE.parent)
