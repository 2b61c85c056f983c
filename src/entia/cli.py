"""The shell of entia: reads, calls, writes. `entia --help` lists what it does.

Every stage runs by hand as Snakemake runs it: `entia pretrain CELL`, where CELL is an artefact's name (as `entia plan`
prints it) or its key alone. Heavy libraries are imported where a command needs them: start-up is most of a small cell.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from entia import check, config, machines, plan, provenance, store
from entia.config import Embed, Pretrain, Problem, Readout, Stage, Subset

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from entia.readout import Features

DATA, PARAMS = Path("data"), Path("params.yaml")
S = TypeVar("S", Subset, Pretrain, Embed, Readout)


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
        "which cells each table and figure needs, and how many are done",
        ("artefact?", "one alone, its cells listed"),
    )
    planning.add_argument(
        "--commands", action="store_true", help="the commands that are left to run, without Snakemake"
    )
    command("subset", lambda a: _stage(a, "subset", subset), "pack a data set's images into data/subset/", cell)
    command("pretrain", lambda a: _stage(a, "pretrain", pretrain), "pretrain one cell into data/checkpoints/", cell)
    command(
        "embed", lambda a: _stage(a, "embed", embed), "embed images by a cell's encoders into data/embeddings/", cell
    )
    command(
        "readout", lambda a: _stage(a, "readout", readout), "read labels out of embeddings into data/readouts/", cell
    )
    command("report", report, "draw one table or figure from the readouts", ("artefact", "its id, such as MV-T1"))
    command("claims", claims_, "judge the papers' claims from the readouts")
    command("index", index, "assemble index.html, the page of all tables and figures")
    command("results", results_, "print a table, and where everything lies", ("artefact?", "its id; the first if none"))
    command("metrics", metrics, "write metrics.json, which `dvc metrics diff` compares")
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


def _stage(arguments: argparse.Namespace, stage: str, run: Callable[[Any], None]) -> None:
    found = plan.load(PARAMS).of(stage)
    matching = [found[name] for name in found if name == arguments.cell or name.rsplit("-", 1)[1] == arguments.cell]
    if not matching:
        raise Problem(f"{arguments.cell}: no such {stage} in params.yaml at this scale; `entia plan` lists them")
    run(matching[0])


def _header(stage: str, of: Stage, **more: str) -> dict[str, Any]:
    return store.header(of, provenance.stage_code(stage, of), **more)


# --- stages -------------------------------------------------------------------------------------------------------


def subset(stage: Subset) -> None:
    """Reads a raw data set and packs the images that a subset names."""
    from entia import datasets

    parts = datasets.pack(stage, datasets.read(stage.dataset, DATA / "raw", stage.side))
    arrays = {
        f"{part}/{name}": getattr(getattr(parts, part), name)
        for part in ("train", "validation", "test")
        for name in ("pixels", "label", "index")
    }
    head = _header("subset", stage, raw_sha256=parts.checksum, classes="\n".join(parts.classes))
    store.write_hdf5(store.path(DATA, stage), arrays, head)
    counts = ", ".join(f"{len(getattr(parts, part))} {part}" for part in ("train", "validation", "test"))
    _say(f"{config.label(stage)}: {counts} images")


def pretrain(stage: Pretrain) -> None:
    """Trains one cell, going on from its last saved epoch if it was interrupted.

    SIGTERM or SIGUSR1 saves the last finished epoch at once, lets the running one end, saves that and exits with
    `machines.STOPPED`. Killed outright, it loses the running epoch, and what `_Saved` had not yet saved.
    """
    target = store.path(DATA, stage)
    mark = target.with_name(f".{target.stem}.lock.tmp")
    what = config.label(stage)
    with machines.alone(mark, lambda: _say(f"{what}: another process is training it; waiting for that")) as waited:
        if waited and _is_made(stage):
            _say(f"{what}: made by that other process")
        else:
            _train(stage)


def _is_made(stage: Pretrain) -> bool:
    target = store.path(DATA, stage)
    if not (target.exists() and store.log_path(DATA, stage).exists()):
        return False
    return store.read_tensors(target)[1]["code"] == _header("pretrain", stage)["code"]


def _train(stage: Pretrain) -> None:
    device = _device(stage)
    import torch

    from entia import pretrain as training

    what = config.label(stage)
    arrays, head = check.open_whole(DATA, stage.subset)
    pixels = device if training.is_resident(arrays["train/pixels"].nbytes, device) else "cpu"
    places = {"pixels": pixels, "index": device, "label": device}
    data, test = (
        training.Data(*(torch.from_numpy(arrays[f"{part}/{name}"]).to(place) for name, place in places.items()))
        for part in ("train", "test")
    )
    saved = _Saved(stage)
    rows, epoch, state = saved.load()
    where = {"machine": _where(device)}
    _say(f"{what}: {len(data.index)} images, on {where['machine']}" + (f", from epoch {epoch} on" if epoch else ""))
    with machines.stoppable(saved.flush) as stop:
        try:
            with _progress(what, stage.epochs, epoch) as advance:
                for progress in training.pretrain(stage, data, state, epoch, test):
                    rows.append({**progress.row, **where})
                    if training.is_kept(stage, progress.epoch):
                        saved.keep(progress.epoch, progress.weights)
                    if progress.epoch < stage.epochs:
                        saved.save(rows, progress.state)
                    advance(progress.epoch, f"loss {progress.row['loss']:.4g}")
                    if stop.came and progress.epoch < stage.epochs:
                        _say(f"{what}: asked to stop; saved epoch {progress.epoch}, to be gone on from")
                        sys.exit(machines.STOPPED)
        except BaseException as error:
            saved.flush()  # Ctrl-C, too, costs no finished epoch
            if isinstance(error, torch.OutOfMemoryError):
                raise Problem(f"{what}: the GPU's memory is full; run fewer at once, or lower `batch`") from error
            raise
        store.write_log(store.log_path(DATA, stage), rows)
        store.write_tensors(
            store.path(DATA, stage), saved.kept(), _header("pretrain", stage, raw_sha256=head["raw_sha256"])
        )
        saved.remove()


def embed(stage: Embed) -> None:
    """Embeds a data set's images by the encoders of one cell, at its last or at every kept epoch."""
    import torch

    from entia import embed as embedding

    device = _device(stage.pretrain)
    weights, _ = check.open_whole(DATA, stage.pretrain)
    images, head = check.open_whole(DATA, stage.on)
    epochs = sorted({int(name.split("/", 1)[0]) for name in weights})
    arrays: store.Arrays = {}
    for epoch in epochs if stage.epochs == "all" else epochs[-1:]:
        encoder = {name.split("/", 1)[1]: part for name, part in weights.items() if int(name.split("/", 1)[0]) == epoch}
        for part in ("train", "validation", "test"):
            pixels, position = (torch.from_numpy(images[f"{part}/{name}"]).to(device) for name in ("pixels", "index"))
            if len(position):
                features = embedding.embed(stage, encoder, pixels, position).cpu().numpy().astype(stage.dtype)
            else:
                features = _empty(arrays, epoch, stage.dtype)
            arrays[f"{epoch:05d}/{part}/features"] = features
            arrays[f"{epoch:05d}/{part}/label"] = images[f"{part}/label"]
            arrays[f"{epoch:05d}/{part}/index"] = images[f"{part}/index"]
    more = {"raw_sha256": head["raw_sha256"], "classes": head["classes"]}
    store.write_hdf5(store.path(DATA, stage), arrays, _header("embed", stage, **more))


