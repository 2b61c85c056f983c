"""How the best weight moves with the projector's width (MV-H10): one parabola over all widths, weights and seeds."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from entia import results
from entia.claims.arms import held, of
from entia.claims.intervals import Fieller, Missing
from entia.claims.judging import ERROR, NOT_SUPPORTED, SUPPORTED, Finding, one
from entia.claims.study import Study

NEAR = 2
"""Steps of the grid from each width's best that count: further out the curve is no parabola."""
CURVED = 0.01
"""Level at which terms of third order say that it is none here either."""


def best_weight_slope(study: Study) -> Finding:
    """Slope of log best weight on log width, from accuracies at every weight of every judged seed.

    y = A_width + S_seed + p x + q x² + r u x by least squares; x log weight, u log width, both centred. The best weight
    moves by −r / 2q as u grows by one: `intervals.Fieller`.
    """
    rows = _grid(study)
    widths, tops = rows["projector.width"].nunique(), _tops(rows)
    if widths < 3:
        raise Missing("fewer than 3 widths: a slope has no error")
    fit, cubic = _fit(_near(rows, tops))
    if fit.freedom < 1:
        raise Missing("fewer weights and seeds than a parabola has coefficients")
    estimate = Fieller(*fit.ends[:2], fit.covariance, fit.freedom, int(rows["seed"].nunique()))
    best = [part[part["weight"] == tops[width]] for width, part in rows.groupby("projector.width")]
    found = held(study, one(estimate), best, [f"{widths} widths"])
    ends = sum(_is_end(part, tops[width]) for width, part in rows.groupby("projector.width"))
    if ends:
        found = found.bar(f"at {ends} of {widths} widths the best weight is an end of the grid", *_BOTH)
    if not estimate.bends_down(ERROR):
        found = found.bar("accuracy has no top along the weights", *_BOTH)
    return found.bar("accuracy is not a parabola of log weight", *_BOTH) if cubic < CURVED else found


_BOTH = SUPPORTED, NOT_SUPPORTED


def _grid(study: Study) -> pd.DataFrame:
    """Last epochs of the sweep at the seeds that ran every weight of every width."""
    rows = results.last(of(study, "weight_sweep_barlow_twins")).drop_duplicates(["cell", "accuracy"])
    if rows.groupby(["subset.dataset", "encoder.name", "epochs"]).ngroups > 1:
        raise Missing("several data sets, encoders or lengths in one sweep")
    rows = rows.drop_duplicates(["projector.width", "weight", "seed"])
    counts = rows.groupby("seed")["cell"].count()
    return rows[rows["seed"].isin(counts[counts == counts.max()].index)]


def _tops(rows: pd.DataFrame) -> dict[int, float]:
    """The best weight of each width by the mean over seeds."""
    mean = rows.groupby(["projector.width", "weight"])["accuracy"].mean()
    return {int(width): float(part.idxmax()[1]) for width, part in mean.groupby(level=0)}


def _is_end(rows: pd.DataFrame, weight: float) -> bool:
    return weight in (rows["weight"].min(), rows["weight"].max())


def _near(rows: pd.DataFrame, tops: dict[int, float]) -> pd.DataFrame:
    """Rows within `NEAR` steps of the grid from their width's best."""
    place = rows.groupby("projector.width")["weight"].rank(method="dense")
    at_top = rows["weight"] == rows["projector.width"].map(tops)
    top = rows["projector.width"].map(place[at_top].groupby(rows["projector.width"]).first())
    return rows[(place - top).abs() <= NEAR]


class _Fit(NamedTuple):
    ends: np.ndarray
    """Coefficients of x² and of u x."""
    covariance: np.ndarray
    freedom: int
    squares: float


def _fit(rows: pd.DataFrame) -> tuple[_Fit, float]:
    """The fit, and how surely (p of F) x³ and u x² are needed beside it."""
    x, u = (np.log(rows[name].to_numpy(dtype=float)) for name in ("weight", "projector.width"))
    x, u = x - x.mean(), u - u.mean()
    blocks = (
        pd.get_dummies(rows["projector.width"]).to_numpy(float),
        pd.get_dummies(rows["seed"]).to_numpy(float)[:, 1:],
    )
    y = 100 * rows["accuracy"].to_numpy(dtype=float)
    plain = np.column_stack([*blocks, x, x**2, u * x])
    fit = _least_squares(plain, y)
    more = _least_squares(np.column_stack([plain, x**3, u * x**2]), y)
    return fit, _p_of_f(fit, more)


def _least_squares(design: Float[np.ndarray, "row term"], y: Float[np.ndarray, "row"]) -> _Fit:
    inverse = np.linalg.pinv(design.T @ design)
    b = inverse @ design.T @ y
    squares = float(((y - design @ b) ** 2).sum())
    freedom = len(y) - int(np.linalg.matrix_rank(design))
    return _Fit(b[-2:], squares / max(freedom, 1) * inverse[-2:, -2:], freedom, squares)


def _p_of_f(fit: _Fit, more: _Fit) -> float:
    from scipy.special import fdtrc

    added = fit.freedom - more.freedom
    if added < 1 or more.freedom < 1 or more.squares < 1e-18:
        return 1.0
    return float(fdtrc(added, more.freedom, (fit.squares - more.squares) / added / (more.squares / more.freedom)))
