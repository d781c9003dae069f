"""PPCA and factor analysis as estimators."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.decomposition import FactorAnalysis as TheirFactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests import contract
from tests.conftest import whole_batch

from lowerbound import PPCA, FactorAnalysis, Factorized, LikelihoodError, Mixture
from lowerbound.parameters.tables import FACTOR_ANALYSIS_PARAMETERS, PPCA_PARAMETERS

IRIS = load_iris().data
WINE = load_wine().data
DIGITS = (load_digits().images[:200] * 255 / 16).round().astype(np.uint8)
REAL = DIGITS + np.random.default_rng(0).random(DIGITS.shape)  # dequantized
BOTH = [PPCA(2), FactorAnalysis(2)]


@pytest.mark.parametrize(
    ("estimator", "check"),
    [*contract.checks(PPCA()), *contract.checks(PPCA(method="em")), *contract.checks(FactorAnalysis())],
)
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_tables_are_the_signatures():
    contract.assert_the_table_is_the_signature(PPCA, PPCA_PARAMETERS)
    contract.assert_the_table_is_the_signature(FactorAnalysis, FACTOR_ANALYSIS_PARAMETERS)


@pytest.mark.parametrize("estimator", [PPCA(2), PPCA(2, "em", standardize=False), FactorAnalysis(2)])
@pytest.mark.parametrize(
    ("X", "image_shape"),
    [
        (IRIS, None),
        (IRIS.astype(np.float32), None),
        (np.arange(60).reshape(20, 3) ** 2 % 7, None),
        (REAL, None),
        (REAL.reshape(200, 64), (8, 8)),
        (np.stack([REAL, REAL + 1, REAL**2], -1)[:, :3, :3], None),
        (REAL[:15], None),  # fewer rows than features
    ],
)
def test_rows_of_any_shape_can_be_fitted_scored_drawn_and_kept(estimator, X, image_shape, tmp_path):
    estimator = clone(estimator).set_params(image_shape=image_shape, random_state=0).fit(X)
    contract.assert_verbs(estimator, X)
    contract.assert_kept(estimator, X, tmp_path / "model")
    mean, tril = estimator.encode(X)
    assert (mean.shape, tril.shape) == ((len(X), 2), (len(X), 2, 2))
    np.testing.assert_array_equal(estimator.transform(X), mean)
    assert estimator.reconstruct(X).shape == X.shape
    assert estimator.loadings_.shape == (2, *X.shape[1:])
    assert estimator.noise_scale_.shape == X.shape[1:]


@pytest.mark.parametrize("estimator", BOTH)
def test_units_constants_and_seeds(estimator):
    contract.assert_units(clone(estimator), IRIS, atol=1e-6)
    contract.assert_constant_columns_stay_apart(clone(estimator).set_params(random_state=0), IRIS)
    contract.assert_same_seed_same_result(estimator, IRIS)


@pytest.mark.parametrize("standardize", [True, False])
def test_the_density_is_the_gaussian_of_loadings_and_noise_in_the_users_units(standardize):
    for estimator in (PPCA(2, standardize=standardize), FactorAnalysis(2)):
        estimator.fit(IRIS)
        W, sigma = estimator.loadings_, estimator.noise_scale_
        gaussian = stats.multivariate_normal(IRIS.mean(0), W.T @ W + np.diag(sigma**2))
        np.testing.assert_allclose(estimator.score_samples(IRIS), gaussian.logpdf(IRIS), atol=1e-9)
        drawn = estimator.sample(20_000, random_state=1)
        products = (drawn - IRIS.mean(0))[:, :, None] * (drawn - IRIS.mean(0))[:, None, :]
        error = products.std(0) / np.sqrt(20_000)
        assert (np.abs(products.mean(0) - gaussian.cov) < 4.5 * error).all()


@pytest.mark.parametrize("X", [IRIS, WINE, REAL.reshape(200, 64)[:, 2:7]])
def test_scores_are_those_of_pca_with_the_divisor_matched(X):
    pca = PCA(2, svd_solver="full").fit(X)
    pca.explained_variance_ *= (len(X) - 1) / len(X)
    pca.noise_variance_ *= (len(X) - 1) / len(X)
    ppca = PPCA(2, standardize=False).fit(X)
    np.testing.assert_allclose(ppca.score_samples(X), pca.score_samples(X), rtol=0, atol=1e-8)


def test_codes_are_pcas_shrunk():
    """E[z|x] = (λ_i − σ²)^½/λ_i u_iᵀ(x − μ): the principal components, scaled and shrunk."""
    pca, ppca = PCA(2).fit(IRIS), PPCA(2, standardize=False).fit(IRIS)
    variances = pca.explained_variance_ * 149 / 150
    shrink = np.sqrt(variances - ppca.noise_scale_[0] ** 2) / variances
    np.testing.assert_allclose(np.abs(ppca.transform(IRIS)), np.abs(pca.transform(IRIS) * shrink), atol=1e-9)
    np.testing.assert_allclose(ppca.inverse_transform(np.zeros((1, 2)))[0], IRIS.mean(0))
    np.testing.assert_allclose(
        ppca.inverse_transform(np.eye(2)) - ppca.inverse_transform(np.zeros((2, 2))), ppca.loadings_, atol=1e-12
    )


@pytest.mark.parametrize("X", [IRIS, WINE, REAL, REAL[:20]])
def test_em_ends_where_the_closed_form_is(X):
    closed = PPCA(2).fit(X)
    for seed in (0, 1):
        em = PPCA(2, "em", tol=1e-12, random_state=seed).fit(X)
        assert em.score(X) == pytest.approx(closed.score(X), abs=1e-8)
        np.testing.assert_allclose(em.transform(X), closed.transform(X), atol=1e-3)
        assert em.converged_
        assert 0 < em.n_iter_ < 2000
    assert closed.n_iter_ == 1


def test_factor_analysis_is_scikit_learns():
    theirs = make_pipeline(StandardScaler(), TheirFactorAnalysis(2, tol=1e-8, max_iter=5000)).fit(WINE)
    ours = FactorAnalysis(2, tol=1e-10).fit(WINE)
    assert ours.score(WINE) == pytest.approx(theirs.score(WINE) - np.log(WINE.std(0)).sum(), abs=1e-5)
    assert FactorAnalysis(2).fit(WINE).score(WINE) == pytest.approx(ours.score(WINE), abs=1e-2)  # by default
    assert ours.score(WINE) > PPCA(2).fit(WINE).score(WINE)  # more freedom, the same rows


def test_between_independent_features_and_a_full_gaussian():
    scores = [e.fit(WINE).score(WINE) for e in (Factorized(), PPCA(2), PPCA(6), Mixture(1))]
    assert scores == sorted(scores)


def test_as_many_features_as_an_image_has_are_quick():
    """784 features of 300 rows: nothing is 784 × 784 × anything."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 10)) @ rng.normal(size=(10, 784)) + rng.normal(size=(300, 784)) + 4
    ppca = PPCA(10, standardize=False).fit(X)
    assert ppca.noise_scale_[0] == pytest.approx(1, abs=0.05)
    assert np.isfinite(ppca.score(X))
    assert FactorAnalysis(10).fit(X).noise_scale_.mean() == pytest.approx(1, abs=0.05)