def _empty(arrays: store.Arrays, epoch: int, dtype: str) -> Any:
    return arrays[f"{epoch:05d}/train/features"][:0].astype(dtype)


def readout(stage: Readout) -> None:
    """Reads labels out of every embedded epoch, and the spectrum of the test embeddings."""
    from threadpoolctl import threadpool_limits

    from entia import readout as reading
    from entia import spectrum

    arrays, head = check.open_whole(DATA, stage.embed)
    classes = len(head["classes"].split("\n"))
    epochs = sorted({name.split("/")[0] for name in arrays})
    problems = [_features(arrays, epoch) for epoch in epochs]
    with threadpool_limits(1):  # the number of threads changes a sum's last bits
        metrics = reading.read_many(stage.probe, problems, classes)
        found = {
            str(int(epoch)): {**read, **spectrum.summary(parts[2].features)}
            for epoch, read, parts in zip(epochs, metrics, problems, strict=True)
        }
    content = {"metrics": found, "classes": classes, "chance": 1 / classes}
    store.write_json(store.path(DATA, stage), content, _header("readout", stage, raw_sha256=head["raw_sha256"]))


def _features(arrays: store.Arrays, epoch: str) -> "tuple[Features, Features, Features]":
    from entia.readout import Features

    def part(name: str) -> Features:
        return Features(arrays[f"{epoch}/{name}/features"], arrays[f"{epoch}/{name}/label"])

    return part("train"), part("validation"), part("test")


