"""What each command of entia does with its arguments. Heavy libraries are imported where one needs them."""

import argparse
import functools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from entia import config, naming, plan, sizes, stages
from entia.artefacts import adopted, check, current, packed, store
from entia.fields import Problem
from entia.forecast import cluster, overview
from entia.reports import files, record
from entia.stages import DATA
from entia.system import faults, home, streams

PARAMS = Path("params.yaml")
CALIBRATION = DATA / "calibration.json"


def alone(run: Callable[[Any], None]) -> Callable[[plan.Plan, Any], None]:
    """A stage that asks nothing of the rest of the plan."""
    return lambda _, of: run(of)


def train(planned: plan.Plan, of: config.Pretrain) -> None:
    """Pretrains a cell on as many devices as its scale says."""
    stages.pretrain(of, planned.devices)


def pack(planned: plan.Plan, of: config.Subset) -> None:
    """Packs a subset, once every run that is planned on it is known to be possible."""
    stages.subset(of, lambda held: packed.refuse_on(planned, of, held))


def stage(stage: str, run: Callable[[plan.Plan, Any], None], arguments: argparse.Namespace) -> None:
    """Makes one artefact by hand, unless it is current."""
    planned = plan.load(PARAMS, arguments.scale)
    found = planned.of(stage)
    matching = [found[name] for name in found if name == arguments.cell or name.rsplit("-", 1)[1] == arguments.cell]
    if not matching:
        raise Problem(
            f"{arguments.cell}: no such {stage} in params.yaml at {planned.scale} scale; `entia plan ID` lists them, "
            "`--scale` names another"
        )
    chosen = matching[0]
    if current.is_current(DATA, chosen):
        print(f"{naming.label(chosen)}: {store.path(DATA, chosen)} is current; delete it to have it made anew")
    else:
        run(planned, chosen)


# --- reports ------------------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace) -> None:
    """Draws one table or figure."""
    files.write(plan.load(PARAMS, arguments.scale), arguments.report)


def claims_(arguments: argparse.Namespace) -> None:
    """Writes claims.md and claims.json."""
    files.judge(plan.load(PARAMS, arguments.scale))


def index(arguments: argparse.Namespace) -> None:
    """Writes index.html."""
    files.assemble(plan.load(PARAMS, arguments.scale), set(arguments.without))


def record_(arguments: argparse.Namespace) -> None:
    """Copies what a run drew to where git keeps it, with the commit, machine and versions."""
    found = plan.load(PARAMS, arguments.scale)
    if adopted.origins(found):  # which are drawn as far as they came
        found = adopted.drawable(found, DATA)
    origin = record.origin(found, DATA)
    record.speed()
    target = record.record(found, origin, files.html(found, record.FOLDER / found.scale, origin))
    store.write_text(target / "metrics.json", files.metrics(found))
    print(f"{target}: {len(found.reports)} tables and figures, the verdicts and the page. {origin}")


def results_(arguments: argparse.Namespace) -> None:
    """Prints one table, and where everything lies."""
    found = plan.load(PARAMS, arguments.scale)
    tables = [report_id for report_id, asked in found.reports.items() if asked.table]
    if not tables:
        raise Problem(f"{PARAMS}: reports: no table is drawn at {found.scale} scale; `--scale` names another")
    chosen = arguments.report or tables[0]
    if chosen not in tables:
        raise Problem(f"{chosen}: no such table at this scale; there are {', '.join(tables)}")
    print(files.text_of(found.folder / f"tables/{chosen}.md"))
    print(
        f"{len(found.reports)} tables and figures at {found.scale} scale, from {len(found.pretrains)} pretraining runs:"
    )
    print(f"  all on one page  {found.folder / 'index.html'}")
    print(f"  figures          {found.folder / 'figures'}/*.png, *.pdf, *.svg")
    print(
        f"  tables           {found.folder / 'tables'}/*.md, *.csv, *.tex; `entia results {tables[-1]}` prints another"
    )
    print(f"  verdicts         {found.folder / 'claims.md'}")


def plan_(arguments: argparse.Namespace) -> None:
    """Prints what is asked for, what is done, and what that leaves to do."""
    found = plan.load(PARAMS, arguments.scale)
    for notice in found.notices:
        streams.say(f"entia: {PARAMS}: {notice}")
    calibration, about = overview.calibration(CALIBRATION, arguments.calibration)
    unknown = [subset for subset in found.subsets.values() if sizes.counted(subset).train is None]
    if calibration and unknown:
        calibration, about = None, f"no times: {sizes.unknown(unknown[0])}"
    if arguments.commands:
        left = adopted.to_make(found, DATA)
        print("\n".join(overview.commands(left, DATA, calibration)))
    elif arguments.profile is not None:
        given = calibration if arguments.calibration else None  # this machine's is none of a cluster's
        left = found.without(unknown)
        print(overview.on_cluster(left, DATA, cluster.read(arguments.profile), arguments.gpus, given))
        for why in dict.fromkeys(map(sizes.unknown, unknown)):
            print(f"not in it: {why}")
    elif arguments.report is not None:
        files.asked_for(found, arguments.report)
        print(overview.cells(found, arguments.report, DATA, calibration))
    else:
        print(overview.reports(found, DATA, calibration, about))


