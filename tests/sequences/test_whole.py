"""The estimator with one z for each whole sequence: whether it learns, codes, draws, gaps, keeping, refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest
from tests.sequences.test_recurrent import BITS, REAL, small

from lowerbound import ELBO, Adam, RecurrentVAE, load
from lowerbound.estimators.gradient import WorseThanIndependentWarning
from lowerbound.estimators.latent import CollapsedPosteriorWarning

RNG = np.random.default_rng(0)
LEVELS = RNG.normal(size=300)  # what a sequence has in common
SERIES = [level + 0.3 * RNG.normal(size=(T, 2)) for level, T in zip(LEVELS, RNG.integers(4, 13, 300), strict=True)]

pytestmark = pytest.mark.filterwarnings(  # of brief fits
    "ignore:of .* importance samples a sequence only", "ignore::lowerbound.CollapsedPosteriorWarning"
)


@pytest.fixture(scope="module")
def fitted():
    model = RecurrentVAE(
        2, latents="sequence", hidden_size=16, optimizer=Adam(0.01), max_epochs=30, random_state=0, dropout=0.0
    )
    return model.fit(SERIES[:240])


def test_z_holds_what_a_sequence_has_in_common(fitted):
    assert fitted.kl_ > 2
    codes = fitted.transform(SERIES[240:])
    assert codes.shape == (60, 2)
    correlations = np.corrcoef(LEVELS[240:], codes.T)[0, 1:]
    assert np.abs(correlations).max() > 0.9
    found = fitted.mutual_information(SERIES[240:])
    assert 1 < found.value < np.log(60)


def test_scores_agree(fitted):
    steps, scores = fitted.score_steps(SERIES[:20]), fitted.score_samples(SERIES[:20])
    np.testing.assert_allclose([each.sum() for each in steps], scores)
    np.testing.assert_allclose(fitted.score_samples(SERIES[7:8]), scores[7:8], atol=1e-9)
    found = fitted.log_likelihood(SERIES[:20], 2000)
    assert found.value == pytest.approx(fitted.score_samples(SERIES[:20], 2000).mean(), abs=0.2)
    assert fitted.elbo_terms(SERIES[:20], 20).elbo.mean() < found.value + 0.02


def test_sequences_of_codes(fitted):
    codes = fitted.transform(SERIES[:2])
    low, high = (np.mean([x.mean() for x in fitted.decode(np.tile(z, (50, 1)), lengths=9)]) for z in codes)
    assert low == pytest.approx(SERIES[0].mean(), abs=0.4)
    assert high == pytest.approx(SERIES[1].mean(), abs=0.4)
    between = fitted.interpolate(SERIES[0], SERIES[1], 5, lengths=[3, 4, 5, 6, 7])
    assert [len(x) for x in between] == [3, 4, 5, 6, 7]
    with pytest.raises(ValueError, match=r"codes have shape \(n, 2\), got \(3,\)"):
        fitted.decode([1.0, 2.0, 3.0], lengths=3)
    with pytest.raises(ValueError, match="needs the number of steps to draw"):
        fitted.decode(codes)


def test_what_follows_is_like_what_was_before(fitted):
    low, high = (fitted.sample(50, lengths=3, prompt=np.full((6, 2), level)) for level in (-1.5, 1.5))
    assert np.mean(low) < -0.9
    assert np.mean(high) > 0.9
    forecast = fitted.forecast([np.full((6, 2), 1.5)], 3)
    assert forecast[1][0].mean() > 0.9
    made = fitted.reconstruct([np.full((6, 2), 1.5)])[0]
    assert made.shape == (6, 2)
    assert made[0].mean() > 0.5  # z knows, even before the first step


def test_gaps_and_outliers(fitted):
    gappy = [x.copy() for x in SERIES[240:260]]
    for x in gappy:
        x[1:3, 0] = np.nan
    filled = fitted.impute(gappy, n=20).mean()
    error = np.mean([np.abs(a[1:3, 0] - b[1:3, 0]).mean() for a, b in zip(filled, SERIES[240:260], strict=True)])
    assert error < 0.4  # the noise alone has .24
    odd = SERIES[240].copy()
    odd[2] += 6
    assert fitted.p_values([odd], SERIES[:100])[0] == pytest.approx(1 / 101)


def test_steps_and_ends():
    model = small(latents="sequence", length="end").fit(BITS)
    assert all(x.shape[1] == 2 and x.dtype == np.uint8 for x in model.sample(4, random_state=1))
    assert len(model.decode(np.zeros((3, 2)))) == 3
    assert len(model.sample(3, prompt=BITS[0])) == 3
    assert np.isfinite(model.score_samples(BITS)).all()


def test_what_is_saved_comes_back(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(SERIES[:9]), fitted.score_samples(SERIES[:9]))
    assert loaded.get_params() == fitted.get_params()


def test_a_model_that_uses_no_z_says_so():
    with pytest.warns(CollapsedPosteriorWarning, match="latent variables of a sequence carry"):
        small(latents="sequence", objective=ELBO(), max_epochs=60, optimizer=Adam(0.03)).fit(BITS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"latent_dim": 0}, "no latent variable of a whole sequence: leave latents='steps'"),
        ({"chain": True}, "one z of a whole sequence is no chain"),
        ({"window": 5}, r"window=… cuts it up"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        small(**({"latent_dim": 2, "latents": "sequence"} | parameters)).fit(REAL)


def test_codes_of_sequences_need_one_z_each():
    model = small().fit(REAL)
    for ask in (lambda: model.decode(np.zeros((1, 2))), lambda: model.mutual_information(REAL)):
        with pytest.raises(ValueError, match="fit with latents='sequence'"):
            ask()
    assert [x.shape for x in model.reconstruct(REAL[:3])] == [x.shape for x in REAL[:3]]
    with pytest.raises(ValueError, match="explain is for latent variables of steps"):
        small(latents="sequence").fit(REAL).explain(REAL)


def test_frames_keep_their_times_and_new_ones_count_from_0():
    times = pd.date_range("2024-01-01", periods=5, freq="h", name="time")
    frames = [
        pd.DataFrame({"level": RNG.normal(size=5), "at": RNG.choice(["home", "out"], 5)}, times) for _ in range(9)
    ]
    model = small(latents="sequence").fit(frames)
    for each in model.reconstruct(frames[:3]):
        assert each.index.equals(times)
    for new in (model.sample(2, lengths=3), model.decode(np.zeros((2, 2)), lengths=3)):
        assert [each.index.tolist() for each in new] == [[0, 1, 2]] * 2


def test_codes_that_are_no_numbers_are_refused(fitted):
    for codes in ([[np.nan, 0.0]], [[np.inf, 0.0]], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="rows of finite numbers"):
            fitted.decode(codes, lengths=2)


def test_free_nats_are_no_fault_of_the_fit():
    """Noise alone: the bound lies below independent features by the nats that are free."""
    noise = [RNG.normal(size=(10, 2)) for _ in range(200)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", WorseThanIndependentWarning)
        model = RecurrentVAE(2, latents="sequence", hidden_size=16, max_epochs=40, random_state=0).fit(noise)
    terms = model.elbo_terms(noise)
    below = model._independent(model.fitted_.rows(noise), model.fitted_.noise("x")) - terms.elbo
    assert 1 < below.median() < terms.kl.sum(1).median() + 0.5  # what the warning would have counted
