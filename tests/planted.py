"""Studies with planted effects: rows as `results.frame` makes them, and of each claim what supports it and what does not."""

import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd

from entia import claims, results
from entia.claims import judging
from entia.claims.study import Study

WIDTHS, WEIGHTS = (64, 256, 1024, 8192), (0.0004, 0.002, 0.02)


def rows(
    experiment: str,
    accuracy: float | Callable[[int], float],
    *,
    seeds: int = 4,
    epochs: int = 10,
    noise: float = 0.001,
    **columns: object,
) -> list[dict[str, object]]:
    """Rows of one arm, a cell a seed: accuracy at the last epoch, or at each of all epochs where it is a function."""
    found: list[dict[str, object]] = []
    given = {name.replace("__", "."): value for name, value in columns.items()}
    for seed in range(seeds):
        name = f"{experiment}-{sorted(given.items())}-{seed}"
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        offset, pace = noise * generator.standard_normal(), 1 + 0.01 * generator.standard_normal()
        for epoch in range(1, epochs + 1) if callable(accuracy) else (epochs,):
            value = (accuracy(epoch) if callable(accuracy) else accuracy) + offset
            common = {
                "arm": "",
                "views": 2,
                "projector.width": 64,
                "subset.fraction": 1.0,
                "method.name": "barlow_twins",
            }
            fixed = {"subset.dataset": "cifar10", "encoder.name": "resnet50", "weight": 0.01, "batch": 128}
            diets = {"method.smoothing": 0.8, "images": 1000, "optimizer.lr": 0.001, "probe_best": value}
            log = {"minutes": epoch * pace, "loss": 5.0 - value, "machines": "one machine", "chance": 0.1}
            measured = {"epoch": epoch, "accuracy": value, "validation": value, "rankme": 20 + 100 * offset}
            said = {"experiment": experiment, "cell": name, "readout": name, "seed": seed, "epochs": epochs}
            found.append({**common, **fixed, **diets, **log, **measured, **said, **given})
    return found


def judged(claim: str, *parts: list[dict[str, object]], scale: str = "paper") -> judging.Verdict:
    frame = pd.DataFrame([row for part in parts for row in part])
    return judging.verdict(next(one for one in claims.CLAIMS if one.claim == claim), Study.of(frame, scale))


def width_rows(narrow: float, narrow_fixed: float, wide: float, wide_fixed: float = 0.7) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for width, tuned, fixed in ((64, narrow, narrow_fixed), (8192, wide, wide_fixed)):
        found += rows("width_barlow_twins", fixed, arm="fixed", weight=0.0004, projector__width=width)
        for weight in WEIGHTS:
            right = weight == (0.02 if width == 64 else 0.002)
            accuracy = tuned if right else tuned - 0.1
            found += rows("width_barlow_twins", accuracy, arm="tuned", weight=weight, projector__width=width)
    return found


def view_curves(four: float, eight: float = 0.6, late: float = 0.0) -> list[dict[str, object]]:
    """2 views rise to 0.6; 4 views lead by `four` throughout, `late` more in training's second half."""
    found = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch)
    found += rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch + four + late * (epoch > 5), views=4)
    return found + rows("views_barlow_twins", lambda epoch: eight, views=8)


def data_rows(
    half: float, quarter: float, dataset: str = "cifar10", experiment: str = "data_barlow_twins"
) -> list[dict[str, object]]:
    arms = ((2, 1.0, 0.6), (4, 0.5, half), (8, 0.25, quarter))
    return [
        row
        for views, fraction, accuracy in arms
        for row in rows(experiment, accuracy, views=views, subset__fraction=fraction, subset__dataset=dataset)
    ]


def grid_rows(gain: float, fraction: float = 0.25) -> list[dict[str, object]]:
    parts = [(views, share) for views in (4, 8) for share in (fraction, 1.0)]
    return [
        row
        for views, share in parts
        for row in rows("grid_barlow_twins", 0.5 + gain * (views == 8), views=views, subset__fraction=share)
    ]


