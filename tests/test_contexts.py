"""What a program has set in torch for its own computations neither breaks nor changes a fit, or a use of it."""

import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import cross_val_score

import lowerbound
from lowerbound import MLP, VAE, Amortized, ExplicitModel, fit
from lowerbound.precision import default_dtype

X = np.random.default_rng(0).normal(size=(60, 3)) @ np.random.default_rng(1).normal(size=(3, 3))
GAPPY = np.where(np.random.default_rng(2).random(X.shape) < 0.1, np.nan, X)
BITS = X > 0
WORDS = pd.DataFrame(X, columns=list("abc")).assign(word=np.where(BITS[:, 0], "up", "down"))
CLASSES = np.repeat([0, 1], 30)
SMALL = {"max_epochs": 2, "random_state": 0}


def vae(**parameters):
    return VAE(2, network=MLP((8,)), **SMALL, **parameters)


def outlier_scores():
    detector = lowerbound.VAEOutlierDetector(vae(), random_state=0).fit(X)
    return [detector.score_samples(X), detector.predict(X), detector.explain(X[:5], least=0).surprise]


def filled():
    imputer = lowerbound.VAEImputer(vae(), n_importance=50, random_state=0)
    return [imputer.fit_transform(GAPPY), *imputer.impute_interval(GAPPY), imputer.sample_imputations(GAPPY, 2)]


def classified():
    classifier = lowerbound.VAEClassifier(vae(), random_state=0).fit(X, CLASSES)
    return [classifier.predict_proba(X), classifier.class_probabilities(X).probability]


def of_a_vae():
    model = vae().fit(X)
    by_annealing = model.log_likelihood_rows(X[:9], method="ais", n_temperatures=5, n_chains=2)
    gap = model.inference_gap(X[:9], n_steps=3, n_samples=4, n_importance=10)
    codes = model.transform(X)
    given = [vae().fit(X, context=CLASSES).sample(3, context=CLASSES[:3]), model.partial_fit(X).elbo(X)]
    return [
        codes,
        model.reconstruct(X),
        model.score_samples(X),
        model.sample(5),
        *by_annealing,
        gap.total.value,
        *given,
    ]


def of_refined_and_markov_chains():
    refined = vae(posterior=Amortized(n_refinement_steps=2)).fit(X)
    return [refined.elbo(X), vae(posterior="mcem").fit(X).score_samples(X), vae(prior="flow").fit(X).elbo(X)]


def of_exact_models():
    models = [lowerbound.Factorized(), lowerbound.Gaussian(), lowerbound.Mixture(2, random_state=0), lowerbound.PPCA(2)]
    models += [lowerbound.FactorAnalysis(2, random_state=0), lowerbound.PixelRNN(**SMALL)]
    fitted = [model.fit(X) for model in models]
    rbm = lowerbound.RBM(n_hidden=3, **SMALL).fit(BITS)
    return [
        *(m.score_samples(X) for m in fitted),
        *(m.sample(4, random_state=1) for m in fitted),
        rbm.score_samples(BITS),
    ]


def saved_and_loaded(folder):
    model = vae(warm_start=True).fit(X)
    model.save(folder)
    loaded = lowerbound.load(folder)
    return [loaded.score_samples(X), loaded.fit(X).elbo(X), lowerbound.Autoencoder(2, **SMALL).fit(X).transform(X)]


class Line(ExplicitModel):
    """A user's own model."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(2))

    def log_prob(self, batch):
        return -(batch.x[:, 2] - batch.x[:, :2] @ self.slope).square() + torch.zeros(())


def of_ones_own_model():
    model = Line()
    fit(model, None, None, X, max_epochs=3)
    return model.slope.detach().numpy()


USES = [outlier_scores, filled, classified, of_a_vae, of_refined_and_markov_chains, of_exact_models, saved_and_loaded]
CONTEXTS = {
    "float64": lambda: default_dtype(torch.float64),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


@contextmanager
def all_of_them():
    with CONTEXTS["float64"](), torch.inference_mode(), CONTEXTS["autocast"](), CONTEXTS["device"]():
        yield


def compute(use, tmp_path):
    return use(tmp_path) if use is saved_and_loaded else use()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("use", USES)
def test_no_context_breaks_or_changes_a_use(use, tmp_path):
    expected = compute(use, tmp_path / "plain")
    with all_of_them():
        found = compute(use, tmp_path / "within")
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_inference_mode_enabled()
    assert torch.get_default_dtype() == torch.float32
    for here, there in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(here, float), np.asarray(there, float))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_fit_within_a_context(name):
    with CONTEXTS[name]():
        found = vae().fit(X)
        scores = found.score_samples(X)
    assert {weight.dtype for weight in found.model_.parameters()} == {torch.float32}
    np.testing.assert_array_equal(scores, vae().fit(X).score_samples(X))


@pytest.mark.parametrize("name", ["no_grad", "autocast", "float64"])
def test_ones_own_model_within_a_context(name):
    """In the type that it was made with."""
    expected = of_ones_own_model()
    with CONTEXTS[name]():
        found = of_ones_own_model()
    assert found.dtype == (np.float64 if name == "float64" else np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-4 if name == "float64" else 0)


def test_a_context_ends_with_an_error():
    with all_of_them(), pytest.raises(ValueError, match="latent_dim"):
        VAE(0).fit(X)
    assert torch.get_default_dtype() == torch.float32


def test_a_warning_names_the_line_of_the_call():
    model = vae().fit(X)
    for call in (
        lambda: vae(objective=lowerbound.ELBO(kl_weight=50.0)).set_params(max_epochs=40).fit(X),
        lambda: model.score_samples(1e6 + X),
        lambda: lowerbound.FactorAnalysis(1, max_iter=1, random_state=0).fit(X),
        lambda: lowerbound.Gaussian(max_iter=1).fit(GAPPY),
        lambda: lowerbound.VAEImputer(vae(), n_importance=50, random_state=0).fit_transform(
            np.c_[X[:50], np.full(50, np.nan)]
        ),
        lambda: lowerbound.VAEOutlierDetector(vae(), random_state=0).fit(WORDS).score_samples(WORDS.assign(word="new")),
        lambda: cross_val_score(lowerbound.FactorAnalysis(1, max_iter=1, random_state=0), X, cv=2),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert {warning.filename for warning in caught} == {__file__}