class _Saved:
    """The unfinished part of a pretraining run: `NAME.part/`, removed when the whole is written."""

    def __init__(self, stage: Pretrain) -> None:
        self.stage = stage
        self.folder = store.path(DATA, stage).with_suffix(".part")
        self.next = 0.0
        self.pending: tuple[list[store.Row], Any] | None = None
        self.writing = False

    def load(self) -> tuple[list[store.Row], int, Any]:
        state = self.folder / "state.safetensors"
        code = _header("pretrain", self.stage)["code"]
        if not state.exists():
            return [], 0, None
        tensors, head = store.read_tensors(state)
        if head["code"] != code:
            _say(f"{self.folder}: left by other code; starting again")
            self.remove()
            return [], 0, None
        return head["rows"], int(head["rows"][-1]["epoch"]), tensors

    def save(self, rows: list[store.Row], state: Any) -> None:
        """Saves the state, unless it was saved so lately that saving would take over a twentieth of the time."""
        self.pending = list(rows), state
        if time.monotonic() >= self.next:
            self.flush()

    def flush(self) -> None:
        """Saves what `save` put off. A signal may call it at any moment: while it writes, that goes on."""
        if self.pending is None or self.writing:
            return
        start, self.writing = time.monotonic(), True
        try:
            rows, state = self.pending
            target = self.folder / "state.safetensors"
            store.write_tensors(target, state, {**_header("pretrain", self.stage), "rows": rows})
            self.pending = None
        finally:
            self.writing = False
        self.next = time.monotonic() + 20 * (time.monotonic() - start)

    def keep(self, epoch: int, weights: Any) -> None:
        store.write_tensors(self.folder / f"epoch-{epoch:05d}.safetensors", weights, {"epoch": epoch})

    def kept(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file in sorted(self.folder.glob("epoch-*.safetensors")):
            tensors, head = store.read_tensors(file)
            found |= {f"{head['epoch']:05d}/{name}": part for name, part in tensors.items()}
        return found

    def remove(self) -> None:
        for file in sorted(self.folder.glob("*")):
            file.unlink()
        if self.folder.exists():
            self.folder.rmdir()


# --- reports ------------------------------------------------------------------------------------------------------


def _frame(found: plan.Plan, rows: tuple[plan.Row, ...]) -> "pd.DataFrame":
    """The readouts and logs of these rows."""
    from entia import results

    return results.frame(
        found,
        rows,
        lambda stage: check.open_whole(DATA, stage)[1],
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
    verdicts = claims.judge(_frame(found, rows), found.scale)
    for ending, text in claims.render(verdicts, found.scale).items():
        store.write_text(found.folder / f"claims.{ending}", text)


def index(arguments: argparse.Namespace) -> None:
    """Writes index.html."""
    from entia import page

    found = plan.load(PARAMS)
    claims = (found.folder / "claims.md").read_text()
    store.write_text(found.folder / "index.html", page.html(found, _tables(found), claims))


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
        f"  tables           {found.folder / 'tables'}/*.md, *.csv, *.tex; `entia results {[*tables][-1]}` prints another"
    )
    print(f"  verdicts         {found.folder / 'claims.md'}")


def _tables(found: plan.Plan) -> dict[str, str]:
    try:
        return {a: (found.folder / f"tables/{a}.md").read_text() for a, r in found.reports.items() if r.table}
    except FileNotFoundError as error:
        raise Problem(f"{error.filename}: missing; `snakemake --cores all` makes it") from error


def _plan(arguments: argparse.Namespace) -> None:
    found = plan.load(PARAMS)
    if arguments.commands:
        print("\n".join(_commands(found)))
        return
    if arguments.artefact is not None:
        _cells_of(found, arguments.artefact)
        return
    print(f"scale {found.scale}; an artefact's cells are its pretraining runs\n")
    print(f"{'artefact':10} {'rows':>5} {'cells':>5} {'done':>5}  title")
    asked: list[str] = []
    done = {name for name, stage in found.pretrains.items() if store.path(DATA, stage).exists()}
    for artefact, entry in found.reports.items():
        cells = found.cells(artefact)
        asked += cells
        print(f"{artefact:10} {len(found.rows[artefact]):5} {len(cells):5} {len(done & set(cells)):5}  {entry.title}")
    print(f"\n{len(asked)} cells asked for, {len(found.pretrains)} to train (shared ones once), {len(done)} done")


def _commands(found: plan.Plan) -> list[str]:
    """A command for each stage that is not done, in an order that works: a cell's embeddings and readouts follow it."""
    last = {"subset": 0, "pretrain": 1, "embed": 1, "readout": 1}
    cells = {name: position for position, name in enumerate(found.pretrains)}

    def order(item: tuple[str, Stage]) -> tuple[int, int, int]:
        kind, of = item
        cell = of.embed.pretrain if isinstance(of, Readout) else of.pretrain if isinstance(of, Embed) else of
        return last[kind], cells.get(config.name(cell), 0), list(last).index(kind)

    left = [(kind, of) for kind in last for of in found.of(kind).values() if not store.path(DATA, of).exists()]
    stages = [f"entia {kind} {config.name(of)}" for kind, of in sorted(left, key=order)]
    return [*stages, *(f"entia report {artefact}" for artefact in found.reports), "entia claims", "entia index"]


def _report(found: plan.Plan, artefact: str) -> plan.Report:
    if artefact not in found.reports:
        raise Problem(
            f"{artefact}: no such artefact under `reports:` in params.yaml; known: {', '.join(found.reports)}"
        )
    return found.reports[artefact]


def _cells_of(found: plan.Plan, artefact: str) -> None:
    _report(found, artefact)
    for name in found.cells(artefact):
        stage = found.pretrains[name]
        head = config.head_bytes(stage, machines.sizes(stage.subset)[0]) / 2**20
        what = config.label(stage) + (f"; head and its optimiser {head:,.0f} MiB" if head >= 1 else "")
        print(f"{'done' if store.path(DATA, stage).exists() else 'to do'}  {name}  {what}")


def show(arguments: argparse.Namespace) -> None:
    """Prints an artefact's header."""
    file = Path(arguments.file)
    match file.suffix:
        case ".h5":
            head = store.read_hdf5(file)[1]
        case ".safetensors":
            head = store.read_tensors(file)[1]
        case ".json":
            head = store.read_json(file)
        case _:
            raise Problem(f"{file}: not an artefact (.h5, .safetensors or .json)")
    print(json.dumps(head, indent=1))


# --- what lies in data/ -------------------------------------------------------------------------------------------


def metrics(arguments: argparse.Namespace) -> None:
    """Writes metrics.json: mean accuracy of each artefact's last epochs, by experiment and arm."""
    from entia import results

    found = plan.load(PARAMS)
    content: dict[str, dict[str, float]] = {}
    for artefact in found.reports:
        if not found.rows[artefact]:
            continue
        rows = results.last(_frame(found, found.rows[artefact]))
        groups = (rows["experiment"] + " " + rows["arm"]).to_list()
        means: dict[str, list[float]] = {of: [] for of in groups}
        for of, accuracy in zip(groups, rows["accuracy"], strict=True):
            means[of].append(float(accuracy))
        content[artefact] = {of: statistics.mean(parts) for of, parts in means.items()}
    store.write_text(found.folder / "metrics.json", json.dumps(content, sort_keys=True, indent=1) + "\n")


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


# --- device, progress, messages -----------------------------------------------------------------------------------


def _device(stage: Pretrain) -> "torch.device":
    machines.keep_freed_memory()
    gpu = machines.take_gpu(machines.gpus())
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before PyTorch looks
    import torch

    torch.set_num_threads(stage.threads)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if gpu is not None:
        _say(f"GPU {gpu} is there, but PyTorch {torch.__version__} cannot use it: on the CPU")
    return torch.device("cpu")


def _where(device: "torch.device") -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{provenance.machine()}, no GPU"


class _progress:
    """A bar with rate and time left on a terminal; a line an epoch, at most every ten seconds, in a log file."""

    def __init__(self, what: str, total: int, done: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        text = "{task.fields[note]}"
        columns = (
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(text),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, disable=not sys.stderr.isatty())
        self.task = self.bar.add_task(what, total=total, completed=done, note="")
        self.what, self.total = what, total

    def __enter__(self) -> Callable[[int, str], None]:
        self.bar.start()
        return self.advance

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def advance(self, done: int, note: str) -> None:
        self.bar.update(self.task, completed=done, note=note)
        if self.bar.disable:
            _say(f"{self.what}: epoch {done} of {self.total}, {note}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
