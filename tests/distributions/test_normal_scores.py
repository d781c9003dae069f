"""Real numbers by their normal scores: a density in the user's units, its draws, means and probabilities."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from lowerbound import VAE, load
from lowerbound.assembly.columns import columns_head
from lowerbound.data.columns.coding import decode, encode
from lowerbound.data.columns.inference import infer_columns
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.columns.scores import by_normal_scores
from lowerbound.distributions.noise import Noise, make_generator

rng = np.random.default_rng(0)
N = 4000
TABLE: Any = pd.DataFrame({
    "two hills": np.where(rng.random(N) < 0.3, rng.normal(-4, 0.2, N), rng.normal(3, 1, N)),
    "heavy": rng.standard_t(2.5, N) * 100,
    "plain": rng.normal(170, 8, N),
    "word": rng.choice(["a", "b"], N),
})  # fmt: skip
INFERRED = infer_columns(TABLE)
ASKED = by_normal_scores(TABLE[["two hills", "heavy"]], [INFERRED[0], INFERRED[1]])
COLUMNS = infer_columns(TABLE, ASKED)


def start(rows: Any):
    """The distribution of rows at which a decoder starts, and the rows as the model's numbers, in float64."""
    head = columns_head(COLUMNS, "decoder", 1e-3).double()
    x = torch.from_numpy(encode(rows, COLUMNS))
    return head(head.start.double().expand(1, len(rows), 1, -1)), x


def ks_distance(a: Any, b: Any) -> float:
    """The Kolmogorov–Smirnov distance of two samples."""
    found: Any = stats.ks_2samp(a, b)
    return found.statistic


def frame(column: str, values: np.ndarray) -> Any:
    return pd.DataFrame({name: values if name == column else TABLE[name][: len(values)] for name in TABLE})


def test_what_is_described():
    assert set(ASKED) == {"two hills", "heavy"}
    assert "by normal scores, 10 components" in COLUMNS[0].describe()
    assert "normal scores" not in COLUMNS[2].describe()
    few = by_normal_scores(TABLE[:400], INFERRED)
    assert few == {}


@pytest.mark.parametrize("j", [0, 1])
def test_the_density_at_the_start_is_that_of_the_data_and_integrates_to_one(j):
    name = TABLE.columns[j]
    low, high = TABLE[name].quantile([1e-3, 1 - 1e-3])
    v = np.linspace(low, high, 20_001)
    parts = []
    for some in np.array_split(v, 6):
        p, x = start(frame(name, some))
        parts.append(p.log_prob(x)[0, :, j].exp().numpy())
    density = np.concatenate(parts)
    assert integrate.trapezoid(density, v) == pytest.approx(0.998, abs=0.01)
    cumulative = integrate.cumulative_trapezoid(density, v, initial=0) + 1e-3
    empirical = np.searchsorted(np.sort(TABLE[name]), v) / N
    assert np.abs(cumulative - empirical).max() < 0.02


@pytest.mark.parametrize("j", [0, 1])
def test_probabilities_and_means_are_those_of_draws(j):
    p, _ = start(TABLE)
    drawn = p.sample(Noise(make_generator(0, "columns")))[0]
    v = decode(drawn.numpy(), COLUMNS, expected=False).iloc[:, j].to_numpy()
    place = TABLE.iloc[:, j].to_numpy()[:9].copy()
    at = torch.from_numpy(encode(TABLE[:9], COLUMNS)).clone()
    at[:, j] = torch.from_numpy(place)
    q, _ = start(TABLE[:9])
    below = q.cumulative(at)[0, :, j].numpy()
    assert np.abs(below - (v[:, None] <= place).mean(0)).max() < 4 * (0.25 / N) ** 0.5
    mean = decode(p.mean[0].numpy(), COLUMNS, expected=True).iloc[0, j]
    assert abs(mean - v.mean()) < 4 * v.std() / N**0.5
    assert ks_distance(v, TABLE.iloc[:, j]) < 1.95 * (2 / N) ** 0.5  # p above .001


def test_numbers_come_back_and_far_ones_are_improbable():
    x = encode(TABLE, COLUMNS)
    pd.testing.assert_frame_equal(decode(x, COLUMNS, expected=False), TABLE)
    far = frame("heavy", np.array([TABLE["heavy"].max() * 1.01, 1e5, 1e6, 1e9]))
    p, x = start(far)
    log_p = p.log_prob(x)[0, :, 1]
    assert (log_p.diff() < 0).sum() >= 2
    assert log_p[0] > -40
    assert log_p.isfinite().all()


def test_a_fitted_model_scores_and_draws_in_the_users_units(tmp_path):
    """One latent variable that does nothing leaves the start, whose density is the columns' own."""
    vae = VAE(1, columns=ASKED, max_epochs=1, random_state=0).fit(TABLE)
    vae.save(tmp_path / "model")
    assert (load(tmp_path / "model").score_samples(TABLE[:20]) == vae.score_samples(TABLE[:20])).all()
    drawn = vae.sample(2000, random_state=0)
    for name in ("two hills", "heavy"):
        assert ks_distance(drawn[name], TABLE[name]) < 0.06


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"quantiles": [1.0, 2.0], "scores": [0.0]}, "as many scores as quantiles"),
        ({"quantiles": [1.0, 1.0], "scores": [0.0, 1.0]}, "must rise"),
        ({"quantiles": [0.0, 1.0], "scores": [0.0, 1.0], "log": True}, "without a logarithm"),
        ({"quantiles": [0.0, 1.0], "scores": [0.0, 1.0], "kind": "count"}, "they are of real numbers"),
    ],
)
def test_scores_that_make_no_sense_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        infer_columns(TABLE, {"plain": asked})


@pytest.mark.parametrize("asked", [{"log": True}, {"n_components": 3}, {"quantiles": [0.0, 1.0], "scores": [0.0, 1.0]}])
def test_what_is_of_numbers_is_refused_for_words(asked):
    with pytest.raises(ValueError, match=f"'word' is binary, and {next(iter(asked))} is of real numbers"):
        infer_columns(TABLE, {"word": asked})


def test_the_number_in_the_middle_is_the_center():
    assert COLUMNS[1].center == pytest.approx(TABLE["heavy"].median(), abs=5)
    assert ColumnSchema("x", "positive", "float64", location=1.0, log=True, shift=0.5).center == pytest.approx(
        2.218, abs=1e-3
    )
