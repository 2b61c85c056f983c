"""What the documents point to is there: sections of docs/papers.md that are cited, files that are named."""

import re
from pathlib import Path

import pytest

from entia import plan
from entia.claims import diet, multi_view

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAPERS = (ROOT / "docs/papers.md").read_text("utf-8")

CITED = re.compile(
    r"(?P<whose>(?:DIET )?[Ss]pec |docs/papers\.md, |\d{4}\.\d{5}, |)"
    r"(?P<numbers>§\d+(?:\.\d+)*(?:(?:, | and )§\d+(?:\.\d+)*)*)"
)
BARE = {"params.yaml"}
"""Where a § with nothing before it is part one's, as the file's head says."""

SUFFIXES = {".py", ".md", ".yaml", ".toml", ".smk", ".lock", ".csv", ".cff", ".def", ".html", ".json", ".sh", ".dvc"}
EXAMPLES = {"src/entia/losses/alignment.py", "list.sh", "labels.csv"}
"""Files that a document has its reader make."""
SEARCHED = ("src/entia", "workflow", "recorded")
"""Where a file named without its folder may be."""
MADE = [
    *(line.strip("/*") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines() if line.startswith("/")),
    *(f"recorded/{scale}" for scale in plan.SCALES),
    ".snakemake",
    "index.html",
]
"""Folders and files that runs make, or `make record`; which scales are recorded is no matter of the documents' tests."""


def sections() -> dict[str, set[str]]:
    """The numbers of the sections of either part of docs/papers.md."""
    _, one, two = re.split(r"^# Part (?:one|two): .*$", PAPERS.split("\n# Independent")[0], flags=re.M)
    return {name: set(re.findall(r"^#+ §([\d.]+) ", part, re.M)) for name, part in (("one", one), ("two", two))}


def citations(text: str) -> list[tuple[str, str]]:
    """(what stands before it, number) of each section cited; line breaks inside comments do not part them."""
    text = re.sub(r"\s*\n\s*(?:# )?", " ", text)
    return [
        (found["whose"].strip(" ,"), number)
        for found in CITED.finditer(text)
        for number in re.findall(r"[\d.]+\d|\d", found["numbers"])
    ]


def citing() -> list[Path]:
    """The files whose citations count, this one aside."""
    found = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").glob("*.py"), *(ROOT / "data/reported").glob("*.csv")]
    return sorted({*found, *DOCUMENTS, ROOT / "params.yaml"} - {Path(__file__), ROOT / "docs/papers.md"})


def unknown(name: str, text: str) -> list[str]:
    """Citations in a text that lead nowhere."""
    known = sections()
    parts = {"spec": "one", "Spec": "one", "docs/papers.md": "one", "DIET spec": "two", "DIET Spec": "two"}
    if name in BARE:
        parts[""] = "one"
    return [
        f"{name}: {whose or 'nothing'} before §{number}"
        for whose, number in citations(text)
        if not re.match(r"\d", whose) and number not in known.get(parts.get(whose, ""), ())
    ]


def test_every_section_that_is_cited_stands_in_docs_papers():
    assert not [wrong for path in citing() for wrong in unknown(path.name, path.read_text("utf-8"))]


def test_both_parts_are_cited():
    found = {whose for path in citing() for whose, _ in citations(path.read_text("utf-8"))}
    assert {"spec", "DIET spec"} <= found


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("config.py", "as they ran (spec §3.1, §4.2)", 0),
        ("config.py", "as they ran (DIET spec §3.1)", 0),
        ("config.py", "weights: spec\n    # §6.4.", 0),
        ("config.py", "by DIET\n    spec §8.2", 0),
        ("config.py", "(spec §8.2)", 1),  # DIET's alone
        ("config.py", "(DIET spec §6.4)", 1),  # the others' alone
        ("config.py", "(spec §3.1, §9.9)", 1),
        ("config.py", "(§3.1)", 1),  # whose it is does not stand there
        ("config.py", "(2006.07733, §99)", 0),  # another paper's
        ("params.yaml", "(§3.1)", 0),
        ("params.yaml", "(§9.9)", 1),
    ],
)
def test_a_citation_says_whose_section_it_is(name, text, wrong):
    assert len(unknown(name, text)) == wrong


def test_every_claim_stands_in_docs_papers():
    named = set(re.findall(r"^\| ((?:MV|DIET)-H\d+) \|", PAPERS, re.M))
    assert {claim.claim for claim in (*multi_view.CLAIMS, *diet.CLAIMS)} <= named


def named_files(text: str) -> set[str]:
    """Relative links and paths in a text, without addresses, patterns and names in capitals that stand for others."""
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", text) if ":" not in link}
    words = {word.rstrip(".:") for word in re.split(r"[\s`'\"(),;|\[\]]+", text)}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    return links | {
        word
        for word in words
        if not re.search(r"[…*:$<>{}=@~]|^/|(?:^|/)[A-Z]{2,}(?:[./]|$)(?!md|cff)", word)
        and (("/" in word and word.split("/")[0] in folders) or Path(word).suffix in SUFFIXES)
    }


def is_there(name: str, beside: Path) -> bool:
    """Whether a file of the repository has that path (a module's without .py, too) or, without folders, that name."""
    if any((name + "/").startswith(made + "/") for made in MADE):
        return True
    if "/" not in name and any(next((ROOT / folder).rglob(name), None) for folder in SEARCHED):
        return True
    return any((folder / path).exists() for folder in (ROOT, beside) for path in (name, f"{name}.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(document):
    names = named_files(document.read_text("utf-8")) - EXAMPLES
    assert not sorted(name for name in names if not is_there(name, document.parent))


def test_the_example_files_are_still_named():
    assert set().union(*(named_files(path.read_text("utf-8")) for path in DOCUMENTS)) >= EXAMPLES


def test_a_wrong_path_is_found():
    found = named_files("see docs/nowhere.md, [this](gone/x.md), `absent.py`, data/raw/NAME/, src/entia/confg and a/b")
    assert found == {"docs/nowhere.md", "gone/x.md", "absent.py", "src/entia/confg"}
    assert not [name for name in found if is_there(name, ROOT / "docs")]


def test_the_picture_of_the_house_names_every_module_and_no_other():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    picture = text.split("## The house")[1].split("```")[1]
    shown, folder = set(), ""
    for line in picture.strip().splitlines():
        if not line.startswith(" "):
            places = re.findall(r"^(\w+)/", line)
            folder = places[0] if places else ""
            shown |= set(re.findall(r"\b\w+\.py\b", line))
        named = line.rsplit(":", 1)[-1] if not line.startswith(" ") else line
        if folder:
            shown |= {f"{folder}/{name}.py" for name in named.split()}
    source = ROOT / "src/entia"
    files = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    assert shown == {name for name in files if not name.endswith("__init__.py")}
