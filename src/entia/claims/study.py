"""The rows that a study is judged on, each with its protocol and configuration, and the noise of each measure."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeArguments=false

import functools
from dataclasses import dataclass, field

import pandas as pd

from entia import results
from entia.claims.intervals import Missing
from entia.claims.pooling import NO_POOL, Pool, Sample, pool
from entia.claims.tuning import as_text, is_config, is_trained, seeds_not_judged
from entia.planning.baselines import EXPERIMENT as BASELINES

PROTOCOL = ("subset.dataset", "encoder.name", "encoder.width", "epochs")
"""What a protocol's cells have in common, beside batch sizes that an experiment compares with each other."""


@dataclass(frozen=True)
class Measure:
    """A column at the last epoch, or at another, times a factor: what an arm's cells are held against each other by."""

    column: str
    factor: float = 1.0
    epoch: int | None = None

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows that it is read in. `Missing` where there is no such column."""
        if self.column not in frame:
            raise Missing(f"no column {self.column}")
        return results.last(frame) if self.epoch is None else frame[frame["epoch"] == self.epoch]


POINTS = Measure("accuracy", 100.0)
"""Last-epoch accuracy on the test split, in percentage points. The best epoch is never looked for on the test split."""


@dataclass
class Study:
    """`results.frame`'s rows of all experiments. `frame` has a `protocol` and a `configuration` for each."""

    frame: pd.DataFrame
    scale: str = "laptop"
    pools: dict[Measure, Pool] = field(default_factory=dict[Measure, Pool])

    @classmethod
    def of(cls, frame: pd.DataFrame, scale: str = "laptop", seeds: int | None = None) -> "Study":
        """A study of these rows; of the first so many judged seeds alone, and of tuning seeds, where it is said."""
        if frame.empty:
            return cls(frame, scale)
        described = frame.assign(configuration=_configurations(frame), protocol=_protocols(frame))
        tuning = seeds_not_judged(described)
        pairs = zip(frame["experiment"], frame["seed"], strict=True)
        described = described.assign(tuning=[pair in tuning for pair in pairs])
        if seeds is not None:
            judged = sorted(set(described[~described["tuning"] & is_trained(described)]["seed"]))[:seeds]
            described = described[described["tuning"] | ~is_trained(described) | described["seed"].isin(judged)]
        return cls(described, scale)

    def pool(self, measure: Measure) -> Pool:
        """The variance over seeds of a measure, by protocol and method. Each distinct cell counts once."""
        if measure not in self.pools:
            rows = measure.rows(self.frame[is_trained(self.frame) & ~self.frame["tuning"]])
            if "embed.on.dataset" in rows:  # what is read out on other data is another measure
                rows = rows[rows["embed.on.dataset"] == rows["subset.dataset"]]
            rows = rows.sort_values(["cell", "readout"]).drop_duplicates("cell")
            scaled = rows.assign(**{measure.column: measure.factor * rows[measure.column].astype(float)})
            self.pools[measure] = pool(scaled, measure.column) if len(rows) else NO_POOL
        return self.pools[measure]

    @functools.cached_property
    def has_baselines(self) -> bool:
        """Whether anything that needs no training was read out."""
        return bool((self.frame["experiment"] == BASELINES).any())

    def baseline(self, arm: str) -> pd.DataFrame:
        """Rows of `untrained` or of `raw pixels`; none where the study has none."""
        if self.frame.empty:
            return self.frame
        return self.frame[(self.frame["experiment"] == BASELINES) & (self.frame["arm"] == arm)]


def sample(rows: pd.DataFrame, measure: Measure) -> Sample:
    """An arm's measure by seed. Its rows are one cell a seed."""
    found = measure.rows(rows).set_index("seed")
    if found.empty:
        raise Missing("an arm was not read out at the epoch that is judged")
    place = str(found["protocol"].iloc[0]), str(found["method.name"].iloc[0])
    values = measure.factor * found[measure.column].astype(float)
    return Sample(dict(values.items()), dict(found["cell"].items()), place)


def _configurations(frame: pd.DataFrame) -> "pd.Series[str]":
    """A cell's config, its seed apart, as text."""
    return as_text(frame, [name for name in map(str, frame) if is_config(name) and name != "seed"])


def _protocols(frame: pd.DataFrame) -> "pd.Series[str]":
    present = [name for name in PROTOCOL if name in frame]
    place = frame[present[0]].map(str).str.cat([frame[name].map(str) for name in present[1:]], sep="|")
    return place + "|" + _families(frame.assign(place=place))


def _families(frame: pd.DataFrame) -> "pd.Series[str]":
    """The smallest batch size of each row's family: sizes that one experiment has in one place are of one family."""
    if "batch" not in frame:
        return pd.Series("", index=frame.index)
    frame = frame.assign(batch=frame["batch"].map(str))
    family = {pair: pair[1] for pair in zip(frame["place"], frame["batch"], strict=True)}
    together = {
        (str(place), tuple(sorted(set(part["batch"])))) for (place, _), part in frame.groupby(["place", "experiment"])
    }
    for _ in together:  # a chain of overlapping sets is no longer than their number
        for place, sizes in together:
            smallest = min((family[place, size] for size in sizes), key=float)
            family |= {(place, size): smallest for size in sizes}
    return pd.Series([family[pair] for pair in zip(frame["place"], frame["batch"], strict=True)], frame.index)
