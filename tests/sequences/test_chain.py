"""The estimator whose latent variables are a chain: whether it learns, scores, draws, keeping, refusals."""

import numpy as np
import pytest
from tests.models.test_state_space import drawn, kalman
from tests.sequences.test_recurrent import BITS, REAL, small

from lowerbound import ELBO, IWAE, Adam, SampledELBO, load
from lowerbound.evaluation.steps import ParticleEstimate

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")  # of brief fits


@pytest.fixture(scope="module")
def fitted():
    return small(chain=True, length="end", dropout=0.2).fit(BITS)


def test_a_linear_gaussian_chain_is_learned():
    """Almost to log p of the model that the data are from."""
    x = [drawn(1, 8, seed) for seed in range(200)]
    settings = {"hidden_size": 16, "optimizer": Adam(0.03), "max_epochs": 15, "batch_size": 15}
    found = small(1, chain=True, **settings).fit(x[:150]).log_likelihood(x[150:], 64)
    truth = np.mean([kalman(1, each)[0].mean() for each in x[150:]])
    assert found.per_step == pytest.approx(truth, abs=0.15)


def test_scores_agree(fitted):
    scores, steps = fitted.score_samples(BITS), fitted.score_steps(BITS)
    np.testing.assert_allclose([each.sum() for each in steps], scores)
    np.testing.assert_allclose(fitted.score_samples(BITS[7:8]), scores[7:8], atol=1e-9)
    found = fitted.log_likelihood(BITS, 200)
    assert isinstance(found, ParticleEstimate)
    assert (found.n_rows, found.n_steps, found.length) == (60, sum(map(len, BITS)), "end")
    assert found.value == pytest.approx(scores.mean(), abs=0.1)
    terms = fitted.elbo_terms(BITS, 20)
    assert (terms.reconstruction - terms.kl.sum(-1)).mean() < found.value + 0.02
    assert [z.shape for z in fitted.transform(BITS)] == [(len(x), 2) for x in BITS]


def test_draws(fitted):
    new = fitted.sample(4, random_state=1)
    assert all(x.shape[1] == 2 and x.dtype == np.uint8 for x in new)
    assert len(fitted.sample(3, prompt=BITS[0])) == 3
    given = small(chain=True).fit(BITS)
    assert [x.shape for x in given.sample(2, lengths=[3, 1], prompt=BITS[1])] == [(3, 2), (1, 2)]


def test_gaps():
    x = [each.copy() for each in REAL]
    x[3][0], x[5][-1, 1] = np.nan, np.nan
    found = small(chain=True).fit(x)
    assert np.isfinite(np.concatenate(found.score_steps(x))).all()
    assert abs(found.score_steps(x)[3][0]) < 0.2  # of nothing observed: 0 but for the noise of the particles


def test_what_is_saved_comes_back(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.chain
    np.testing.assert_array_equal(loaded.score_samples(BITS), fitted.score_samples(BITS))


@pytest.mark.parametrize("objective", [IWAE(3), SampledELBO(), ELBO(gradient="score")])
def test_other_objectives_are_refused(objective):
    with pytest.raises(ValueError, match="chain=True with ELBO"):
        small(chain=True, objective=objective).fit(BITS)


def test_uses_that_know_no_chain_are_refused(fitted):
    with pytest.raises(ValueError, match="that are no chain"):
        fitted.explain(BITS)
    with pytest.raises(ValueError, match="fit with head='independent'"):
        small(0, head="masked").fit(BITS).explain(BITS)


def test_forecasts():
    low, high = small(chain=True).fit(REAL).forecast(REAL[:3], 4, quantiles=(0.1, 0.9), n_draws=30)
    assert [x.shape for x in low] == [(4, 2)] * 3
    assert all((a < b).all() for a, b in zip(low, high, strict=True))


def test_a_chain_of_nothing_is_refused():
    with pytest.raises(ValueError, match="leave chain=False"):
        small(0, chain=True).fit(BITS)
