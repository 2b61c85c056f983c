"""The four stages from files to files: each reads its parent's artefact, calls, and writes its own whole.

Heavy libraries are imported where a stage needs them: start-up is most of a small cell.
"""

import functools
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from entia import config, naming
from entia.artefacts import check, current, packed, provenance, store
from entia.artefacts.unfinished import Unfinished
from entia.config import Embed, Pretrain, Readout, Stage, Subset
from entia.fields import Problem
from entia.methods import Untrained
from entia.planning import feasible
from entia.system import bars, faults, locks, machines, streams, together

if TYPE_CHECKING:
    import torch

    from entia import feeding
    from entia.readout import Features

DATA = Path("data")
IMPORTS = {
    "subset": ("entia.datasets",),
    "pretrain": ("entia.pretrain", "entia.losses.redundancy"),
    "embed": ("entia.embed",),
    "readout": ("threadpoolctl", "entia.readout", "entia.spectrum"),
    "report": ("entia.reports.draw",),
    "claims": ("entia.claims",),
}
"""The modules that each command imports late, since others do without them."""


def header(stage: str, of: Stage, **more: Any) -> dict[str, Any]:
    """What an artefact made by today's code says of itself."""
    return store.header(
        of, provenance.stage_code(stage, of), definitions=provenance.stage_definitions(stage, of), **more
    )


def subset(stage: Subset, look: Callable[[feasible.Held], None] = lambda held: None) -> None:
    """Reads a raw data set and packs the images that a subset names, unless `look` at what they are raises.

    Image files are decoded into a folder beside, which a process that is killed leaves to the next.
    """
    with _alone(stage, "packing") as is_to_be_made:
        if is_to_be_made:
            scratch = store.path(DATA, stage).with_suffix(".part")
            _pack(stage, look, scratch)
            if scratch.exists():
                shutil.rmtree(scratch)


def _pack(stage: Subset, look: Callable[[feasible.Held], None], scratch: Path) -> None:
    from entia import datasets
    from entia.datasets import likeness

    by = json.dumps([provenance.stage_code("subset", stage), provenance.versions()])
    with bars.Packing(naming.label(stage)) as tell:
        room = datasets.Room(scratch, by, datasets.wanted(stage), tell, stage.fit)
        parts = datasets.pack(stage, datasets.read(stage.source, DATA / "raw", stage.side, room))
    _, channels, side, _ = parts.train.pixels.shape
    look(feasible.Held(len(parts.train), len(parts.validation), len(parts.test), channels, side))
    arrays = {
        f"{part}/{name}": getattr(getattr(parts, part), name)
        for part in ("train", "validation", "test")
        for name in ("pixels", "label", "index")
    }
    more = {
        "raw_sha256": parts.checksum,
        "classes": list(parts.classes),
        "raw": parts.said,
        "pixels": datasets.statistics(parts.train.pixels),
        "content": current.content(arrays),
    }
    head = header("subset", stage, **more)
    store.write_hdf5(store.path(DATA, stage), arrays, head)
    counts = ", ".join(f"{len(getattr(parts, part))} {part}" for part in ("train", "validation", "test"))
    streams.say(f"{naming.label(stage)}: {counts} images, of {parts.said}")
    if again := likeness.notice(stage, parts):
        streams.say(again)


def pretrain(stage: Pretrain, count: int = 1) -> None:
    """Trains one cell in `count` processes, going on from its last saved epoch if it was interrupted.

    Each process has a GPU of its own; without any GPU they share the CPU. What was saved does not say how many they
    were, so that another number goes on from it.

    SIGTERM or SIGUSR1 lets the running epoch end, saves it and exits with `machines.STOPPED`. Killed outright, it loses
    the running epoch, and what `Unfinished` had not yet saved.
    """
    with _alone(stage, "training") as is_to_be_made:
        if not is_to_be_made:
            return
        if count == 1 or isinstance(stage.method, Untrained):  # there is one pass, and no step
            _train(stage)
        else:
            _train_together(stage, count)


