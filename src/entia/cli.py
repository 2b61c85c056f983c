"""The shell of entia: reads, calls, writes. `entia --help` lists what it does.

Every stage runs by hand as Snakemake runs it: `entia pretrain CELL`, where CELL is an artefact's name (as `entia plan`
prints it) or its key alone. Heavy libraries are imported where a command needs them: start-up is most of a small cell.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from entia import check, cluster, overview, plan, provenance, stages, store
from entia.config import Problem
from entia.stages import DATA

if TYPE_CHECKING:
    import pandas as pd

PARAMS = Path("params.yaml")
CALIBRATION = DATA / "calibration.json"


def main() -> None:
    """Runs one command; a user's mistake ends it with one message and exit code 1."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except Problem as problem:
        sys.exit(f"entia: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="entia",
        description="Simple self-supervised pretraining: every table and figure of three papers from params.yaml.",
        epilog="Run in the folder that holds params.yaml. `snakemake --cores all` runs all that is not up to date.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, *positional: tuple[str, str]
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        for argument, meaning in positional:
            sub.add_argument(argument.rstrip("?"), help=meaning, nargs="?" if argument.endswith("?") else None)
        sub.set_defaults(run=run)
        return sub

    cell = ("cell", "an artefact's name, or its key (its last ten digits)")
    planning = command(
        "plan",
        _plan,
        "which cells each table and figure needs, how many are done, and what they take",
        ("artefact?", "one alone, its cells listed"),
    )
    _scale(planning)
    planning.add_argument(
        "--commands", action="store_true", help="the commands that are left to run, without Snakemake"
    )
    planning.add_argument("--profile", metavar="NAME", help="jobs, GPU-hours and time with a profile, such as slurm")
    planning.add_argument(
        "--gpus", type=_count, metavar="N", help="with --profile: cells at once, if not its own limit"
    )
    planning.add_argument(
        "--calibration", type=Path, metavar="FILE", help=f"another machine's in place of this one's ({CALIBRATION})"
    )
    calibrating = command("calibrate", calibrate_, f"measure this machine into {CALIBRATION}, so that plan shows times")
    _scale(calibrating)
    calibrating.add_argument("--seconds", type=_count, default=60, metavar="N", help="how long, about (default: 60)")
    calibrating.add_argument(
        "--at-once", type=_count, metavar="N", help="cells at once (default: as many as `snakemake --cores all` runs)"
    )
    command("subset", lambda a: _stage(a, "subset", stages.subset), "pack a data set's images into data/subset/", cell)
    command(
        "pretrain", lambda a: _stage(a, "pretrain", stages.pretrain), "pretrain one cell into data/checkpoints/", cell
    )
    command(
        "embed",
        lambda a: _stage(a, "embed", stages.embed),
        "embed images by a cell's encoders into data/embeddings/",
        cell,
    )
    command(
        "readout",
        lambda a: _stage(a, "readout", stages.readout),
        "read labels out of embeddings into data/readouts/",
        cell,
    )
    command("report", report, "draw one table or figure from the readouts", ("artefact", "its id, such as MV-T1"))
    command("claims", claims_, "judge the papers' claims from the readouts")
    command("index", index, "assemble index.html, the page of all tables and figures")
    command("results", results_, "print a table, and where everything lies", ("artefact?", "its id; the first if none"))
    command("metrics", metrics, "write metrics.json, which `dvc metrics diff` compares")
    command("adopt", adopt_, "have Snakemake take up what was made without it: all that `check` calls current")
    checking = command(
        "check", check_artefacts, "say of each artefact whether it is whole, and of today's config, code and data"
    )
    checking.add_argument("--quiet", action="store_true", help="name what is damaged or foreign, nothing else")
    checking.add_argument("--raw", action="store_true", help="read the raw data too, and compare their checksums")
    pruning = command("prune", prune, "list what the plan no longer names in data/, and remove it if you say yes")
    pruning.add_argument("--yes", action="store_true", help="do not ask")
    pruning.add_argument("--other-scales", action="store_true", help="remove what other scales alone name, too")
    pruning.add_argument("--even-unsaved", action="store_true", help="remove what no DVC remote holds, too")
    command(
        "show", show, "print what an artefact says of itself: config, code, versions, machine", ("file", "its path")
    )
    return parser


def _scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=plan.SCALES, help="another scale than params.yaml's")


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return number


