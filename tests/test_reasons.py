"""What Snakemake says of why a job runs is short, whatever it rests on."""

import pytest
from snakemake.jobs import Reason

from entia.running import reasons

FILES = {f"data/readouts/a{number}.json" for number in range(300)}


def give(reason: Reason, name: str) -> None:
    if isinstance(getattr(reason, name), set):
        getattr(reason, name).update(FILES)
    else:
        setattr(reason, name, True)


@pytest.mark.parametrize("name", reasons.WORDS)
def test_every_reason_of_snakemake_is_said_in_a_line_that_can_be_read(name):
    reason = Reason()
    assert reasons.said(reason) == ""
    give(reason, name)
    assert reasons.said(reason) == reasons.WORDS[name].format("data/readouts/a0.json and 299 more")
    assert len(reasons.said(reason)) < 120


def test_a_file_that_another_job_makes_is_named_as_that_alone():
    reason = Reason()
    give(reason, "updated_input")
    give(reason, "updated_input_run")
    reason.finished = True
    assert reasons.said(reason) == "Finished (was: follows data/readouts/a0.json and 299 more)"


def test_no_reason_of_snakemake_has_no_words_here():
    told = {name.lstrip("_") for name in Reason.__slots__} - set(reasons.WORDS)
    never = {"unfinished_queue_input", "pipe", "service"}  # no rule of ours has these
    beside = {"derived", "target", "finished", "cleanup_metadata_instructions", "no_metadata", "outdated_metadata"}
    assert told == never | beside


def test_another_snakemake_is_refused_by_what_it_lacks(monkeypatch):
    monkeypatch.setitem(reasons.WORDS, "moonlight", "")
    with pytest.raises(reasons.Problem, match=r"has no moonlight; install the one of requirements\.lock"):
        reasons.in_short()
