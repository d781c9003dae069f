"""Tables of many rows: float32 says what float64 says, and training scores are those of some of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lowerbound import VAEOutlierDetector
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.outliers import criteria, member
from lowerbound.tasks import outlier_scores

NAMES = ["kl", "aggregate_kl", "reconstruction", "elbo", "surprise", "combined"]


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(500, 6))
    X[5, 0], X[6] = np.nan, np.nan
    return X


@pytest.fixture(scope="module")
def with_a_far_number(table) -> np.ndarray:
    return np.vstack([table, [0, 0, 1e20, 0, 0, 0]])


@pytest.fixture(scope="module")
def detector(table) -> VAEOutlierDetector:
    return VAEOutlierDetector(n_steps=40, random_state=0).fit(table)


def test_float32_gives_the_scores_of_float64(detector, table, monkeypatch):
    exact = detector.scores(table, NAMES)
    monkeypatch.setattr(member, "ROWS_IN_SINGLE", 100)
    single = detector.scores(table, NAMES)
    assert not single.equals(exact)  # it was float32
    np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-4)


def test_a_row_far_out_is_left_to_float64(detector, with_a_far_number, monkeypatch):
    exact = detector.scores(with_a_far_number, ["reconstruction"]).iloc[-1]
    monkeypatch.setattr(member, "ROWS_IN_SINGLE", 100)
    single = detector.scores(with_a_far_number, ["reconstruction"]).iloc[-1]
    np.testing.assert_allclose(single, exact, rtol=1e-12)


def test_scores_that_float32_does_not_have_are_those_of_float64(detector, table, monkeypatch):
    exact = detector.scores(table[:120], ["log_p"])
    monkeypatch.setattr(member, "ROWS_IN_SINGLE", 100)
    np.testing.assert_array_equal(detector.scores(table[:120], ["log_p"]), exact)


def test_only_a_part_of_many_training_rows_is_ranked(table, monkeypatch):
    monkeypatch.setattr(criteria, "ROWS_TO_RANK", 200)
    automatic = VAEOutlierDetector(n_steps=20, random_state=0).fit(table)
    assert len(automatic.training_scores_) == 200
    assert 0 < automatic.quantile(table).mean() < 1


def test_contamination_is_a_part_of_all_training_rows(table, monkeypatch):
    monkeypatch.setattr(criteria, "ROWS_TO_RANK", 200)
    asked = VAEOutlierDetector(contamination=0.1, n_steps=20, random_state=0).fit(table)
    assert len(asked.training_scores_) == 500
    assert (asked.predict(table) == -1).sum() == 50


def test_the_nearest_components_are_left_out():
    def gaussian(n: int, seed: int) -> DiagonalGaussian:
        draw = torch.Generator().manual_seed(seed)
        return DiagonalGaussian(*(torch.randn(n, 3, generator=draw, dtype=torch.float64) for _ in range(2)))

    q, others = gaussian(7, 0), gaussian(30, 1)
    kept = q.kl_to_each(others).sort(1).values[:, 4:]
    wanted = np.log(26) - (-kept).logsumexp(1)
    torch.testing.assert_close(outlier_scores.aggregate_kl(q, others, 4), wanted)
