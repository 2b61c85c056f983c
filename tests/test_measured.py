"""A data set's own mean and deviation, where params.yaml gives none: the same numbers wherever they are used."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_config import cell

from entia import datasets, stages, views
from entia.artefacts import check
from entia.config import Augmentation, Embed, Encoder, Pretrain, Projector, Subset
from entia.fields import Problem

HALF = Subset(dataset="optdigits", limit=200, fraction=0.5)
OPEN = Augmentation(size=8)


@settings(max_examples=50, deadline=None)
@given(pixels=arrays.arrays(np.uint8, st.tuples(*map(st.integers, (1, 1, 1, 1), (1500, 3, 3, 3)))))
def test_statistics_are_each_channels_mean_and_deviation(pixels):
    found = datasets.statistics(pixels)
    np.testing.assert_allclose(found["mean"], pixels.mean((0, 2, 3)), atol=1e-9)
    np.testing.assert_allclose(found["std"], pixels.std((0, 2, 3)), atol=1e-9)


def run(policy: Augmentation) -> tuple[Pretrain, Embed]:
    """Pretrains a cell on half of the images, with an online probe, and embeds all of them."""
    trained = cell(
        subset=HALF, augmentation=policy, encoder=Encoder(name="narrow_resnet", width=2), projector=Projector(width=8),
        views=2, epochs=2, batch=32, online_probe=True,
    )  # fmt: skip
    embedded = Embed(pretrain=trained, on=msgspec.structs.replace(HALF, fraction=1.0), views=3)
    stages.subset(trained.subset)
    stages.subset(embedded.on)
    stages.pretrain(trained)
    stages.embed(embedded)
    return trained, embedded


def test_measured_numbers_are_the_training_images_in_views_probe_and_embeddings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, embedded = run(OPEN)
    pixels = check.open_whole(stages.DATA, HALF)[0]["train/pixels"]
    given = {name: tuple(numbers) for name, numbers in datasets.statistics(pixels).items()}
    assert given["mean"] == pytest.approx((pixels.mean(),)) and given["std"] == pytest.approx((pixels.std(),))
    other, again = run(msgspec.structs.replace(OPEN, **given))
    ours, theirs = (check.open_whole(stages.DATA, of)[0] for of in (one, other))
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)
    ours, theirs = (check.open_whole(stages.DATA, of)[0] for of in (embedded, again))
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)
    logs = [stages.store.read_log(stages.store.log_path(stages.DATA, of)) for of in (one, other)]
    assert [row["probe_accuracy"] for row in logs[0]] == [row["probe_accuracy"] for row in logs[1]]


def test_what_is_given_is_not_measured():
    found = views.measured(Augmentation(std=(9.0,)), {"mean": [1.0, 2.0], "std": [3.0, 4.0]})
    assert (found.mean, found.std) == ((1.0, 2.0), (9.0,))


def test_images_without_any_deviation_are_named():
    with pytest.raises(Problem, match="channel 2 is the same in every pixel"):
        views.measured(OPEN, {"mean": [1.0, 2.0], "std": [3.0, 0.0]})
