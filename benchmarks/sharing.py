"""How many small cells at once a GPU takes: view-images a second of 1, 2, 4, … cells that train side by side.

    python benchmarks/sharing.py [laptop | resnet18]

Each cell is a process of its own. All are ready before any trains, and what they make while all of them train counts.
It stops where twice as many cells make less than a tenth more, or do not fit. With the number found, say by the profile
how many jobs a GPU takes. Without a GPU it is skipped; `--cpu` tries it on the cores, for the script's own sake.
"""

import argparse
import json
import subprocess
import sys
import time

import torch
from cells import cells, on_gpu
from side_by_side import processor, write

SECONDS = 20.0
MOST = 64


def child(kind: str, cpu: bool) -> None:
    """Warms up, says so, waits to be told, and trains for `SECONDS`; prints its view-images a second and its MiB."""
    from entia import feeding

    torch.set_num_threads(1)
    cell = next(cells(images=4_000, epochs=10_000))
    if not cpu:
        config = cell.config if kind == "laptop" else on_gpu(cell).config
        data = feeding.Data(cell.data.pixels.to("cuda"), cell.data.index.to("cuda"))
        cell = cell._replace(config=config, data=data)
    epochs = pretrain.pretrain(*cell)
    next(epochs)
    print("ready", flush=True)
    sys.stdin.readline()
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        progress = next(epochs)
        images += int(progress.row["view_images"])
        peak = progress.row["peak_mib"]
    print(json.dumps({"rate": images / (time.perf_counter() - start), "peak_mib": peak}), flush=True)


def together(count: int, kind: str, cpu: bool) -> list[dict[str, float]]:
    """What each of `count` cells made; empty if one failed, as for want of memory."""
    command = [sys.executable, __file__, kind, "--child", *(["--cpu"] if cpu else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in processes:
        while process.poll() is None and process.stdout.readline().strip() != "ready":
            pass
    if any(process.poll() is not None for process in processes):
        for process in processes:
            process.kill()
            process.wait()
        return []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    texts = [process.communicate()[0] for process in processes]
    failed = any(process.returncode for process in processes)
    return [] if failed else [json.loads(text.splitlines()[-1]) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", nargs="?", choices=("laptop", "resnet18"), default="laptop", help="the encoder")
    parser.add_argument("--cpu", action="store_true", help="on the cores")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.kind, arguments.cpu)
        return
    if not arguments.cpu and not torch.cuda.is_available():
        print("skipped: there is no GPU")
        return
    rows: list[dict[str, object]] = []
    best, count = 0.0, 1
    while count <= MOST:
        made = together(count, arguments.kind, arguments.cpu)
        rate = sum(each["rate"] for each in made)
        row = {"cells": count, "view_images_a_second": round(rate), "kind": arguments.kind}
        row |= {"peak_mib_a_cell": max((each["peak_mib"] for each in made), default="")}
        rows.append(row | {"device": processor() if arguments.cpu else torch.cuda.get_device_name()})
        print(rows[-1], flush=True)
        if rate < 1.1 * best:
            break
        best, count = rate, 2 * count
    print(f"{count // 2 if count > 1 else 1} at once")
    if not arguments.cpu:
        write("sharing", rows)


if __name__ == "__main__":
    main()
