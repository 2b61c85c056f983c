"""What a job needs of the machine it runs on: time, memory, a GPU, and nothing left of killed runs."""

import contextlib
import ctypes
import itertools
import math
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

from entia.catalogue import NETWORKS
from entia.config import Embed, Encoder, Pretrain, Readout, Stage, Subset, embedded, features, is_files
from entia.fields import Problem
from entia.probes import AdamProbe, MLPProbe
from entia.sizes import Held, Holds, counted, expected, known
from entia.system import locks, streams

STOPPED = 75
"""Exit code of a cell that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h."""


RATE = 4_000
"""10⁹ multiply-adds a second that a slow GPU keeps up."""


# --- time and memory ----------------------------------------------------------------------------------------------


def keep_freed_memory() -> bool:
    """Whether this process now keeps the memory it frees, for its next step, rather than give it back to the system.

    A step on a CPU frees what the next one needs again. To be given it anew, cleared page by page, is up to a third of
    its time; keeping it, up to a fifth more memory at the peak. glibc alone has such a setting; elsewhere nothing is
    changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h, in bytes
    # Before glibc 2.35 half of 64 MiB is the most.
    return bool(mallopt(trim, 2**31 - 1)) and bool(mallopt(mmap, 2**30) or mallopt(mmap, 2**25))


def work(cell: Pretrain, of: Holds = counted) -> float:
    """Multiply-adds of a whole run, in 10⁹: good for its order among others and a time limit, not for a result.

    `of`: what a subset holds. Of a folder that is not there nothing is to be done: its packing fails at once.
    """
    return (of(cell.subset).train or 0) * cell.epochs * an_image(cell)


def an_image(cell: Pretrain) -> float:
    """Multiply-adds of one image's part in a step, all its views', in 10⁹."""
    encoder = network(cell.encoder, cell.augmentation.size or expected(cell.subset).side)
    width, depth = cell.projector.width, cell.projector.depth
    layers = features(cell.encoder) * width + (depth - 1) * width**2 if depth else 0
    head = (layers + width**2) / 1e9  # the projector, and the loss's width × width matrix
    return 3 * cell.views * (encoder + head)  # backward counts twice


def network(encoder: Encoder, side: int) -> float:
    """Multiply-adds of one image through an encoder, in 10⁹."""
    if encoder.name.startswith("mlp_mixer"):
        side = round(min(side, 64) / 64 * 224)  # from 64 pixels on the patches grow, not their number
    whole = NETWORKS[encoder.name].multiply_adds * (side / 224) ** 2 * (encoder.width / 64) ** 2
    return 16 * whole if encoder.stem == "small" else whole  # its first stage sees sixteen times the pixels


def minutes(stage: Stage, of: Holds = counted) -> int:
    """A time limit that is generous on a slow GPU (`RATE`); a CPU needs its own.

    Readouts are a CPU's work: 2·10¹⁰ multiply-adds a second, a core's.
    """
    match stage:
        case Pretrain():
            return 30 + math.ceil(work(stage, of) / RATE / 60)
        case Embed():
            passes = stage.views * _images(of(stage.on)) / stage.pretrain.views
            return 20 + math.ceil(an_image(stage.pretrain) * passes / RATE / 60)
        case Subset():
            return 60
        case Readout(probe=MLPProbe() | AdamProbe() as probe):
            held, width = of(stage.embed.on), features(stage.embed.pretrain.encoder)
            most = held.classes or 1000  # ImageNet's
            outputs = probe.expansion * width if isinstance(probe, MLPProbe) else most
            step = 3 * width * outputs / 1e9  # backward counts twice
            return 10 + math.ceil(len(embedded(stage.embed)) * probe.epochs * (held.train or 0) * step / 20 / 60)
        case Readout():
            return 10


def memory(stage: Stage, of: Holds = counted) -> int:
    """MiB of the machine's memory: PyTorch with CUDA loaded, Snakemake's two processes, and the images twice over.

    Files of one image each are packed without holding them.
    """
    match stage:
        case Pretrain(subset=images) | Embed(on=images):
            return 4_000 + _twice(of(images))
        case Subset() if not is_files(stage.dataset):
            return 4_000 + _twice(of(stage))
        case Subset() | Readout():
            return 4_000


def _twice(held: Held) -> int:
    """MiB of a subset's images, in colour, and of a copy."""
    return 2 * _images(held) * 3 * held.side**2 // 2**20


def sizes(subset: Subset) -> tuple[int, int]:
    """Images that a subset trains on, and their pixels a side. Raises `Problem` where their number is not known."""
    return known(subset)[0], expected(subset).side


def _images(held: Held) -> int:
    """All of a subset's, of its three parts."""
    return sum(part or 0 for part in (held.train, held.validation, held.test))


def is_trained(stage: Readout) -> bool:
    """Whether a readout's probe is trained by steps, which a GPU makes faster; the others are solved on a CPU."""
    return isinstance(stage.probe, AdamProbe | MLPProbe)


def cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- GPUs ---------------------------------------------------------------------------------------------------------


