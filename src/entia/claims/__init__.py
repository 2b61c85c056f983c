"""The verdict on each of the papers' claims, and the report of them."""

from collections.abc import Sequence

import pandas as pd

from entia.claims import diet, judging, multi_view, pooling
from entia.claims.judging import RULINGS, Verdict
from entia.claims.pooling import Noise
from entia.claims.report import render
from entia.claims.study import BASELINES, POINTS, Study

__all__ = ["CLAIMS", "RULINGS", "judge", "noise", "reads", "render"]

CLAIMS = (*multi_view.CLAIMS, *diet.CLAIMS)
"""In the papers' order."""


def reads(experiment: str) -> bool:
    """Whether any claim reads an experiment: those of `multi_view.READ`, every one of DIET's, and the baselines."""
    return experiment in multi_view.READ or experiment.startswith("diet") or experiment == BASELINES


def judge(frame: pd.DataFrame, scale: str, looks: Sequence[int] = ()) -> tuple[Verdict, ...]:
    """Every claim's verdict from `results.frame`'s rows (all experiments' together), in the papers' order.

    `looks`: the numbers of seeds that were planned to be judged, one or two; none: all seeds, once.
    """
    return judging.judge(CLAIMS, frame, scale, looks)


def noise(frame: pd.DataFrame, scale: str) -> list[Noise]:
    """The noise from seed to seed of last-epoch accuracy that verdicts borrow from, in points."""
    return [] if frame.empty else pooling.noise(Study.of(frame, scale).pool(POINTS))
