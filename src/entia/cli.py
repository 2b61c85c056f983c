"""The shell of entia: reads, calls, writes. `entia --help` lists what it does.

Every stage runs by hand as Snakemake runs it: `entia pretrain CELL`, where CELL is an artefact's name (as `entia plan`
prints it) or its key alone. Heavy libraries are imported where a command needs them: start-up is most of a small cell.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from entia import commands as do
from entia import plan, stages
from entia.artefacts import provenance
from entia.fields import Problem
from entia.system import machines, streams


def main() -> None:
    """Runs one command; a user's mistake, or what the system refuses, ends it with one message and exit code 1."""
    streams.prepare()
    arguments = _parser().parse_args()
    _say_whose()
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except Problem as problem:
        sys.exit(f"entia: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        streams.drop()
        sys.exit(0)
    except OSError as error:
        if error.filename is not None:
            sys.exit(f"entia: {machines.refusal(error)}")
        streams.drop()
        sys.exit(f"entia: standard output: {error.strerror}")


def _say_whose() -> None:
    """Says so where this is another checkout's entia than the working folder's: its code is not what Snakemake runs."""
    local = Path("src/entia")
    if local.is_dir() and not local.samefile(provenance.HERE):
        streams.say(
            f"entia: this is the code of {provenance.HERE}, not of {local.absolute()}; to call that one: "
            f"PYTHONPATH=src {sys.executable} -P -m entia.cli ..."
        )


class _Command(Protocol):
    """Adds a command: its name, what runs it, what it does, and its positional arguments with their meaning."""

    def __call__(
        self, name: str, run: Callable[[argparse.Namespace], None], text: str, *positional: tuple[str, str]
    ) -> argparse.ArgumentParser: ...


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="entia",
        description="Simple self-supervised pretraining: every table and figure of three papers from params.yaml.",
        epilog="Run in the folder that holds params.yaml. `snakemake --cores all` runs all that is not up to date.",
    )
    found = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, *positional: tuple[str, str]
    ) -> argparse.ArgumentParser:
        sub = found.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        for argument, meaning in positional:
            count = "?" if argument.endswith("?") else None
            sub.add_argument(argument.rstrip("?"), help=meaning, nargs=count, type=_given)
        sub.set_defaults(run=run)
        return sub

    for add in (_forecasting, _making, _drawing, _carrying, _keeping):
        add(command)
    return parser


def _forecasting(command: _Command) -> None:
    planning = command(
        "plan",
        do.plan_,
        "show which cells each table and figure needs, how many are done, and how long they take",
        ("report?", "list the cells of one table or figure, such as MV-T1"),
    )
    _scale(planning)
    planning.add_argument(
        "--commands", action="store_true", help="print the commands that are left to run, without Snakemake"
    )
    planning.add_argument(
        "--profile", metavar="NAME", help="show jobs, GPU-hours and time with a profile, such as slurm"
    )
    planning.add_argument(
        "--gpus",
        type=_count,
        metavar="N",
        help="with --profile: how many cells run at once (default: the profile's limit)",
    )
    planning.add_argument(
        "--calibration",
        type=_file,
        metavar="FILE",
        help=f"use another machine's calibration in place of {do.CALIBRATION}",
    )
    calibrating = command(
        "calibrate", do.calibrate_, f"measure this machine into {do.CALIBRATION}, so that plan shows times"
    )
    _scale(calibrating)
    calibrating.add_argument(
        "--seconds", type=_count, default=60, metavar="N", help="about how long to measure (default: 60)"
    )
    calibrating.add_argument(
        "--at-once",
        type=_count,
        metavar="N",
        help="how many cells run at once (default: as many as with `snakemake --cores all`)",
    )