def test_as_scikit_learn_transformers():
    frame = load_iris(as_frame=True).data
    codes = PPCA(2).set_output(transform="pandas").fit_transform(frame)
    assert isinstance(codes, pd.DataFrame)
    assert list(codes.columns) == ["ppca0", "ppca1"]
    assert make_pipeline(StandardScaler(), FactorAnalysis(1)).fit_transform(IRIS).shape == (150, 1)


def test_auto_leaves_something_to_the_noise():
    assert PPCA().fit(IRIS).latent_dim_ == 2
    assert PPCA().fit(REAL).latent_dim_ == 32
    assert PPCA().fit(REAL[:12]).latent_dim_ == 5
    assert PPCA().fit(WINE[:3]).latent_dim_ == 1
    assert PPCA().fit(REAL).schema_.location.max() == 0  # pixels aren't standardized, columns are
    np.testing.assert_allclose(PPCA().fit(IRIS).schema_.unit, IRIS.std(0))


def test_equal_columns_leave_the_least_noise_allowed():
    X = IRIS[:, [0, 0, 1, 1]]
    assert PPCA(2, min_scale=0.01).fit(X).noise_scale_[0] == pytest.approx(0.01 * IRIS[:, 0].std())
    assert np.isfinite(FactorAnalysis(2).fit(X).score(X))


def test_em_says_when_it_did_not_converge():
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        fitted = FactorAnalysis(2, max_iter=2).fit(WINE)
    assert (fitted.n_iter_, fitted.converged_) == (2, False)


@pytest.mark.parametrize("estimator", [PPCA(), FactorAnalysis()])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (DIGITS, "real values.*8-bit grey levels.*Factorized, Mixture or VAE.*uniform noise"),
        (DIGITS > 100, "real values.*only 0 and 1"),
        (IRIS[:, :1], "at least 2 features that vary and 3 rows.*n_features = 1"),
        (IRIS[:2, :3] + np.arange(6).reshape(2, 3), "3 rows.*n_samples = 2"),
    ],
)
def test_what_cannot_be_described_is_refused(estimator, X, message):
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X)


@pytest.mark.parametrize("estimator", BOTH)
def test_wrong_parameters_and_codes_are_refused(estimator):
    for latent_dim in (4, 9):
        with pytest.raises(ValueError, match=f"latent_dim={latent_dim} leaves nothing to the noise.*at most 3"):
            clone(estimator).set_params(latent_dim=latent_dim).fit(IRIS)
    with pytest.raises(ValueError, match="latent_dim must be 'auto' or a whole number"):
        clone(estimator).set_params(latent_dim=0).fit(IRIS)
    with pytest.raises(ValueError, match="method must be 'closed_form' or 'em'"):
        PPCA(2, "newton").fit(IRIS)
    fitted = clone(estimator).fit(IRIS)
    with pytest.raises(ValueError, match=r"codes have shape \(n, 2\), got \(2, 3\)"):
        fitted.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(LikelihoodError):
        clone(estimator).fit(IRIS > 1)


def test_training_by_gradients_is_possible():
    """The parameters of the model are parameters of a module: the exact log p(x) has gradients, and they are 0."""
    ppca = PPCA(2).fit(IRIS)
    rows = torch.from_numpy((IRIS - IRIS.mean(0)) / IRIS.std(0))
    log_p = ppca.model_.log_prob(whole_batch(rows)).mean()
    gradients = torch.autograd.grad(log_p, list(ppca.model_.parameters()))
    assert max(g.abs().max().item() for g in gradients) < 1e-9