def _stage(arguments: argparse.Namespace, stage: str, run: Callable[[Any], None]) -> None:
    found = plan.load(PARAMS).of(stage)
    matching = [found[name] for name in found if name == arguments.cell or name.rsplit("-", 1)[1] == arguments.cell]
    if not matching:
        raise Problem(f"{arguments.cell}: no such {stage} in params.yaml at this scale; `entia plan` lists them")
    run(matching[0])


# --- reports ------------------------------------------------------------------------------------------------------


def _frame(found: plan.Plan, rows: tuple[plan.Row, ...]) -> "pd.DataFrame":
    """The readouts and logs of these rows."""
    from entia import results

    return results.frame(
        found,
        rows,
        lambda stage: check.open_head(DATA, stage),
        lambda stage: store.read_log(store.log_path(DATA, stage.embed.pretrain)),
    )


def report(arguments: argparse.Namespace) -> None:
    """Draws one table or figure."""
    found = plan.load(PARAMS)
    asked = _report(found, arguments.artefact)
    rows = _frame(found, found.rows[arguments.artefact])
    if asked.table:
        from entia import tables

        for ending, text in tables.draw(asked, rows, found.scale, arguments.artefact).items():
            store.write_text(found.folder / "tables" / f"{arguments.artefact}.{ending}", text)
    else:
        from entia import figures

        figure = figures.draw(asked, rows, found.scale)
        for ending in figures.ENDINGS:
            with store.whole(found.folder / "figures" / f"{arguments.artefact}.{ending}") as temporary:
                figures.save(figure, temporary, ending)


def claims_(arguments: argparse.Namespace) -> None:
    """Writes claims.md and claims.json."""
    from entia import claims

    found = plan.load(PARAMS)
    rows = tuple(dict.fromkeys(row for part in found.rows.values() for row in part if claims.reads(row.experiment)))
    verdicts = claims.judge(_frame(found, rows), found.scale, found.judging.looks)
    for ending, text in claims.render(verdicts, found.scale).items():
        store.write_text(found.folder / f"claims.{ending}", text)


def index(arguments: argparse.Namespace) -> None:
    """Writes index.html."""
    from entia import page

    found = plan.load(PARAMS)
    claims = (found.folder / "claims.md").read_text()
    speed = Path("reports/benchmarks/ratios.md")
    text = page.html(
        found,
        _tables(found),
        claims,
        speed.read_text() if speed.exists() else "",
        os.path.relpath(speed.parent, found.folder),
    )
    store.write_text(found.folder / "index.html", text)


def results_(arguments: argparse.Namespace) -> None:
    """Prints one table, and where everything lies."""
    found = plan.load(PARAMS)
    tables = _tables(found)
    chosen = arguments.artefact or next(iter(tables))
    if chosen not in tables:
        raise Problem(f"{chosen}: no such table at this scale; there are {', '.join(tables)}")
    print(tables[chosen])
    print(f"{len(found.reports)} artefacts at {found.scale} scale, from {len(found.pretrains)} pretraining runs:")
    print(f"  all on one page  {found.folder / 'index.html'}")
    print(f"  figures          {found.folder / 'figures'}/*.png, *.pdf, *.svg")
    print(
        f"  tables           {found.folder / 'tables'}/*.md, *.csv, *.tex; "
        f"`entia results {[*tables][-1]}` prints another"
    )
    print(f"  verdicts         {found.folder / 'claims.md'}")


def _tables(found: plan.Plan) -> dict[str, str]:
    try:
        return {a: (found.folder / f"tables/{a}.md").read_text() for a, r in found.reports.items() if r.table}
    except FileNotFoundError as error:
        raise Problem(f"{error.filename}: missing; `snakemake --cores all` makes it") from error


def _plan(arguments: argparse.Namespace) -> None:
    found = plan.load(PARAMS, arguments.scale)
    calibration, about = overview.calibration(CALIBRATION, arguments.calibration)
    if arguments.commands:
        print("\n".join(overview.commands(found, DATA, overview.current(DATA, provenance.stage_code), calibration)))
    elif arguments.profile is not None:
        given = calibration if arguments.calibration else None  # this machine's is none of a cluster's
        print(overview.on_cluster(found, DATA, cluster.read(arguments.profile), arguments.gpus, given))
    elif arguments.artefact is not None:
        _report(found, arguments.artefact)
        print(overview.cells(found, arguments.artefact, DATA, calibration))
    else:
        print(overview.artefacts(found, DATA, calibration, about))