def _making(command: _Command) -> None:
    cell = ("cell", "an artefact's name, or its key (its last ten digits)")
    for step, run, text in (
        ("subset", do.pack, "pack a data set's images into data/subset/"),
        ("pretrain", do.train, "pretrain one cell into data/checkpoints/"),
        ("embed", do.alone(stages.embed), "embed images by a cell's encoders into data/embeddings/"),
        ("readout", do.alone(stages.readout), "read labels out of embeddings into data/readouts/"),
    ):
        _scale(command(step, functools.partial(do.stage, step, run), text, cell))


def _drawing(command: _Command) -> None:
    drawing = ("report", "its id, such as MV-T1")
    _scale(command("report", do.report, "draw one table or figure from the readouts", drawing))
    _scale(command("claims", do.claims_, "judge the papers' claims from the readouts"))
    paging = command("index", do.index, "assemble index.html, the page of all tables and figures")
    _scale(paging)
    paging.add_argument(
        "--without", nargs="*", default=[], metavar="REPORT", help="leave out these, which the last run could not draw"
    )
    shown = ("report?", "its id (default: the first table)")
    _scale(command("results", do.results_, "print a table, and where everything lies", shown))
    _scale(
        command("record", do.record_, "copy all drawings into recorded/, which git keeps, with the commit and machine")
    )
    command("metrics", do.metrics, "write metrics.json, which `dvc metrics diff` compares")


def _carrying(command: _Command) -> None:
    adopting = "have Snakemake take up the artefacts that were made without it and that `check` calls current"
    command(
        "adopt",
        do.adopt_,
        adopting,
        ("archive?", "take up the archive of `entia run` on another machine, and draw it"),
    )
    running = command("run", do.run_, "make a study without Snakemake, on a borrowed machine, and pack the results")
    _scale(running)
    running.add_argument(
        "--seconds", type=_count, metavar="N", help="stop and pack after N seconds (default: when everything is made)"
    )
    each = "processes that train on each GPU, or on the CPU (default: one a GPU; without any, one a core)"
    running.add_argument("--workers", type=_count, metavar="N", help=each)
    running.add_argument(
        "--archive", type=_file, metavar="FILE", help="where the archive goes (default: entia-SCALE.tar.gz)"
    )
    running.add_argument("--weights", action="store_true", help="pack the encoders' weights too")
    begun = command(
        "study", do.study, "begin a study of your own images in a new folder", ("folder", "the folder to make")
    )
    begun.add_argument("--unlabelled", action="store_true", help="of images that have no labels")
    command("where", do.where, "print the folder that holds the Snakefile")


def _keeping(command: _Command) -> None:
    checking = command(
        "check",
        do.check_artefacts,
        "check that each artefact is whole, and made with today's config, code and data",
    )
    _scale(checking)
    checking.add_argument("--quiet", action="store_true", help="list only damaged, foreign and unreadable files")
    checking.add_argument("--raw", action="store_true", help="read the raw data too, and compare their checksums")
    pruning = command(
        "prune", do.prune, "list the files in data/ that the plan no longer names, and remove them if you say yes"
    )
    pruning.add_argument("--yes", action="store_true", help="do not ask")
    pruning.add_argument("--other-scales", action="store_true", help="also remove files that only other scales name")
    pruning.add_argument("--even-unsaved", action="store_true", help="also remove files that no DVC remote holds")
    asking = command("why", do.why_, "say why artefacts would be made anew: which code, field or input has changed")
    _scale(asking)
    asking.add_argument(
        "names", nargs="+", type=_given, metavar="NAME", help="a cell, as above, its file, or an id such as MV-T1"
    )
    command("show", do.show, "print an artefact's config, code, versions and machine", ("file", "its path"))


def _scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=plan.SCALES, help="use this scale in place of the one in params.yaml")


def _given(text: str) -> str:
    """A name, a file or a folder: an empty text would be the working folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty text names nothing; give a name, or a dot for this folder")
    return text


def _file(text: str) -> Path:
    return Path(_given(text))


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return number


if __name__ == "__main__":
    main()
