"""The public ``fit`` and ``Fitted``: models of one's own, and what is refused."""

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy

from lowerbound import Fitted, SavedFileError, fit, load
from lowerbound.data.schema import infer_schema
from lowerbound.inference.objectives import elbo
from lowerbound.training import progress

X = toy.numbers(60, toy.F, seed=4).float().numpy()


def model():
    return toy.model().float()


def test_a_latent_model_is_fitted_saved_loaded_and_scored(tmp_path):
    p, q = model(), toy.posterior("diagonal").float()
    first = fit(p, q, elbo(), X, max_epochs=3, lr=1e-2).progress.history
    assert first[-1]["elbo"] > first[0]["elbo"]
    fitted = Fitted(p, q, schema=infer_schema(X, likelihood="gaussian", standardize=False))
    fitted.save(tmp_path / "own")
    again = Fitted.load(tmp_path / "own", model(), toy.posterior("diagonal").float())
    scores = fitted.score_samples(X)
    np.testing.assert_array_equal(again.score_samples(X), scores)
    many = again.score_samples(X, 5000).mean()
    assert abs(again.log_likelihood(X, 5000).value - many) < 0.1
    with pytest.raises(SavedFileError, match="saved by Fitted"):
        load(tmp_path / "own")
    with pytest.raises(SavedFileError, match="saved with a posterior"):
        Fitted.load(tmp_path / "own", model())


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((torch.nn.Linear(2, 2), None, None), {}, "must be a lowerbound.Model, got Linear"),
        ((model(), None, None), {}, "it needs a posterior"),
        ((model(), torch.nn.Linear(2, 2), None), {}, "must be a lowerbound.Posterior, got Linear"),
        ((model(), toy.posterior("diagonal"), len), {}, "must be a lowerbound.Objective"),
        ((model(), toy.posterior("diagonal"), None), {"emma": 0.9}, "no setting 'emma'.*did you mean 'ema'"),
    ],
)
def test_what_is_not_a_model_is_refused(arguments, settings, message):
    with pytest.raises(TypeError, match=message):
        fit(*arguments, X, **settings)


def test_a_negative_kl_is_shown_as_the_estimate_that_it_is():
    assert progress._sum(-10.0, -0.234) == "ELBO −9.77 = −10.00 − KL ≈ −0.23"
    assert progress._sum(-10.0, 0.234) == "ELBO −10.23 = −10.00 − KL 0.23"