@contextmanager
def _alone(stage: Subset | Pretrain, doing: str) -> Iterator[bool]:
    """Lets one process make a stage at a time; yields whether it still is to be made, after waiting for another."""
    target, what = store.path(DATA, stage), naming.label(stage)
    mark = target.with_name(f".{target.stem}.lock.tmp")
    with locks.alone(mark, lambda: streams.say(f"{what}: another process is {doing} it; waiting for that")) as waited:
        is_made = waited and _is_made(stage)
        if is_made:
            streams.say(f"{what}: made by that other process")
        yield not is_made


def _train_together(stage: Pretrain, count: int) -> None:
    gpus = machines.several_gpus(count)
    with tempfile.TemporaryDirectory() as folder:
        calls = [(stage, rank, count, folder, gpu) for rank, gpu in enumerate(gpus)]
        if code := together.run(_train_as, calls, machines.STOPPED):
            sys.exit(code)


def _train_as(stage: Pretrain, rank: int, count: int, folder: str, gpu: str | None) -> None:
    """One process's part, called in each; `folder` is where they find each other."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from torch import distributed

    distributed.init_process_group(
        "gloo" if gpu is None else "cpu:gloo,cuda:nccl",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=count,
    )
    _train(stage, rank, count)
    distributed.destroy_process_group()


def _is_made(stage: Subset | Pretrain) -> bool:
    if not all(map(faults.is_there, store.files(DATA, stage))):
        return False
    return store.read_head(store.path(DATA, stage))["code"] == provenance.stage_code(stage.kind, stage)


def _train(stage: Pretrain, rank: int = 0, count: int = 1) -> None:
    """Trains a cell as one process of so many; the first, number 0, writes and speaks."""
    device = take_device(stage.threads)
    import torch

    from entia import pretrain as training
    from entia import processes

    what, among = naming.label(stage), processes.Processes(rank, count)
    say = streams.say if rank == 0 else _hush
    (data, test), head = _data(stage, device)
    saved = Unfinished(store.path(DATA, stage), header("pretrain", stage))
    left = faults.is_there(saved.state)
    rows, state = among.after_first(saved.load)  # which removes what other code left
    if left and not rows:
        say(f"{saved.folder}: left by other code; starting again")
    epoch = int(rows[-1]["epoch"]) if rows else 0
    say(
        f"{what}: {len(data.index)} images, on {name_of(device, count)}" + (f", from epoch {epoch} on" if epoch else "")
    )
    measured = _measured(stage, head)
    with machines.stoppable() as stop:
        try:
            with bars.Training(what, stage.epochs, epoch) if rank == 0 else nullcontext(_hush) as advance:
                for progress in training.pretrain(measured, data, state, epoch, test, among):
                    rows.append({**progress.row, "machine": name_of(device, count)})
                    if "diverged" in progress.row:
                        say(f"{what}: diverged in {progress.row['diverged']}; recorded as that, and not trained on")
                        break
                    if rank == 0 and progress.epoch in config.kept(stage):
                        saved.keep(progress.epoch, progress.weights())
                    stopping = among.total(float(stop.came), device) > 0 and progress.epoch < stage.epochs
                    due = stopping or (progress.epoch < stage.epochs and saved.is_due(progress.size))
                    if rank == 0 and due:
                        saved.save(rows, progress.state)
                    advance(progress.epoch, progress.row)
                    if stopping:
                        say(f"{what}: asked to stop; saved epoch {progress.epoch}, to be gone on from")
                        sys.exit(machines.STOPPED)
        except torch.OutOfMemoryError as error:
            remedy = "run fewer at once, set recompute: true, or lower `batch`"
            raise Problem(f"{what}: the GPU's memory is full; {remedy}") from error
        if rank == 0:  # a stop that comes now is too late to be heeded
            _finish(stage, saved, rows, head)


def _data(stage: Pretrain, device: "torch.device") -> "tuple[tuple[feeding.Data, feeding.Data], dict[str, Any]]":
    """The training and the test images of a cell, where they are trained on, and what their subset says of itself."""
    import torch

    from entia import feeding

    arrays, head = check.open_whole(DATA, stage.subset)
    # asked once: what is then copied to the device leaves less room there
    place = device if feeding.is_resident(arrays["train/pixels"].nbytes, device) else torch.device("cpu")
    return (_images(arrays, "train", place, device), _images(arrays, "test", place, device)), head


def _images(arrays: "store.Arrays", part: str, place: "torch.device", device: "torch.device") -> "feeding.Data":
    """A part's images at `place`, and what goes with them on the device that trains."""
    from entia import feeding

    pixels, index, label = (arrays[f"{part}/{name}"] for name in ("pixels", "index", "label"))
    ahead = feeding.ahead(pixels) if place.type == "cpu" else None
    return feeding.Data(_tensor(pixels).to(place), _tensor(index).to(device), _tensor(label).to(device), ahead)


