"""What a training step spends beside its encoder's forward and backward pass.

    python benchmarks/step.py [ROUNDS]

The laptop encoder on one thread of a CPU, in its own seconds; ResNet-18 in bfloat16 where there is a GPU, in seconds
after it has finished. Whole steps, as the training loop makes them, and each part alone, on the same batch, take turns.
The share is (step - encoder) / step, of medians: what no part accounts for (logging, the allocator, autograd) is in it.
Beside the times of encoder and projector stand their floating-point operations (two a multiply-add, convolutions and
matrix products, forward and backward): whether a share is overhead, or arithmetic that the width asks for.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from cells import Cell, cells, on_gpu
from side_by_side import processor, spread, take_turns, write
from torch.utils.flop_counter import FlopCounterMode

from entia import losses, pretrain, views
from entia.system import machines

WIDTHS = (64, 256, 1024)


def parts(cell: Cell) -> dict[str, Callable[[], object]]:
    """The step, and each part of it with its backward pass, from inputs made beforehand."""
    config, data = cell
    run = pretrain._Run(config, data, None)
    run.model.train()
    row = torch.randperm(len(data.index), generator=torch.Generator().manual_seed(0))[: config.batch].to(run.device)
    epoch = torch.ones((), dtype=torch.int64, device=run.device)
    drawn = views.augment(data.pixels[row], data.index[row], config.views, config.augmentation, 0, epoch)
    pixels = drawn.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    low = torch.autocast(run.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")

    def backward(part: Callable[[torch.Tensor], torch.Tensor], leaf: torch.Tensor) -> torch.Tensor:
        with low:
            out = part(leaf)
        out.backward(torch.ones_like(out) / out.numel())
        return out.detach()

    embedding = backward(run.model.encoder, pixels).requires_grad_()
    z = backward(run.model.projector, embedding).float().unflatten(0, drawn.shape[:2]).requires_grad_()
    batch = losses.Batch(drawn, row, None, 0)

    def loss() -> None:
        torch.stack(list(run.objective(z, batch).values())).sum().backward()

    def update() -> None:
        for parameter in run.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        run.updates.step(0.0)

    return {
        "step": lambda: run.step(run.data.pixels[row], row, 1, 0),
        "encoder": partial(backward, run.model.encoder, pixels),
        "views": lambda: views.augment(
            data.pixels[row], data.index[row], config.views, config.augmentation, 0, epoch
        ),
        "projector": partial(backward, run.model.projector, embedding),
        "loss": loss,
        "update": update,
    }  # fmt: skip


def measure(cell: Cell, rounds: int) -> dict[str, object]:
    """One row: milliseconds of each part, and the share that is not the encoder's."""
    config, gpu = cell.config, cell.data.index.is_cuda
    runs = parts(cell)
    take_turns(runs, 3)
    seconds = take_turns(runs, rounds, finished if gpu else time.process_time)
    middle = {name: 1000 * median(taken) for name, taken in seconds.items()}
    return {
        "data": config.subset.dataset,
        "side": config.augmentation.size or cell.data.pixels.shape[-1],
        "encoder": config.encoder.name,
        "projector": config.projector.width,
        "views": config.views,
        "batch": config.batch,
        "share_beside_encoder": f"{1 - middle['encoder'] / middle['step']:.3f}",
        **{f"{name}_ms": f"{taken:.2f}" for name, taken in middle.items()},
        **{f"{name}_gflop": f"{operations(runs[name]) / 1e9:.3f}" for name in ("encoder", "projector")},
        "step_spread_ms": f"{1000 * spread(seconds['step']):.2f}",
        "view_images_a_second": round(config.views * config.batch / middle["step"] * 1000),
        "rounds": rounds,
        "device": torch.cuda.get_device_name() if gpu else processor(),
        "torch": torch.__version__,
    }


def operations(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def finished() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    torch.set_num_threads(1)
    machines.keep_freed_memory()
    rows: list[dict[str, object]] = []
    for cell in cells(images=1024, epochs=1, widths=WIDTHS):
        for each in (cell, on_gpu(cell)) if torch.cuda.is_available() else (cell,):
            rows.append(measure(each, rounds))
            print({name: value for name, value in rows[-1].items() if name not in ("torch", "rounds")}, flush=True)
    if not torch.cuda.is_available():
        print("GPU: skipped, there is none")
    print("goal: a share of at most 0.15 on a CPU with the laptop encoder, 0.10 on a GPU with ResNet-18")
    write("step", rows)


if __name__ == "__main__":
    main()