def sweep_rows(power: float, noise: float = 0.004, weights: int = 7) -> list[dict[str, object]]:
    """Accuracy peaks where weight = width^power · constant; a step of the grid away it is a point lower."""
    found: list[dict[str, object]] = []
    middle = (weights - 1) / 2
    for width in (64, 256, 1024):
        peak = power * np.log(width / 256) / np.log(4)
        for step in range(weights):
            weight = float(f"{0.01 * 4.0 ** (step - middle):.6g}")
            accuracy = 0.8 - 0.01 * (step - middle - peak - 0.1) ** 2
            there = {"arm": "tuned", "weight": weight, "projector__width": width}
            found += rows("weight_sweep_barlow_twins", accuracy, seeds=3, noise=noise, **there)
    return found


def budget(
    diet: float, baseline: float = 0.5, experiment: str = "diet_budget", method: str = "diet", **columns: object
) -> list[dict[str, object]]:
    found = rows(experiment, diet, method__name=method, weight=np.nan, **columns)
    for place, name in enumerate(results.SSL):
        found += rows(experiment, baseline - 0.02 * place, method__name=name, weight=np.nan, **columns)
    return found


def encoders(natural: float, medical: float) -> list[dict[str, object]]:
    """DIET against the best baseline's 0.5, on two encoders and on chest X-rays."""
    found = budget(natural, experiment="diet_encoders_cifar100")
    found += budget(natural, experiment="diet_encoders_cifar100", encoder__name="resnet18")
    return found + budget(medical, experiment="diet_medical", subset__dataset="pneumoniamnist")


def number(accuracy: float, dataset: str, encoder: str, epochs: int = 4000) -> list[dict[str, object]]:
    """DIET on a data set and an encoder, and beside it the study of sizes: longer on fewer images, and far lower."""
    there = {"subset__dataset": dataset, "encoder__name": encoder, "method__name": "diet"}
    name = f"diet_encoders_{dataset.rsplit('/', 1)[-1]}"
    sized = rows("diet_supervised", 0.1, epochs=25 * epochs, subset__fraction=0.01, **there)
    return rows(name, accuracy, epochs=epochs, **there) + sized