def calibrate_(arguments: argparse.Namespace) -> None:
    """Measures this machine and writes data/calibration.json."""
    from entia import calibrate

    found = plan.load(PARAMS, arguments.scale)
    places = arguments.at_once or cluster.places(found)
    print(f"{places} processes measure for about {arguments.seconds} s ...", file=sys.stderr, flush=True)
    measured = calibrate.calibrate(found, places, arguments.seconds)
    store.write_text(CALIBRATION, msgspec.json.format(msgspec.json.encode(measured)).decode() + "\n")
    print(f"{CALIBRATION}: {measured.machine}, {len(measured.trained)} shapes of cells; `entia plan` shows times now")


def adopt_(arguments: argparse.Namespace) -> None:
    """Has Snakemake record what was made without it."""
    from entia import adopt

    count = adopt.adopt(plan.load(PARAMS), DATA)
    print(f"{count} artefacts taken up; `snakemake --cores all` makes what is missing and draws tables and figures")


def _report(found: plan.Plan, artefact: str) -> plan.Report:
    if artefact not in found.reports:
        raise Problem(
            f"{artefact}: no such artefact under `reports:` in params.yaml; known: {', '.join(found.reports)}"
        )
    return found.reports[artefact]


def show(arguments: argparse.Namespace) -> None:
    """Prints an artefact's header."""
    file = Path(arguments.file)
    if file.suffix not in store.ENDINGS.values():
        raise Problem(f"{file}: not an artefact (.h5, .safetensors or .json)")
    print(json.dumps(store.read_head(file), indent=1))


# --- what lies in data/ -------------------------------------------------------------------------------------------


def metrics(arguments: argparse.Namespace) -> None:
    """Writes reports/metrics.json: by scale and artefact, the mean accuracy of each arm's last epochs."""
    from entia import results

    found = plan.load(PARAMS)
    content: dict[str, dict[str, float]] = {}
    for artefact, rows in found.rows.items():
        if rows:
            last: Any = results.last(_frame(found, rows))  # pandas' stubs do not follow a groupby
            arms = (
                last.assign(of=last["experiment"] + " " + last["arm"]).groupby("of", as_index=False)["accuracy"].mean()
            )
            content[artefact] = dict(zip(arms["of"], arms["accuracy"], strict=True))
    text = json.dumps({found.scale: content}, sort_keys=True, indent=1) + "\n"
    store.write_text(Path("reports/metrics.json"), text)  # one file whatever the scale: dvc.yaml names it


def check_artefacts(arguments: argparse.Namespace) -> None:
    """Prints what each planned artefact is, and ends with exit code 1 if one is damaged or foreign."""
    found = list(check.check(plan.load(PARAMS), DATA, arguments.raw))
    for finding in found:
        if finding.is_wrong or not arguments.quiet:
            print(f"{finding.state:10}  {finding.file}" + (f"  ({finding.why})" if finding.why else ""))
    if not arguments.quiet:
        print(check.summary(found))
    if any(finding.is_wrong for finding in found):
        raise Problem("what is damaged or foreign above must not be used; deleting it is left to you")


def prune(arguments: argparse.Namespace) -> None:
    """Lists what no plan names, and removes it once confirmed; what no DVC remote holds only when asked for."""
    scales = [plan.load(PARAMS).scale] if arguments.other_scales else plan.SCALES
    files = check.unplanned((plan.load(PARAMS, scale) for scale in scales), DATA)
    saved = check.stored_elsewhere(Path.cwd()) if files else set[Path]()
    for file in files:
        print(f"{file.stat().st_size / 2**20:9.2f} MiB  {'stored' if file.absolute() in saved else 'UNSAVED'}  {file}")
    chosen = [file for file in files if arguments.even_unsaved or file.absolute() in saved]
    size = sum(file.stat().st_size for file in chosen) / 2**20
    print(f"{len(files)} files are not named at scale {', '.join(scales)}; {len(chosen)} may go ({size:.2f} MiB)")
    if len(chosen) < len(files):
        print("UNSAVED: no DVC remote holds it as the last commit names it; `dvc push`, or give --even-unsaved")
    if chosen and (arguments.yes or _is_agreed("remove them?")):
        check.remove(chosen)
        print(f"{len(chosen)} files removed; `dvc repro` records that they are gone")


def _is_agreed(question: str) -> bool:
    """True if the user types yes; no terminal, no answer."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    main()