def _tensor(array: Any) -> "torch.Tensor":
    """The same memory as a tensor's, or the same file, in which nothing is ever written."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def _finish(stage: Pretrain, saved: Unfinished, rows: list[dict[str, Any]], head: dict[str, Any]) -> None:
    """Writes a cell's log and the weights it kept, and removes what it would have gone on from."""
    lost = {name: str(text) for name, text in rows[-1].items() if name == "diverged"}
    store.write_log(store.log_path(DATA, stage), [row | {name: row.get(name, "") for name in lost} for row in rows])
    kept = saved.kept()
    more = {name: head[name] for name in ("raw_sha256", "pixels")} | lost
    more |= {"content": current.content(kept), "parents": current.lineage(head)}
    store.write_tensors(store.path(DATA, stage), kept, header("pretrain", stage, **more))
    saved.remove()


def _measured(stage: Pretrain, head: dict[str, Any]) -> Pretrain:
    """The cell with its images' own mean and deviation where it names none; `head`: its subset's or its weights'."""
    from entia import views

    if "pixels" not in head:
        raise Problem(
            f"{naming.label(stage)}: its {head['stage']} is of older code; `snakemake --cores all` makes it anew"
        )
    return msgspec.structs.replace(stage, augmentation=views.measured(stage.augmentation, head["pixels"]))


def embed(stage: Embed) -> None:
    """Embeds a data set's images by the encoders of one cell, at its last or at every kept epoch.

    Of a cell that diverged there are the epochs kept before that, and no last one.
    """
    from entia import embed as embedding

    weights, trained = check.open_whole(DATA, stage.pretrain)
    measured = msgspec.structs.replace(stage, pretrain=_measured(stage.pretrain, trained))
    images, head = check.open_whole(DATA, stage.on)
    of = packed.holds(DATA)
    if found := list(feasible.embed(stage, of(stage.pretrain.subset), of(stage.on))):
        raise Problem("\n".join(f"{naming.label(stage)}: {mistake}" for mistake in found))
    device = take_device(stage.pretrain.threads)
    kept = {int(name.split("/", 1)[0]) for name in weights}
    lost: dict[str, str] = {}
    if "diverged" in trained:
        lost = {"diverged": trained["diverged"]}
        lost |= {name: repr(share) for name, share in _chance(images["test/label"]).items()}
    arrays: store.Arrays = {}
    for epoch in sorted(kept) if stage.epochs == "all" else [] if lost else [max(kept)]:
        encoder = {name.split("/", 1)[1]: part for name, part in weights.items() if int(name.split("/", 1)[0]) == epoch}
        for part in ("train", "validation", "test"):
            pixels, position = (_tensor(images[f"{part}/{name}"]) for name in ("pixels", "index"))
            if len(position):
                features = embedding.embed(measured, encoder, pixels, position.to(device)).numpy().astype(stage.dtype)
            else:
                features = _empty(arrays, epoch, stage.dtype)
            arrays[f"{epoch:05d}/{part}/features"] = features
            arrays[f"{epoch:05d}/{part}/label"] = images[f"{part}/label"]
            arrays[f"{epoch:05d}/{part}/index"] = images[f"{part}/index"]
    more = {"raw_sha256": head["raw_sha256"], "classes": head["classes"], **lost}
    more |= {"content": current.content(arrays), "parents": current.lineage(trained, head)}
    store.write_hdf5(store.path(DATA, stage), arrays, header("embed", stage, **more))


