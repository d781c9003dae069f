"""The estimator: conventions, learning, what its numbers are bounds of, keeping, refusals."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from tests import contract

from lowerbound import RBM, AnnealingWarning, Factorized, LikelihoodError, TrainingError, load
from lowerbound.estimators import rbm as module
from lowerbound.models import rbm as model_module
from lowerbound.models.rbm import Gradient
from lowerbound.parameters.tables import RBM_PARAMETERS

IRIS = load_iris().data
DIGITS = load_digits().images
BINARY = (DIGITS >= 8).astype(np.uint8)


def small(**parameters) -> RBM:
    defaults = {"n_hidden": 4, "max_epochs": 2, "n_temperatures": 10, "burn_in": 10, "random_state": 0}
    return RBM(**(defaults | parameters))


@pytest.mark.parametrize(("estimator", "check"), contract.checks(small(binarize="mean")))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(RBM, RBM_PARAMETERS)


# learning


def two_patterns(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of 8 bits that are 00001111 or 11110000 with each bit flipped with probability .1; all rows; their log p."""
    rng = np.random.default_rng(0)
    pattern = np.repeat([[0, 1], [1, 0]], 4, axis=1)
    X = pattern[rng.integers(2, size=n)] ^ (rng.random((n, 8)) < 0.1)
    every = np.array(list(itertools.product([0, 1], repeat=8)))
    flips = (every[:, None] != pattern).sum(2)
    return X, every, np.log(0.5 * (0.1**flips * 0.9 ** (8 - flips)).sum(1))


@pytest.mark.parametrize("parameters", [{"method": "pcd"}, {"method": "cd"}, {"method": "cd", "n_gibbs_steps": 3}])
def test_correlated_bits_are_learned(parameters):
    """KL(p ‖ model) is summed over all 256 rows, so it has no noise of its own; that of independent bits is 2.28."""
    X, every, log_p = two_patterns(2000)
    rbm = RBM(n_hidden=4, max_epochs=40, random_state=0, **parameters).fit(X)
    log_q = rbm.score_samples(every)
    assert np.exp(log_q).sum() == pytest.approx(1, abs=1e-10)
    assert 0 < np.exp(log_p) @ (log_p - log_q) < 0.1
    independent = Factorized().fit(X).score_samples(every)
    assert np.exp(log_p) @ (log_p - independent) > 1.5


def test_samples_are_of_both_patterns():
    X, every, _ = two_patterns(2000)
    rbm = RBM(n_hidden=4, max_epochs=40, burn_in=100, random_state=0).fit(X)
    rows, n = rbm.sample(4000), 4000
    p = np.exp(rbm.score_samples(every))
    frequency = (rows[:, None] == every).all(2).mean(0)
    assert (np.abs(frequency - p) <= 4 * np.sqrt(p * (1 - p) / n)).all()
    means = rbm.sample(n, mean=True)
    assert ((means > 0) & (means < 1)).all()


def test_digits_are_learned_better_than_independent_pixels():
    train, test = BINARY[:1500], BINARY[1500:]
    rbm = RBM(n_hidden=16, max_epochs=20, lr=0.1, random_state=0).fit(train)
    assert rbm.score(test) > Factorized().fit(train).score(test) + 2
    first, last = rbm.history_[0], rbm.history_[-1]
    assert last["reconstruction_error"] < first["reconstruction_error"]
    assert last["pseudo_likelihood"] > first["pseudo_likelihood"]


def test_a_step_has_momentum_and_decay():
    """speed ← μ·speed + gradient − λW; θ ← θ + lr·speed."""
    rbm = small(momentum=0.5, weight_decay=0.1).fit(BINARY[:50, 0, :3])
    W = rbm.model_.weight.detach().clone()
    gradient = Gradient(torch.ones(3, 4), torch.ones(3), torch.ones(4))
    velocity = Gradient(*map(torch.zeros_like, gradient))
    with torch.no_grad():
        rbm._step(gradient, velocity, 0.01)
        W = W + 0.01 * (1 - 0.1 * W)
        torch.testing.assert_close(rbm.model_.weight.detach(), W)
        b, speed = rbm.model_.visible_bias.detach().clone(), velocity.weight.clone()
        rbm._step(gradient, velocity, 0.01)
    torch.testing.assert_close(rbm.model_.weight.detach(), W + 0.01 * (0.5 * speed + 1 - 0.1 * W))
    torch.testing.assert_close(rbm.model_.visible_bias.detach(), b + 0.01 * 1.5)