def speeds(rate: float) -> list[dict[str, object]]:
    """The recipe learns `rate` times as fast as the baseline."""
    slow = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch, projector__width=8192)
    return slow + rows("data_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch * rate, views=4, subset__fraction=0.5)


def on_imagenet(half: float, lead: float) -> list[dict[str, object]]:
    name = "image_folder/imagenet100"
    curves = [{**row, "experiment": "views_imagenet100", "subset.dataset": name} for row in view_curves(lead)]
    return data_rows(half, 0.2, name, "data_imagenet100") + curves


def on_three(stl10: float) -> list[dict[str, object]]:
    """Half of the data on CIFAR-10, ImageNet-100 and STL-10, there at two lengths, of which the shorter is no good."""
    short = [{**row, "epochs": 5, "epoch": 5, "cell": f"{row['cell']}-5", "accuracy": 0.1}
             for row in data_rows(0.1, 0.1, "stl10", "data_stl10")]  # fmt: skip
    long = data_rows(stl10, 0.2, "stl10", "data_stl10")
    return data_rows(0.6, 0.2) + short + long + data_rows(0.6, 0.2, "image_folder/imagenet100", "data_imagenet100")


def s_diet(rank: float) -> list[dict[str, object]]:
    """s-DIET beside its baselines, its embeddings' rank higher by this much."""
    others = [row for row in budget(0.5, method="sdiet") if row["method.name"] in ("simclr", "vicreg")]
    own = [{**row, "rankme": rank + row["rankme"]} for row in rows("diet_budget", 0.5, method__name="sdiet")]
    return own + others + batches(0.01, 0.01, "sdiet")


def batches(diet: float, ssl: float, name: str = "diet") -> list[dict[str, object]]:
    """Accuracy falls by this much from one batch size to the other."""
    found: list[dict[str, object]] = []
    for method, fall in ((name, diet), ("simclr", ssl), ("vicreg", ssl)):
        for batch in (64, 512):
            accuracy = 0.6 - fall * (batch == 512)
            found += rows("diet_batch", accuracy, method__name=method, weight=np.nan, batch=batch)
    return found


def loss_rows(sign: float, noise: float, configurations: int = 15, epochs: int = 4) -> list[dict[str, object]]:
    """Configurations that differ in their rate: accuracy rises (sign 1) or falls (−1) as the loss falls, and in time."""
    found: list[dict[str, object]] = []
    generator = np.random.default_rng(int(10 * sign) + 100)
    for place in range(configurations):
        skill = place / configurations
        accuracy = 0.3 + 0.2 * (sign * skill + noise * generator.standard_normal())
        there = {"method__name": "diet", "optimizer__lr": 0.001 * (1 + place)}
        for row in rows("diet_loss", lambda epoch, at=accuracy: at * epoch / 4, epochs=epochs, seeds=2, **there):
            found.append({**row, "loss": 8 - skill - 0.1 * float(str(row["epoch"]))})
    return found


def diet_speed(diet: Callable[[int], float], ssl: Callable[[int], float], gap: float) -> list[dict[str, object]]:
    found = rows("diet_budget", diet, method__name="diet") + rows("diet_budget", ssl, method__name="simclr")
    found += rows("diet_levels", 0.5, method__name="diet", level=0, augmentation__crop_scale=(1.0, 1.0))
    strong = {"level": 3, "augmentation__erase": 0.25, "augmentation__crop_scale": (0.1, 1.0)}
    found += rows("diet_levels", 0.5 + gap, method__name="diet", **strong)
    found += rows("diet_smoothing", 0.4, method__name="diet", method__smoothing=0.0)
    return found + rows("diet_smoothing", 0.5, method__name="diet", method__smoothing=0.8)


def slow(epoch: int) -> float:
    return 0.1 + 0.05 * epoch


def quick(epoch: int) -> float:
    return 0.1 + 0.5 * min(1, epoch / 3)


IMAGENET, TINY = "image_folder/imagenet100", "image_folder/tinyimagenet"
# Of each claim what supports it, what does not, and what lies across its criterion's edge.
PLANTED: dict[str, tuple[list[dict[str, object]], ...]] = {
    "MV-H1": (width_rows(0.80, 0.70, 0.81), width_rows(0.72, 0.70, 0.81), width_rows(0.80, 0.70, 0.903)),
    "MV-H2": (width_rows(0.80, 0.60, 0.82), width_rows(0.60, 0.60, 0.82), width_rows(0.69, 0.60, 0.82)),
    "MV-H3": (view_curves(0.05), view_curves(-0.05), view_curves(0.0)),
    "MV-H4": (data_rows(0.6, 0.62), data_rows(0.6, 0.55), data_rows(0.6, 0.59)),
    "MV-H5": (data_rows(0.6, 0.2), data_rows(0.55, 0.2), data_rows(0.59, 0.2)),
    "MV-H6": (speeds(4.0), speeds(0.8), speeds(1.5)),
    "MV-H7": (on_three(0.6), on_three(0.55), on_three(0.59)),
    "MV-H8": (on_imagenet(0.6, 0.05), on_imagenet(0.5, 0.05), on_imagenet(0.59, 0.05)),
    "MV-H9": (width_rows(0.800, 0.70, 0.802), width_rows(0.75, 0.70, 0.80), width_rows(0.80, 0.70, 0.811)),
    "MV-H10": (sweep_rows(-1.0), sweep_rows(0.0), sweep_rows(-0.5)),
    "MV-H11": (grid_rows(0.0), grid_rows(0.05), grid_rows(0.01)),
    "MV-H12": (view_curves(0.05, eight=0.5), view_curves(0.05, eight=0.9), view_curves(0.05, eight=0.65)),
    "DIET-H1": tuple(number(accuracy, "cifar100", "resnet101") for accuracy in (0.714, 0.60, 0.704)),
    "DIET-H2": tuple(number(accuracy, TINY, "resnext50_32x4d") for accuracy in (0.525, 0.60, 0.515)),
    "DIET-H3": (budget(0.52), budget(0.45), budget(0.49)),
    "DIET-H4": (batches(0.02, 0.10), batches(0.10, 0.02), batches(0.05, 0.05)),
    "DIET-H5": (loss_rows(1, 0.05), loss_rows(-1, 0.05), loss_rows(1, 0.4)),
    "DIET-H6": (encoders(0.5, 0.5), encoders(0.5, 0.3), encoders(0.45, 0.5)),
    "DIET-H7": (diet_speed(slow, quick, 0.2), diet_speed(quick, slow, 0.0), diet_speed(slow, quick, 0.048)),
    "DIET-H8": (s_diet(50), s_diet(-10), s_diet(0)),
}
