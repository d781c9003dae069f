"""Models compared: one split, one base measure, a budget that is kept, and models that fail alone."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lowerbound import MLP, VAE, BernoulliLikelihood, Factorized, Mixture
from lowerbound.comparison import comparison
from lowerbound.comparison.comparison import Contender, compare_models, count_parameters
from lowerbound.comparison.dequantized import Dequantized
from lowerbound.comparison.split import case_of, split
from lowerbound.training.time_budget import Deadline, affordable


def bits(n, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((n, n_features)) < np.linspace(0.2, 0.7, n_features)).astype(np.uint8)


def levels(n, n_features=3, seed=0, sd=4.0):
    return np.random.default_rng(seed).normal(120, sd, (n, n_features)).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("row_passes", "expected"),
    [(1e9, (30, 1000)), (12_500, (12, 1000)), (1_500, (1, 1000)), (300, (1, 300)), (0, (1, 50))],
)
def test_passes_are_cut_before_rows(row_passes, expected):
    assert affordable(row_passes, wanted=30, fewest=1, n=1000, fewest_rows=50) == expected


def test_no_fewer_passes_than_make_sense():
    assert affordable(2000, wanted=200, fewest=10, n=1000, fewest_rows=50) == (10, 200)


@pytest.mark.parametrize(("sd", "least", "most"), [(4.0, -0.005, 0.05), (0.7, 0.08, 0.3)])
def test_dequantization_bounds_the_probability_of_the_bin_from_below(sd, least, most):
    """For independent normals P(x) = Φ(x + 1) − Φ(x) is known; the bound lies below, further where few levels occur."""
    train, test = levels(400, sd=sd), levels(1000, seed=1, sd=sd)
    model = Dequantized(Factorized(likelihood="gaussian", random_state=0), seed=0).fit(train)
    bound = model.log_likelihood(test)
    real = train + np.random.default_rng([0, 0]).random(train.shape)
    law = norm(real.mean(0), real.std(0))
    exact = np.log(law.cdf(test + 1.0) - law.cdf(test)).sum(1).mean()
    assert bound.kind == "lower"
    assert least < exact - bound.value < most
    draws = model.sample(2000)
    assert draws.dtype == np.uint8
    error = sd / draws.size**0.5
    assert abs(draws.mean() - train.mean()) < 4 * error < 0.5  # half a level more, were they not rounded down


def test_one_split():
    X = np.arange(200, dtype=np.float64).reshape(100, 2)
    case = split(X, seed=3)
    assert (len(case.train), len(case.test)) == (80, 20)
    assert {tuple(row) for row in case.train} | {tuple(row) for row in case.test} == {tuple(row) for row in X}
    np.testing.assert_array_equal(split(X, seed=3).test, case.test)
    assert len(split(X, most_scored=5).test) == 5
    with pytest.raises(ValueError, match="9 rows are too few"):
        split(X[:9])


def test_grey_values_are_binarized_once_for_scoring():
    grey = np.tile(np.array([[0, 51, 204, 255]], np.uint8), (5000, 1))
    case = split(grey, binarize="sample")
    assert case.kind == "binary"
    assert set(np.unique(case.train)) == {0, 51, 204, 255}
    np.testing.assert_allclose(case.test.mean(0), [0, 0.2, 0.8, 1], atol=0.06)
    model = Factorized(likelihood=BernoulliLikelihood("sample")).fit(case.train)
    entropy = 2 * (0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert model.log_likelihood(case.test).value == pytest.approx(entropy, abs=0.1)
    cut = split(grey, binarize="threshold")
    np.testing.assert_array_equal(cut.train[0], [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("X", "kinds", "without"),
    [
        (bits(300), {"factorized": "exact", "mixture": "exact"}, {"ppca", "autoencoder"}),
        (levels(300), {"factorized": "exact", "mixture": "lower", "ppca": "lower"}, {"rbm", "autoencoder"}),
        (levels(300) / 7, {"factorized": "exact", "mixture": "exact", "ppca": "exact"}, {"rbm", "autoencoder"}),
    ],
    ids=["binary", "levels", "real"],
)
def test_one_base_measure(X, kinds, without):
    results = {r.name: r for r in compare_models(split(X), [*kinds, *without])}
    assert {name: r.log_p.kind for name, r in results.items() if r.log_p} == kinds
    for name in without:
        assert results[name].reason
        assert not results[name].failed
    numbers = [r.log_p.value for r in results.values() if r.log_p]
    assert max(numbers) - min(numbers) < 1.5  # data without dependence: all agree, if they measure the same
    assert all((r.bits_per_dim is not None) == (X.dtype == np.uint8) for r in results.values() if r.log_p)


def test_a_model_that_fails_does_not_end_the_others(monkeypatch):
    def broken(case):
        raise RuntimeError("broken\n in two lines")

    monkeypatch.setitem(comparison.MODELS, "mixture", Contender("mixture", broken))
    results = list(compare_models(split(bits(100)), ["mixture", "factorized"]))
    assert [r.name for r in results] == ["factorized", "mixture"]
    assert results[0].log_p is not None
    assert (results[1].failed, results[1].reason) == (True, "broken in two lines")
    assert results[1].to_dict()["log_likelihood"] is None


def test_a_budget_cuts_epochs_and_says_so():
    case = split(bits(400))
    small = {"vae": {"latent_dim": 2, "early_stopping": False, "network": MLP((8,))}}
    (result,) = compare_models(case, ["vae"], seconds=1.5, parameters=small)
    assert result.notes[0].startswith("the budget allowed ")
    assert result.log_p.kind == "lower"
    assert result.n_parameters > 0


def test_a_deadline_stops_after_the_epoch():
    watch = Deadline(until=0.0)
    vae = VAE(2, max_epochs=5, random_state=0, network=MLP((4,)))
    with pytest.warns(UserWarning, match="collapsed"):
        vae.fit(bits(50), watch=watch)
    assert (vae.n_iter_, watch.stopped_after) == (1, 1)


def test_parameters_are_counted():
    X = levels(100) / 7
    assert count_parameters(Factorized().fit(X)) == 2 * 3
    assert count_parameters(Factorized().fit(levels(100))) == 255 * 3
    assert count_parameters(Mixture(2, random_state=0, max_iter=500).fit(X)) == 1 + 2 * 3 + 2 * 6
    assert count_parameters(Mixture(2, random_state=0, tol=0.1).fit(bits(100))) == 1 + 2 * 6


def test_rows_that_come_apart_already():
    case = case_of(bits(50), bits(20, seed=1))
    assert (len(case.train), len(case.test), case.kind) == (50, 20, "binary")


def test_models_of_a_table_of_several_kinds_take_its_columns_for_the_same():
    """Levels that few rows have must not make another base measure where the budget leaves few rows."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "word": rng.choice(list("abcdef"), 200)})
    case = split(frame, seed=3)
    assert case.kind == "mixed"
    assert len(case.train) + len(case.test) == 200
    assert not set(case.train.index) & set(case.test.index)
    for name in ("factorized", "vae"):
        assert comparison.MODELS[name].make(case).columns is case.schema.columns
    result, other = compare_models(case, ("factorized", "mixture"))
    share = case.train["word"].value_counts(normalize=True)[case.test["word"]].to_numpy()
    x = norm(case.train["x"].mean(), case.train["x"].std(ddof=0))
    expected = (np.log(share) + x.logpdf(case.test["x"])).mean()
    assert result.log_p.value == pytest.approx(expected, abs=0.02)  # levels are smoothed
    assert other.log_p is None
    assert not other.failed
    with pytest.raises(ValueError, match="leave it out"):
        split(frame, binarize="mean")