def test_the_learning_rate_falls_to_zero(monkeypatch):
    rates = []
    monkeypatch.setattr(RBM, "_step", lambda self, gradient, velocity, lr: rates.append(lr))
    small(lr=0.8, max_epochs=2, batch_size=25).fit(BINARY[:100])
    np.testing.assert_allclose(rates, 0.8 * (1 - np.arange(8) / 8))


def test_persistent_chains_go_on_and_others_start_from_the_data(monkeypatch):
    starts, ends = [], []
    original = module.contrastive_divergence

    def watched(rbm, v, start, n_steps, noise):
        gradient, end = original(rbm, v, start, n_steps, noise)
        starts.append((v, start)), ends.append(end)
        return gradient, end

    monkeypatch.setattr(module, "contrastive_divergence", watched)
    small(batch_size=25).fit(BINARY[:60])
    assert all(torch.equal(start, end) for (_, start), end in zip(starts[1:], ends[:-1], strict=True))
    starts.clear()
    small(batch_size=25, method="cd").fit(BINARY[:60])
    assert all(torch.equal(start, v) for v, start in starts)


# what is recorded


def test_history():
    rbm = small(max_epochs=3, validation_fraction=0.2).fit(BINARY[:200])
    names = {"epoch", "step", "reconstruction_error", "pseudo_likelihood", "free_energy_gap", "seconds"}
    assert [set(record) for record in rbm.history_] == [names] * 3
    assert rbm.n_iter_ == len(rbm.history_) == 3
    assert rbm.history_[-1]["step"] == 3 * 3  # 160 rows, 64 at a time
    assert small().fit(BINARY[:200]).history_[-1]["free_energy_gap"] is None


def test_the_free_energy_gap_tells_of_overfitting():
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(60, 30))  # nothing to learn
    rbm = RBM(n_hidden=100, max_epochs=300, lr=0.1, validation_fraction=0.5, n_temperatures=10, random_state=0).fit(X)
    assert rbm.history_[-1]["free_energy_gap"] > rbm.history_[0]["free_energy_gap"] + 1


def test_verbose(capsys):
    small(verbose=1).fit(BINARY[:50])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2


# bounds


def test_with_few_hidden_units_log_p_is_exact():
    rbm = small().fit(BINARY[:200])
    estimate, scores = rbm.log_likelihood(BINARY[:100]), rbm.score_samples(BINARY[:100])
    assert (estimate.kind, rbm.log_z_standard_error_, rbm.log_z_ess_) == ("exact", 0.0, None)
    assert estimate.value == pytest.approx(scores.mean(), abs=1e-10)
    assert estimate.standard_error == pytest.approx(scores.std(ddof=1) / 10)


def test_with_more_it_is_an_upper_bound_with_both_errors():
    rbm = small(n_hidden=21, n_temperatures=100).fit(BINARY[:200])
    estimate, scores = rbm.log_likelihood(BINARY[:100]), rbm.score_samples(BINARY[:100])
    assert estimate.kind == "upper"
    assert rbm.log_z_standard_error_ > 0
    assert 1 < rbm.log_z_ess_ <= 100
    assert estimate.standard_error == pytest.approx(math.hypot(scores.std(ddof=1) / 10, rbm.log_z_standard_error_))


def test_the_estimate_of_log_z_agrees_with_enumeration(monkeypatch):
    rbm = small(n_hidden=16, max_epochs=20, n_temperatures=300).fit(BINARY[:500])
    exact = rbm.log_z_
    monkeypatch.setattr(model_module, "ENUMERABLE", 0)
    rbm.estimate_log_z()
    assert 0 < abs(rbm.log_z_ - exact) <= 4 * rbm.log_z_standard_error_ < 0.5
    before = rbm.log_z_, rbm.score_samples(BINARY[:5])
    rbm.estimate_log_z(random_state=1)
    assert rbm.log_z_ != before[0]
    np.testing.assert_allclose(rbm.score_samples(BINARY[:5]) - before[1], before[0] - rbm.log_z_)
    coarse = rbm.estimate_log_z(n_chains=20, n_temperatures=20).log_z_standard_error_
    assert rbm.estimate_log_z(n_chains=100, n_temperatures=1000).log_z_standard_error_ < coarse


