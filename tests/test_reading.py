"""How a YAML file is read: only what every reader of YAML takes alike, and one line for whatever cannot be read."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entia import plan
from entia.fields import Problem
from entia.planning import reading

TEXT = (ROOT / "tests/params.yaml").read_text()
RAW = yaml.safe_load(TEXT)


def read(content: str | bytes, folder: Path) -> object:
    path = folder / "params.yaml"
    path.write_bytes(content.encode(errors="surrogatepass") if isinstance(content, str) else content)
    return reading.read(path)


def refused(content: str | bytes, folder: Path) -> str:
    with pytest.raises(Problem) as found:
        read(content, folder)
    return str(found.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0", 0), ("12", 12), ("-3", -3), ("+3", 3), ("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("1.5e-3", 0.0015),
        ("1.0E+2", 100.0), ("2e-06", 0.000002), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("'5'", "5"), ('"true"', "true"), ("text", "text"), ("a b", "a b"),
    ],
)  # fmt: skip
def test_what_all_readers_of_yaml_take_alike_is_a_number_a_truth_value_or_null(written, value, tmp_path):
    found = read(f"a: {written}\n", tmp_path)["a"]
    assert (found, type(found)) == (value, type(value))
    assert yaml.safe_load(f"a: {written}\n")["a"] == value or written == "2e-06"


@pytest.mark.parametrize(
    "written",
    ["on", "off", "yes", "no", "y", "Yes", "010", "0x10", "0o10", "0b1", "1_000", "1:30", "1:30.5", "2024-01-01",
     "2024-01-01 12:00:00", "1e-3", "1e3", "1.5e3", ".inf", "-.inf", ".nan", "=", "<<"],
)  # fmt: skip
def test_what_readers_of_yaml_take_differently_is_text(written, tmp_path):
    assert read(f"a: {written}\n", tmp_path) == {"a": written}


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("seed: 010", "seed: '010' is not a whole number from 0 to 4294967295 (YAML reads it as text: write 10)"),
        ("seed: 1_000", "seed: '1_000' is not a whole number from 0 to 4294967295 (YAML reads it as text: write 1000)"),
        ("seed: 2024-01-01", "seed: '2024-01-01' is not a whole number from 0 to 4294967295"),
        ("seed: 20240101120000", "seed: 20240101120000 is not a whole number from 0 to 4294967295"),
        ("seed: '5'", "seed: '5' is not a whole number from 0 to 4294967295: write it without quotes"),
        ("epochs: 1:30", "epochs: '1:30' is not a positive whole number"),
        ("epochs: 1e3", "epochs: '1e3' is not a positive whole number (YAML reads it as text: write 1000)"),
        ("drop_last: yes", "drop_last: 'yes' is not bool: write true, without quotes"),
        ("drop_last: Off", "drop_last: 'Off' is not bool: write false, without quotes"),
        ("optimizer: {lr: .inf}", "optimizer.lr: '.inf' is not a positive number"),
        ("optimizer: {lr: .nan}", "optimizer.lr: '.nan' is not a positive number"),
    ],
)
def test_such_a_text_is_refused_where_a_number_or_truth_value_is_meant_with_the_remedy(written, remedy, tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT.replace("  views: 2\n", f"  views: 2\n  {written}\n").replace(
        "  seed: 0\n" if written.startswith("seed") else "\0", ""
    ).replace("  optimizer: {name: adam, lr: 0.001, weight_decay: 0.000001}\n" if "lr" in written else "\0", ""))  # fmt: skip
    with pytest.raises(Problem) as found:
        plan.load(tmp_path / "params.yaml")
    assert str(found.value).splitlines()[0] == f"params.yaml: defaults.{remedy}"


def test_on_is_a_field_and_names_are_texts(tmp_path):
    assert read("embed: {on: mnist5k}\n1: a\nyes: b\n~: c\n", tmp_path) == {
        "embed": {"on": "mnist5k"}, "1": "a", "yes": "b", "~": "c",
    }  # fmt: skip


def named(value):
    """What was read, with `like: NAME` as it was written: it is read as a list of names with their places."""
    match value:
        case dict():
            return {key: part[0] if key == "like" and len(part) == 1 else named(part) for key, part in value.items()}
        case list():
            return [named(part) for part in value]
    return value


def test_anchors_and_merges_mean_what_they_mean_to_other_readers(tmp_path):
    for text in (TEXT, (ROOT / "params.yaml").read_text()):
        assert named(read(text, tmp_path)) == yaml.safe_load(text)
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {y: 4, <<: [*a, {x: 5, z: 6}]}\nd: &d [1, *a]\ne: *d\n"
    assert read(text, tmp_path) == yaml.safe_load(text)
    assert [list(part) for part in map(read(text, tmp_path).get, "bc")] == [["x", "y"], ["x", "z", "y"]]


NESTED = "a: " + "[" * 60 + "]" * 60
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "params.yaml: is empty"),
        ("# nothing\n", "params.yaml: is empty"),
        ("a\n", "params.yaml: is not a mapping of names to values"),
        ("- a\n", "params.yaml: is not a mapping of names to values"),
        ("a: é\n".encode("utf-16"), "params.yaml: is in UTF-16; save it as UTF-8"),
        ("a: 1\nb: café\n".encode("latin-1"), "params.yaml, line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: x\x00y\n", "params.yaml, line 2, column 5: '\\x00' cannot be in a YAML file; remove it"),
        (b"a: \x1b[0m\n", "params.yaml, line 1, column 4: '\\x1b' cannot be in a YAML file; remove it"),
        ('a: "\\0"\n', "params.yaml, line 1, column 4: '\\x00' inside a text; leave it out"),
        ("a: 1\nb: {{x}}\n", "params.yaml, line 2, column 5: a name must stand here; text in braces or brackets needs quotes"),
        ("? [1, 2]\n: x\n", "params.yaml, line 1, column 3: a name must stand here; text in braces or brackets needs quotes"),
        ("a: 1\na: 2\n", "params.yaml, line 2, column 1: 'a' is given twice"),
        ("a: *b\n", "params.yaml, line 1, column 4: *b: nothing above is called &b"),
        ("a: &a [*a]\n", "params.yaml, line 1, column 8: *a: nothing above is called &a"),
        ("a: {<<: 1}\n", "params.yaml, line 1, column 5: <<: takes a mapping, such as <<: *name"),
        ("a: 1\n---\nb: 2\n", "params.yaml, line 2, column 1: a second document begins here; params.yaml is one"),
        ("a: !!python/object:os.system x\n", "params.yaml, line 1, column 4: a tag (tag:yaml.org,2002:python/object:os.system); leave it out"),
        ("a: !!int x\n", "params.yaml, line 1, column 4: a tag (tag:yaml.org,2002:int); leave it out"),
        ("a: 1.0e+999\n", "params.yaml, line 1, column 4: 1.0e+999: a number out of range"),
        (f"a: {'9' * 5000}\n", f"params.yaml, line 1, column 4: {'9' * 30}: a whole number out of range (64 bits)"),
        ("a:\n\tb: 1\n", "params.yaml, line 2, column 1: a tab cannot indent YAML; put spaces in its place"),
        ("a:\r\n  - b\r\n\t- c\r\n", "params.yaml, line 3, column 1: a tab cannot indent YAML; put spaces in its place"),
        (NESTED, "params.yaml, line 1, column 54: more than 50 mappings and lists inside each other"),
        (BOMB, "params.yaml, line 6, column 45: the aliases stand for more than 1,000,000 values"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_its_place(content, message, tmp_path):
    assert refused(content, tmp_path) == message


@pytest.mark.parametrize("text", ["a: [" * 100_000, "[" * 100_000, "{" * 100_000, "- " * 100_000, "? " * 50_000])
def test_no_depth_is_too_much_for_a_clear_message(text, tmp_path):
    assert len(refused(text, tmp_path).splitlines()) == 1


def test_a_byte_order_mark_of_utf8_is_no_mistake(tmp_path):
    assert read(b"\xef\xbb\xbfa: 1\r\n", tmp_path) == {"a": 1}


def test_a_folder_in_the_files_place_is_named(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(Problem, match=r"params\.yaml: cannot be read \(Is a directory\)"):
        reading.read(tmp_path / "params.yaml")


# --- whatever stands in a file: a plan, or one message -------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates(),
    st.sampled_from(["on", "010", "1:30", "vicreg", "mnist5k", "image_folder/../x", "paired", "<<", 10**30, -(2**63), 1e308]),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(["name", "paired", "arm", "recipe", "method", "method.name", "subset.dataset", "embed.on", "crops",
                     "augmentation.std", "probe.penalties", "seed", "laptop", "any", "<<", "on", "a.b.c", ".", ""]),
    st.text(max_size=4), st.integers(0, 3), st.booleans(), st.none(),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


def places(part: object, before: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The place of everything in a document, by keys and positions."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [place for key, value in inner for place in [(*before, key), *places(value, (*before, key))]]


PLACES = places(RAW)


def is_planned_or_refused(content: str | bytes, folder: Path) -> bool:
    """True of a plan, False of a refusal whose every line names the file; anything else is raised."""
    path = folder / "params.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        plan.load(path)
    except Problem as problem:
        lines = str(problem).splitlines()
        assert lines and all(re.match(r"params\.yaml(, line \d+(, column \d+)?)?: .", line) for line in lines), lines
        str(problem).encode()
        return False
    return True


law = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@law
@given(data=st.data())
def test_any_value_or_name_in_place_of_another_is_planned_or_refused(data, tmp_path_factory):
    raw = copy.deepcopy(RAW)
    for *outer, last in data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=2)):
        part = raw
        for key in outer:
            part = (
                part[key]
                if isinstance(part, list | dict) and key in (part if isinstance(part, dict) else range(len(part)))
                else {}
            )
        if isinstance(part, dict) and data.draw(st.booleans()):
            part[data.draw(NAMES)] = part.pop(last, None)
        elif isinstance(part, dict) or (isinstance(part, list) and isinstance(last, int) and last < len(part)):
            part[last] = data.draw(VALUES)
    is_planned_or_refused(yaml.safe_dump(raw, allow_unicode=True), tmp_path_factory.mktemp("value"))


@law
@given(block=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_block_is_planned_or_refused(block, tmp_path_factory):
    raw = copy.deepcopy(RAW)
    raw["scales"]["laptop"]["experiments"]["twins"] = [block]
    is_planned_or_refused(yaml.safe_dump(raw, allow_unicode=True), tmp_path_factory.mktemp("block"))


@law
@given(document=VALUES)
def test_any_document_is_planned_or_refused(document, tmp_path_factory):
    assert not is_planned_or_refused(yaml.safe_dump(document, allow_unicode=True), tmp_path_factory.mktemp("document"))


@law
@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 20), new=st.one_of(
    st.binary(max_size=4), st.text("{}[]:,&*!|>'\"%@`-?#\n \t<.0123eE", max_size=6).map(str.encode),
))  # fmt: skip
def test_any_slip_of_the_keyboard_is_planned_or_refused(start, length, new, tmp_path_factory):
    content = TEXT.encode()
    is_planned_or_refused(content[:start] + new + content[start + length :], tmp_path_factory.mktemp("slip"))
