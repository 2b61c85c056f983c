import numpy as np
import pytest

from entia import spectrum


def draw(rows: int = 400, width: int = 12, seed: int = 0) -> np.ndarray:
    """Correlated rows away from the origin."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, width)) @ generator.normal(size=(width, width)) + generator.normal(size=width)


def orthogonal(width: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def test_eigenvalues_are_those_of_numpys_covariance():
    features = draw()
    expected = np.linalg.eigvalsh(np.cov(features.T, bias=True))[::-1]
    np.testing.assert_allclose(spectrum.eigenvalues(features), expected, rtol=1e-10)


def test_blocks_of_rows_change_no_eigenvalue(monkeypatch: pytest.MonkeyPatch):
    features = draw()
    whole = spectrum.eigenvalues(features)
    monkeypatch.setattr(spectrum, "BLOCK", 7)
    np.testing.assert_allclose(spectrum.eigenvalues(features), whole, rtol=1e-12)


def test_eigenvalues_are_float64_and_descend_for_half_precision_features():
    values = spectrum.eigenvalues(draw().astype(np.float16))
    assert values.dtype == np.float64
    assert (np.diff(values) <= 0).all()


def test_a_mean_far_from_the_origin_costs_no_digits():
    features = draw()
    np.testing.assert_allclose(spectrum.eigenvalues(features + 1e6), spectrum.eigenvalues(features), rtol=1e-6)


def test_dead_features_add_only_zero_eigenvalues():
    features = draw().astype(np.float32)
    dead = np.concatenate((features, np.full((400, 3), 0.1, np.float32)), axis=1)
    values = spectrum.eigenvalues(dead)
    np.testing.assert_allclose(values[:12], spectrum.eigenvalues(features), rtol=1e-10)
    assert (values[12:] == 0).all()


def test_fewer_rows_than_features_leave_rows_less_one_directions():
    assert np.count_nonzero(spectrum.eigenvalues(draw(rows=5))) == 4


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 2.5])
def test_a_planted_power_law_gives_back_its_exponent(alpha: float):
    law = spectrum.power_law(7.0 * np.arange(1, 301) ** -alpha)
    assert law.alpha == pytest.approx(alpha, abs=1e-9)
    assert law.r2 == pytest.approx(1.0)
    assert (law.first, law.last) == (4, 100)


def test_features_drawn_from_a_power_law_give_back_its_exponent():
    scale = np.arange(1, 121) ** -0.5
    features = (np.random.default_rng(0).normal(size=(20_000, 120)) * scale) @ orthogonal(120)
    assert spectrum.summary(features)["alpha"] == pytest.approx(1.0, abs=0.05)


def test_the_exponent_is_that_of_numpys_weighted_polynomial_fit():
    values = spectrum.eigenvalues(draw(width=60))
    rank = np.arange(4, 51)
    slope = np.polyfit(np.log(rank), np.log(values[3:50]), 1, w=rank**-0.5)[0]
    assert spectrum.power_law(values, 4, 50).alpha == pytest.approx(-slope)


def test_the_window_leaves_out_the_first_ranks_and_those_beyond_it():
    values = np.arange(1, 201) ** -1.0
    changed = values.copy()
    changed[:3], changed[100:] = 5.0, 1e-9
    assert spectrum.power_law(changed) == spectrum.power_law(values)


def test_the_window_ends_at_the_last_eigenvalue_above_zero():
    law = spectrum.power_law(np.concatenate((np.arange(1, 21) ** -1.0, np.zeros(10))))
    assert law.last == 20
    assert law.alpha == pytest.approx(1.0)


def test_too_few_eigenvalues_for_a_line_are_refused():
    with pytest.raises(ValueError, match="fewer than three above zero from rank 4"):
        spectrum.power_law(np.array([3.0, 2.0, 1.0, 0.5, 0.1, 0.0]))


def test_r2_falls_as_the_spectrum_leaves_the_law():
    rank = np.arange(1, 101)
    noise = np.random.default_rng(0).normal(size=100)
    r2 = [spectrum.power_law(np.exp(-np.log(rank) + s * noise)).r2 for s in (0.0, 0.1, 0.5)]
    assert r2[0] > r2[1] > r2[2] > 0


@pytest.mark.parametrize("width", [1, 5, 64])
def test_rankme_of_an_orthonormal_matrix_is_its_width(width: int):
    assert spectrum.rankme(orthogonal(100)[:, :width]) == pytest.approx(width)


def test_rankme_of_a_rank_one_matrix_is_one():
    assert spectrum.rankme(np.outer(np.arange(1.0, 30), np.arange(1.0, 50))) == pytest.approx(1.0)


def test_rankme_is_the_entropy_of_the_singular_values():
    features = draw()
    singular = np.linalg.svd(features, compute_uv=False)
    share = singular / singular.sum()
    assert spectrum.rankme(features) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_effective_rank_is_rankme_of_centred_features():
    features = draw()
    assert spectrum.effective_rank(features) == pytest.approx(spectrum.rankme(features - features.mean(0)))


def test_a_large_mean_hides_directions_from_rankme_alone():
    features = draw()
    assert spectrum.rankme(features + 1e4) < 1.1
    assert spectrum.effective_rank(features + 1e4) == pytest.approx(spectrum.effective_rank(features), rel=1e-6)


@pytest.mark.parametrize("change", ["scale", "rotation", "order of rows", "repeated rows"])
def test_summary_is_the_same_under(change: str):
    features = draw()
    changed = {
        "scale": 1000 * features,
        "rotation": features @ orthogonal(12),
        "order of rows": features[np.random.default_rng(2).permutation(400)],
        "repeated rows": np.concatenate((features, features)),
    }[change]
    assert spectrum.summary(changed) == pytest.approx(spectrum.summary(features), rel=1e-6)


def test_summary_holds_what_the_single_functions_give():
    features = draw()
    law = spectrum.power_law(spectrum.eigenvalues(features), 2, 9)
    assert spectrum.summary(features, 2, 9) == {
        "rankme": spectrum.rankme(features),
        "effective_rank": spectrum.effective_rank(features),
        "alpha": law.alpha,
        "alpha_r2": law.r2,
        "alpha_first": 2.0,
        "alpha_last": 9.0,
    }


@pytest.mark.parametrize(("value", "rankme"), [(0.0, 0.0), (0.3, 1.0)])
def test_a_collapsed_embedding_has_no_exponent_and_no_rank(value: float, rankme: float):
    collapsed = np.full((5000, 8), value, np.float32)
    assert spectrum.summary(collapsed) == {"rankme": pytest.approx(rankme), "effective_rank": 0.0}


def test_features_that_are_not_finite_are_refused():
    features = draw()
    features[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 4800 values are not finite"):
        spectrum.summary(features)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        spectrum.eigenvalues(np.empty((0, 4)))
