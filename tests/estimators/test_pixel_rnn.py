"""The estimator: conventions, units, keeping, refusals, and whether it learns."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from tests import contract

from lowerbound import Adam, BernoulliLikelihood, Factorized, LikelihoodError, PixelRNN, load
from lowerbound.parameters.tables import PIXEL_RNN_PARAMETERS

IRIS = load_iris().data
DIGITS = load_digits().images
BINARY = (DIGITS >= 8).astype(np.uint8)


def small(**parameters) -> PixelRNN:
    return PixelRNN(**({"hidden_size": 8, "max_epochs": 2, "random_state": 0} | parameters))


@pytest.mark.parametrize(("estimator", "check"), contract.checks(small()))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(PixelRNN, PIXEL_RNN_PARAMETERS)


# learning


def test_a_markov_chain_is_learned_to_its_entropy():
    """p(x_j = x_{j−1}) = .9 over 10 bits. KL(p ‖ model) is summed over all 1024 rows, so it has no noise of its own."""
    rng = np.random.default_rng(0)
    rows = np.cumsum(np.c_[rng.integers(2, size=4000), rng.random((4000, 9)) < 0.1], axis=1) % 2
    every = np.array(list(itertools.product([0, 1], repeat=10)))
    log_p = math.log(0.5) + np.where(np.diff(every) != 0, math.log(0.1), math.log(0.9)).sum(1)
    log_q = PixelRNN(hidden_size=16, optimizer=Adam(0.02), max_epochs=12, random_state=0).fit(rows).score_samples(every)
    assert np.exp(log_q).sum() == pytest.approx(1, abs=1e-10)
    assert 0 < np.exp(log_p) @ (log_p - log_q) < 0.02  # of an entropy of 3.62 nats; independent bits: 3.31 away


def test_digits_are_learned_better_than_independent_pixels():
    train, test = BINARY[:1500], BINARY[1500:]
    rnn = PixelRNN(hidden_size=16, optimizer=Adam(0.02), max_epochs=8, random_state=0).fit(train)
    assert rnn.score(test) > Factorized().fit(train).score(test) + 5
    assert rnn.history_[-1]["validation_elbo"] > rnn.history_[0]["validation_elbo"]
    assert {record["kl"] for record in rnn.history_} == {0.0}


def test_it_starts_near_independent_pixels():
    untrained = small(optimizer=Adam(1e-9), max_epochs=1).fit(BINARY)
    assert untrained.score(BINARY) > Factorized().fit(BINARY).score(BINARY) - 5  # all at one half would be 20 lower


def test_correlated_columns_are_learned_in_either_order():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    X = np.c_[x, x + 0.3 * rng.normal(size=2000)]
    entropy = math.log(2 * math.pi * math.e) + math.log(0.3)
    for order in ([0, 1], [1, 0]):
        rnn = PixelRNN(hidden_size=16, optimizer=Adam(0.01), max_epochs=15, random_state=0).fit(X[:, order])
        assert rnn.score(X[:, order]) == pytest.approx(-entropy, abs=0.1)


# the rows


@pytest.mark.parametrize(
    ("X", "likelihood"),
    [
        (IRIS, "gaussian"),
        (DIGITS[:60].astype(np.uint8), "discretized_logistic"),
        (BINARY[:60], "bernoulli"),
        (BINARY[:60, None, :4].repeat(3, 1), "bernoulli"),
        (DIGITS[:60, :4, :4, None].repeat(3, -1).astype(np.uint8), "discretized_logistic"),
        (DIGITS[:60, :4, :4, None].repeat(3, -1) + np.arange(3) + np.random.default_rng(0).normal(size=3), "gaussian"),
        (BINARY[:60, None, None, :2], "bernoulli"),
    ],
)
@pytest.mark.filterwarnings("ignore::lowerbound.ConstantFeatureWarning")
def test_rows_of_any_shape(X, likelihood):
    rnn = small(max_epochs=1).fit(X)
    assert rnn.schema_.likelihood == likelihood
    assert rnn.score_samples(X).shape == (len(X),)
    assert rnn.sample(3).shape == (3, *X.shape[1:])
    assert rnn.sample(3).dtype == X.dtype
    assert rnn.sample(3, mean=True).shape == (3, *X.shape[1:])


def test_flat_images_are_read_as_images_when_told_so():
    flat = BINARY[:100].reshape(100, 64)
    as_image = small().fit(BINARY[:100])
    told = small(image_shape=(8, 8)).fit(flat)
    np.testing.assert_array_equal(as_image.score_samples(BINARY[:100]), told.score_samples(flat))
    assert small().fit(flat).model_.network.rows is None  # one long row


def test_all_likelihoods():
    levels = DIGITS[:60, :3, :3].astype(int)
    rnn = small().fit(levels.astype(np.uint8) * 15)
    assert rnn.model_.network.view(torch.tensor([0.0, 255.0])).flatten().tolist() == [-1.0, 1.0]
    rnn = small(likelihood="categorical").fit(levels)
    assert rnn.schema_.likelihood == "categorical"
    assert set(np.unique(rnn.sample(50))) <= set(range(17))
    grey = DIGITS[:60] / 16
    for binarize in ("sample", "threshold"):
        assert set(np.unique(small(likelihood=BernoulliLikelihood(binarize)).fit(grey).sample(5))) <= {0, 1}


def test_densities_are_in_the_users_units():
    rnn, scaled = small().fit(IRIS), small().fit(1000 * IRIS)
    np.testing.assert_allclose(
        scaled.score_samples(1000 * IRIS), rnn.score_samples(IRIS) - 4 * math.log(1000), atol=1e-3
    )
    np.testing.assert_allclose(scaled.sample(5), 1000 * rnn.sample(5), rtol=1e-4)


def test_constant_columns_are_left_out():
    X = np.c_[np.full(150, 3.0), IRIS[:, :2], np.full(150, -1.0), IRIS[:, 2:]]
    with pytest.warns(match="constant"):
        rnn = small().fit(X)
    rows = rnn.sample(5)
    assert (rows[:, 0] == 3).all()
    assert (rows[:, 3] == -1).all()
    assert np.isfinite(rnn.score_samples(X)).all()


# scoring, keeping


def test_log_likelihood_is_exact():
    rnn = small().fit(BINARY[:200])
    estimate = rnn.log_likelihood(BINARY[200:300])
    scores = rnn.score_samples(BINARY[200:300])
    assert (estimate.kind, estimate.n_rows) == ("exact", 100)
    assert estimate.value == pytest.approx(scores.mean(), abs=1e-10) == rnn.score(BINARY[200:300])
    assert estimate.standard_error == pytest.approx(scores.std(ddof=1) / 10)


def test_a_row_is_scored_alone():
    rnn = small().fit(BINARY[:200])
    together = rnn.score_samples(BINARY[:700])
    np.testing.assert_allclose(together[::-1], rnn.score_samples(BINARY[:700][::-1]), rtol=1e-12)
    np.testing.assert_allclose(together[5], rnn.score_samples(BINARY[5:6])[0], rtol=1e-12)


@pytest.mark.parametrize("X", [IRIS, BINARY[:100], (DIGITS[:60, :4, :4]).astype(int)])
def test_saved_and_loaded_it_is_the_same(X, tmp_path):
    likelihood = "categorical" if X.dtype == int else "auto"
    rnn = small(likelihood=likelihood).fit(X)
    rnn.save(tmp_path / "rnn")
    again = load(tmp_path / "rnn")
    np.testing.assert_array_equal(again.score_samples(X), rnn.score_samples(X))
    np.testing.assert_array_equal(again.sample(4), rnn.sample(4))
    assert again.history_ == rnn.history_
    assert again.get_params() == rnn.get_params()


def test_the_same_seed_gives_the_same_result():
    first, second, other = small().fit(IRIS), small().fit(IRIS), small(random_state=1).fit(IRIS)
    np.testing.assert_array_equal(first.score_samples(IRIS), second.score_samples(IRIS))
    assert (first.score_samples(IRIS) != other.score_samples(IRIS)).any()
    assert (first.sample(3, random_state=5) == second.sample(3, random_state=5)).all()
    assert (first.sample(3, random_state=5) != first.sample(3, random_state=6)).any()


def test_partial_fit_and_warm_start_go_on():
    rnn = small().partial_fit(IRIS)
    scores = [rnn.partial_fit(IRIS).score(IRIS) for _ in range(15)]
    assert scores[-1] > scores[0]
    warm = small(warm_start=True, max_epochs=1, early_stopping=False).fit(IRIS)
    before = warm.model_
    assert warm.fit(IRIS).model_ is before


def test_frames_keep_their_names():
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    rnn = small().fit(frame)
    assert list(rnn.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        rnn.score_samples(frame[list("bacd")])


# refusals


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"likelihood": "bernoulli"}, DIGITS, "0/1 data"),
        ({"likelihood": "categorical"}, IRIS, "whole numbers"),
        ({"hidden_size": 0}, IRIS, "hidden_size must be"),
        ({"likelihood": "bernouli"}, IRIS, "did you mean 'bernoulli'"),
        ({"image_shape": (3, 3)}, IRIS, "doesn't fit rows"),
    ],
)
def test_refusals(parameters, X, message):
    with pytest.raises((ValueError, LikelihoodError), match=message):
        small(**parameters).fit(X)


def test_other_rows_are_refused():
    rnn = small().fit(BINARY[:50])
    with pytest.raises(ValueError, match="shape"):
        rnn.score_samples(BINARY[:50, :, :4])
    with pytest.raises(LikelihoodError):
        rnn.score_samples(DIGITS[:50])