def _empty(arrays: store.Arrays, epoch: int, dtype: str) -> Any:
    return arrays[f"{epoch:05d}/train/features"][:0].astype(dtype)


def readout(stage: Readout) -> None:
    """Reads labels out of every embedded epoch, where a probe is to, and the spectrum of the test embeddings.

    A probe that is trained by steps is trained on a GPU where there is one. Of a cell that diverged `diverged` says
    where, and the embedded epochs before that have metrics.
    """
    device = take_device(1).type if machines.is_trained(stage) else "cpu"
    import numpy as np
    from threadpoolctl import threadpool_limits

    from entia import readout as reading
    from entia import spectrum

    arrays, head = check.open_whole(DATA, stage.embed)
    classes = _classes(stage.embed, head)
    epochs = sorted({name.split("/")[0] for name in arrays})
    problems = [_features(arrays, epoch) for epoch in epochs]
    lost = {name: head[name] for name in ("diverged",) if name in head}
    kept = {name: float(head[name]) for name in ("chance",) if name in head}
    chance = _chance(problems[0][2].label) if problems else kept
    whole = [all(np.isfinite(part.features).all() for part in parts) for parts in problems]
    if not all(whole):  # weights of a loss that was finite to the end, or too large for float16
        first = whole.index(False)
        lost = {"diverged": f"epoch {int(epochs[first])}: embeddings are not finite"}
        epochs, problems = epochs[:first], problems[:first]
    with threadpool_limits(1):  # the number of threads changes a sum's last bits
        metrics = reading.read_many(stage.probe, problems, classes, device)
        found = {
            str(int(epoch)): {**read, **spectrum.summary(parts[2].features)}
            for epoch, read, parts in zip(epochs, metrics, problems, strict=True)
        }
    content = {"metrics": found, "classes": classes, **chance, **lost}
    more = {"raw_sha256": head["raw_sha256"], "parents": current.lineage(head)}
    store.write_json(store.path(DATA, stage), content, header("readout", stage, **more))


def _classes(of: Embed, head: Mapping[str, Any]) -> int:
    if isinstance(head["classes"], str):  # until 0.1.0 one text, a line a class
        raise Problem(f"{store.path(DATA, of)}: of older code; delete it and run again")
    return len(head["classes"])


def _chance(label: Any) -> dict[str, float]:
    """What saying always the commonest class of the test images gets right; nothing where they have none."""
    import numpy as np

    return {} if label.min() < 0 else {"chance": float(np.bincount(label).max() / len(label))}


def _features(arrays: store.Arrays, epoch: str) -> "tuple[Features, Features, Features]":
    from entia.readout import Features

    def part(name: str) -> Features:
        return Features(arrays[f"{epoch}/{name}/features"], arrays[f"{epoch}/{name}/label"])

    return part("train"), part("validation"), part("test")


# --- device, messages ---------------------------------------------------------------------------------------------


def take_device(threads: int) -> "torch.device":
    """The device that this process works on from now on: a GPU of its own choice, else the CPU with so many threads."""
    import torch

    torch.set_num_threads(threads)
    return _device()


@functools.cache  # a process that makes many cells stays on one GPU, and counts once there
def _device() -> "torch.device":
    machines.keep_freed_memory()
    gpu = machines.take_gpu(machines.gpus())
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before PyTorch looks
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if gpu is not None:
        streams.say(f"GPU {gpu} is there, but PyTorch {torch.__version__} cannot use it: on the CPU")
    return torch.device("cpu")


def name_of(device: "torch.device", count: int = 1) -> str:
    """What logs call a device: the GPU's model and how many share it now, or the processor's; and how many make a cell.

    A GPU that is shared is as good as another machine: minutes there are not those of a process that has it alone.
    """
    import torch

    if count > 1:
        return f"{name_of(device)}, {count} together"
    if device.type != "cuda":
        return f"{provenance.machine()}, no GPU"
    sharing = machines.sharing(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return provenance.model(torch.cuda.get_device_name(device)) + (f", shared by {sharing}" if sharing > 1 else "")


def _hush(*said: object) -> None:
    """Says nothing: one of several processes speaks for all."""