def calibrate_(arguments: argparse.Namespace) -> None:
    """Measures this machine and writes data/calibration.json."""
    from entia.forecast import calibrate

    found = plan.load(PARAMS, arguments.scale)
    places = arguments.at_once or cluster.places(found)
    streams.say(f"{places} processes measure for about {arguments.seconds} s:")
    measured = calibrate.calibrate(PARAMS, found, places, arguments.seconds)
    store.write_text(CALIBRATION, msgspec.json.format(msgspec.json.encode(measured)).decode() + "\n")
    print(f"{CALIBRATION}: {measured.machine}, {len(measured.known)} cells tried; `entia plan` shows times now")


def adopt_(arguments: argparse.Namespace) -> None:
    """Has Snakemake record what was made without it; or takes up an archive of another machine, and draws it."""
    if arguments.archive is None:
        from entia.artefacts import adopt

        count = adopt.adopt(plan.load(PARAMS), DATA)
        print(f"{count} artefacts taken up; `snakemake --cores all` makes what is missing and draws tables and figures")
        return
    from entia.artefacts import archive

    found, taken, ours = archive.take_up(Path(arguments.archive), functools.partial(plan.load, PARAMS), DATA)
    drawn = adopted.drawable(found, DATA)
    for report_id in drawn.reports:
        files.write(drawn, report_id)
    files.judge(drawn)
    files.assemble(drawn)
    print(overview.taken_up(found, drawn, DATA, taken, ours))


def run_(arguments: argparse.Namespace) -> None:
    """Makes as much of a study as the time allows, and packs it."""
    from entia.running import borrowed

    found = plan.load(PARAMS, arguments.scale)
    target = arguments.archive or Path(f"entia-{found.scale}.tar.gz")
    wanted = borrowed.Wanted(arguments.seconds or math.inf, arguments.workers, target, arguments.weights)
    sys.exit(borrowed.run(found, DATA, wanted))


def why_(arguments: argparse.Namespace) -> None:
    """Prints why artefacts would be made anew, a line a reason."""
    from entia.artefacts.why import Why

    asked = Why(plan.load(PARAMS, arguments.scale), DATA)
    print("\n".join(dict.fromkeys(line for name in arguments.names for line in asked.answer(name))))


def study(arguments: argparse.Namespace) -> None:
    """Makes a folder a study, and says how it is run."""
    home.begin(Path(arguments.folder), "own-images-unlabelled" if arguments.unlabelled else "own-images")
    print(f"{arguments.folder}: params.yaml says where your images go and what is run. In that folder:")
    print('  snakemake --snakefile "$(entia where)/Snakefile" --cores all')


def where(arguments: argparse.Namespace) -> None:
    """Prints the folder that holds the Snakefile."""
    print(home.HOME)


def _whence(file: Path) -> str:
    """What makes a missing file, if anything that params.yaml plans does."""
    scales = plan.scales(PARAMS) if PARAMS.exists() else []
    for found in (plan.load(PARAMS, scale) for scale in scales):
        every = (of for kind in config.KINDS for of in found.of(kind).values())
        if any(store.path(DATA, of).absolute() == file.absolute() for of in every):
            return f"with `scale: {found.scale}` in params.yaml, `snakemake --cores all {file}` makes it"
    return f"nothing in {PARAMS.absolute()} makes it, at any scale"


def show(arguments: argparse.Namespace) -> None:
    """Prints an artefact's header."""
    file = Path(arguments.file)
    suffixes = dict.fromkeys(stage.suffixes[0] for stage in config.STAGES)
    if file.suffix not in suffixes:
        raise Problem(f"{file}: not an artefact ({', '.join(suffixes)})")
    if not faults.is_there(file):
        raise Problem(f"{file}: missing; {_whence(file)}")
    print(json.dumps(store.read_head(file), indent=1))


# --- what lies in data/ -------------------------------------------------------------------------------------------


def metrics(arguments: argparse.Namespace) -> None:
    """Writes reports/metrics.json: whatever the scale, since dvc.yaml names it."""
    store.write_text(Path("reports/metrics.json"), files.metrics(plan.load(PARAMS)))


def check_artefacts(arguments: argparse.Namespace) -> None:
    """Prints what each planned artefact is, and ends with exit code 1 if one is damaged, foreign or unreadable."""
    found = list(check.check(plan.load(PARAMS, arguments.scale), DATA, arguments.raw))
    for finding in found:
        if finding.is_wrong or not arguments.quiet:
            print(f"{finding.state:10}  {finding.file}" + (f"  ({finding.why})" if finding.why else ""))
    if not arguments.quiet:
        print(check.summary(found))
    if any(finding.state in ("damaged", "foreign") for finding in found):
        raise Problem("do not use the damaged and foreign files above; delete them if you do not need them")
    if any(finding.is_wrong for finding in found):
        raise Problem("the unreadable files above could not be checked; they may be whole")


def prune(arguments: argparse.Namespace) -> None:
    """Lists what no plan names, and removes it once confirmed; what no DVC remote holds only when asked for."""
    scales = [plan.load(PARAMS).scale] if arguments.other_scales else plan.scales(PARAMS)
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