def test_an_estimate_that_rests_on_few_chains_draws_a_warning():
    rbm = small(n_hidden=21, max_epochs=100, lr=0.2, n_temperatures=1000).fit(BINARY[:500])
    with pytest.warns(AnnealingWarning, match=r"rests on .* of 100 chains.*n_temperatures=10\)"):
        rbm.estimate_log_z(n_temperatures=1)
    assert rbm.log_z_ess_ < 10


# rows


@pytest.mark.parametrize(
    "X", [BINARY[:50], BINARY[:50].astype(bool), BINARY[:50, 0].astype(float), BINARY[:50, None, :4].repeat(3, 1)]
)
def test_rows_of_any_shape(X):
    rbm = small().fit(X)
    assert rbm.score_samples(X).shape == (50,)
    rows = rbm.sample(3)
    assert rows.shape == (3, *X.shape[1:])
    assert rows.dtype == X.dtype
    assert set(np.unique(rows)) <= {0, 1}


def test_grey_values():
    grey = DIGITS[:50] / 16
    scores = {binarize: small(binarize=binarize).fit(grey).score(grey) for binarize in ("sample", "threshold", "mean")}
    assert all(np.isfinite(list(scores.values())))
    cut = small(binarize="threshold").fit(grey)
    np.testing.assert_array_equal(cut.score_samples(grey), cut.score_samples((grey >= 0.5).astype(float)))


def test_cut_at_the_mean():
    by_hand = (IRIS.mean(0) < IRIS).astype(int)
    cut, given = small(binarize="mean").fit(IRIS), small().fit(by_hand)
    np.testing.assert_array_equal(cut.score_samples(IRIS), given.score_samples(by_hand))
    np.testing.assert_array_equal(cut.score_samples(IRIS[60:70]), given.score_samples(by_hand[60:70]))  # the same cut
    bits = small(binarize="mean").fit(by_hand)
    np.testing.assert_array_equal(bits.score_samples(by_hand), given.score_samples(by_hand))
    assert set(np.unique(cut.sample(20))) <= {0.0, 1.0}


@pytest.mark.parametrize("parameters", [{}, {"n_hidden": 21}, {"binarize": "mean"}])
def test_saved_and_loaded_it_is_the_same(parameters, tmp_path):
    X = IRIS if "binarize" in parameters else BINARY[:100]
    rbm = small(**parameters).fit(X)
    rbm.save(tmp_path / "rbm")
    again = load(tmp_path / "rbm")
    np.testing.assert_array_equal(again.score_samples(X), rbm.score_samples(X))
    np.testing.assert_array_equal(again.sample(4), rbm.sample(4))
    assert again.log_likelihood(X) == rbm.log_likelihood(X)
    assert again.history_ == rbm.history_
    assert again.get_params() == rbm.get_params()


def test_the_same_seed_gives_the_same_result():
    first, second, other = small().fit(BINARY), small().fit(BINARY), small(random_state=1).fit(BINARY)
    np.testing.assert_array_equal(first.score_samples(BINARY), second.score_samples(BINARY))
    assert (first.score_samples(BINARY) != other.score_samples(BINARY)).any()
    assert (first.sample(3, random_state=5) == second.sample(3, random_state=5)).all()


def test_frames_keep_their_names():
    frame = pd.DataFrame(BINARY[:50, 3, 2:6], columns=list("abcd"))
    assert list(small().fit(frame).feature_names_in_) == list("abcd")


# refusals


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({}, IRIS, r"units of an RBM are 0 or 1, but X has values from 0.1 to 7.9: RBM\(binarize="),
        ({}, DIGITS.astype(np.uint8), r"RBM\(binarize=.sample.\)"),
        ({"binarize": "threshold"}, IRIS, "between 0 and 1"),
        ({"n_hidden": 0}, BINARY, "n_hidden must be"),
        ({"method": "pdc"}, BINARY, "did you mean 'pcd'"),
        ({"n_chains": 1}, BINARY, "n_chains must be"),
    ],
)
def test_refusals(parameters, X, message):
    with pytest.raises((ValueError, LikelihoodError), match=message):
        small(**parameters).fit(X)


def test_weights_that_stop_being_numbers():
    with pytest.raises(TrainingError, match="lower the learning rate"):
        small(lr=1e38).fit(BINARY[:200])