def gpus(devices: Path = Path("/dev")) -> list[str]:
    """What CUDA_VISIBLE_DEVICES names; where it is not set, the numbers of this machine's NVIDIA GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name not in ("", "-1")]
    return [str(number) for number, _ in enumerate(devices.glob("nvidia[0-9]*"))]


def take_gpu(found: list[str], folder: Path | None = None) -> str | None:
    """One of the GPUs with the fewest of this user's cells on it, held until this process ends; None of none.

    How many cells run at once is the profile's to say (`gpu`); they are spread evenly here, without waiting. The marks
    lie in the machine's folder for temporary files: a GPU is the machine's, whichever checkout asks for it.
    """
    for place in itertools.count() if found else ():
        for gpu in found:
            if locks.take(_places(folder) / f"{_mark(gpu)}{place}.lock"):
                return gpu
    return None


def several_gpus(count: int, folder: Path | None = None) -> list[str | None]:
    """So many GPUs, each another, those with the fewest of this user's cells on them; as many None where there is none.

    Raises: Problem, where there are GPUs, and fewer.
    """
    found = gpus()
    if 0 < len(found) < count:
        raise Problem(f"devices: {count} are asked for, and here are {len(found)} GPUs; take fewer in params.yaml")
    chosen = sorted(found, key=lambda gpu: sharing(gpu, folder))[:count]
    return [*chosen, *[None] * (count - len(chosen))]


def sharing(gpu: str, folder: Path | None = None) -> int:
    """How many processes of this user hold a GPU by `take_gpu` at this moment, the asking one among them."""
    return sum(map(_is_held, _places(folder).glob(f"{_mark(gpu)}*.lock")))


def _places(folder: Path | None) -> Path:
    return folder or Path(tempfile.gettempdir())


def _mark(gpu: str) -> str:
    return f"entia-{os.getuid()}-gpu-{gpu.replace('/', '_')}-"  # a part of a GPU is MIG-GPU-…/1/0


def _is_held(mark: Path) -> bool:
    with mark.open("rb") as file:
        return locks.is_held(file)


# --- being asked to stop ------------------------------------------------------------------------------------------


class Stop:
    """Whether SIGTERM or SIGUSR1 came: SLURM's before a time limit and when a job is preempted or cancelled."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal: it is remembered."""
        self.came = True


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Within it SIGTERM and SIGUSR1 do not end the process but are remembered."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- where a run writes -------------------------------------------------------------------------------------------


def check_name(folder: Path) -> None:
    """Raises `Problem` where a folder's name is one in which no environment can be made or called."""
    if found := sorted({*str(folder)} & {*"'\":$`\\\n"}):
        signs = " ".join(found).replace("\n", "a line break")
        raise Problem(f"{folder}: conda and containers cannot work in a folder with {signs} in its path; rename it")


def check_writable(folders: Iterable[Path | str]) -> None:
    """Raises `Problem` naming those that are there and cannot be written; data/raw is only read."""
    there = [path for path in map(Path, folders) if path.is_dir() and path != Path("data/raw")]
    closed = [str(path) for path in there if not os.access(path, os.W_OK | os.X_OK)]
    if closed:
        raise Problem(f"{', '.join(closed)}: cannot be written; make it writable and run again")


def refusal(error: OSError) -> str:
    """What the system refused, where, and the remedy. Raises the error again if it is of no file."""
    if error.filename is None:
        raise error
    path = Path(os.fsdecode(error.filename))
    whose = path.stat().st_uid if path.exists() else os.getuid()
    if whose != os.getuid():
        return (
            f"{path}: {error.strerror}: it is another user's; work in a checkout of your own, or have it opened to you"
        )
    return f"{path}: {error.strerror}; see to it and run again"


# --- what a killed Snakemake left ---------------------------------------------------------------------------------


def take_over(folder: Path) -> bool:
    """Removes the locks of a Snakemake that was killed in `folder`; True if there were any.

    Snakemake's own locks say nothing of who holds them. Each run therefore leaves a line with its host, process and
    start; locks are stale when every line is of this host and of a process that is gone. On another host one cannot
    tell: then the locks stay, Snakemake refuses, and `snakemake --unlock` is the user's to call.
    """
    notes = folder / ".snakemake" / "runs.txt"
    notes.parent.mkdir(exist_ok=True)
    with locks.alone(notes.with_suffix(".lock")), notes.open("a+", encoding="utf-8") as file:
        file.seek(0)
        others = [line for line in file.read().splitlines() if _may_be_alive(line)]
        left = [] if others else sorted((folder / ".snakemake" / "locks").glob("*.lock"))
        for lock in left:
            lock.unlink(missing_ok=True)
        file.truncate(0)
        ours = f"{socket.gethostname()} {os.getpid()} {_start(os.getpid())}"
        file.write("".join(f"{line}\n" for line in [*others, ours]))
    return bool(left)


def _may_be_alive(line: str) -> bool:
    host, process, start = line.split()
    return host != socket.gethostname() or _start(int(process)) == start


def _start(process: int) -> str:
    """When a process started, so that another with its number is not taken for it; "gone" if it has ended.

    One that has ended stays listed until its parent asks for its exit code, which in many containers nobody does.
    """
    import psutil

    try:
        found = psutil.Process(process)
        return "gone" if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.2f}"
    except psutil.NoSuchProcess:
        return "gone"


def begin(slurm: bool, trains: bool) -> None:
    """Before a run's first job: cancels what a killed run left in SLURM, or says so once if this machine has no GPU."""
    if slurm:
        orphans = cancel_orphans(Path.cwd())
        if orphans:
            streams.say(
                f"{orphans} jobs of an earlier, killed run cancelled; they are submitted again and go on from there."
            )
    elif trains and not gpus():
        streams.say("No GPU on this machine (or CUDA_VISIBLE_DEVICES is empty): cells train on its CPU.")


def cancel_orphans(folder: Path) -> int:
    """Cancels SLURM jobs of an earlier, killed Snakemake in `folder`; how many there were.

    To be called by a run that holds the folder: any job of ours at work in it then has nobody waiting for it.
    """
    command = ["squeue", "--me", "--noheader", "--format=%i|%Z|%k"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    jobs = [line.split("|", 2) for line in listed]
    orphans = [job for job, where, comment in jobs if where == str(folder) and comment.startswith("rule_")]
    if orphans:
        subprocess.run(["scancel", *orphans], check=True)
    return len(orphans)
