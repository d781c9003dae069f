"""The estimator: conventions, likelihoods, units, keeping, refusals."""

import copy
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests import contract

import lowerbound
from lowerbound import (
    ELBO,
    MLP,
    VAE,
    Adam,
    Amortized,
    BernoulliLikelihood,
    CollapsedPosteriorWarning,
    ConstantFeatureWarning,
    DiscretizedLogistic,
    GaussianLikelihood,
    Ladder,
    LikelihoodError,
    SavedFileError,
    load,
)
from lowerbound.parameters.vae import VAE_PARAMETERS
from lowerbound.training.watch import Watch

IRIS = load_iris().data
DIGITS = (load_digits().images[:400] * 255 / 16).round().astype(np.uint8)
SMALL = {"latent_dim": 2, "network": MLP((16,)), "max_epochs": 3, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")


def small(**parameters) -> VAE:
    return VAE(**(SMALL | parameters))


@pytest.mark.parametrize(("estimator", "check"), contract.checks(VAE(max_epochs=2)))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(VAE, VAE_PARAMETERS)


# likelihoods


@pytest.mark.parametrize(
    ("X", "chosen"),
    [
        (IRIS, "gaussian"),
        (IRIS.astype(np.float32), "gaussian"),
        (DIGITS, "discretized_logistic"),
        (DIGITS > 100, "bernoulli"),
        ((DIGITS > 100).astype(float), "bernoulli"),
        ((DIGITS > 100).astype(np.uint8), "bernoulli"),
        (np.arange(60).reshape(20, 3), "gaussian"),
    ],
)
def test_auto_chooses_by_type_and_values(X, chosen):
    assert small(max_epochs=1).fit(X).schema_.likelihood == chosen


@pytest.mark.parametrize(
    "X", [IRIS, DIGITS[:, :5, :3], DIGITS[..., None].repeat(3, -1), DIGITS[:50, None, None], DIGITS > 100]
)
@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
def test_rows_of_any_shape(X, covariance):
    vae = small(posterior=Amortized(covariance)).fit(X)
    assert vae.transform(X).shape == (len(X), 2)
    assert vae.reconstruct(X[:3]).shape == (3, *X.shape[1:])
    drawn = vae.sample(4)
    assert (drawn.shape, drawn.dtype) == ((4, *X.shape[1:]), X.dtype)
    assert vae.elbo(X).shape == vae.score_samples(X).shape == (len(X),)
    _, scale = vae.encode(X)
    assert scale.shape == ((len(X), 2, 2) if covariance == "full" else (len(X), 2))
    assert np.isfinite(vae.score_samples(X)).all()


@pytest.mark.parametrize("scale", ["unit", 0.3, "shared", "feature", "decoder"])
@pytest.mark.parametrize("standardize", [True, False])
def test_gaussian_scales(scale, standardize):
    vae = small(likelihood=GaussianLikelihood(scale, standardize=standardize)).fit(IRIS)
    p = vae.model_.likelihood(torch.zeros(1, 1, 2))
    sigma = torch.as_tensor(p.scale).expand(1, 1, 4)[0, 0].detach().numpy() * vae.schema_.unit
    assert np.isfinite(vae.score(IRIS))
    if scale == 0.3:
        np.testing.assert_allclose(sigma, 0.3, rtol=1e-6)  # in the user's units
    if scale == "unit":
        np.testing.assert_allclose(sigma, IRIS.std(0) if standardize else 1, rtol=1e-6)
    if scale == "shared" and not standardize:
        assert np.ptp(sigma) < 1e-6


@pytest.mark.parametrize("scale", [3.0, "shared", "feature", "decoder"])
def test_logistic_scales(scale):
    vae = small(likelihood=DiscretizedLogistic(scale=scale)).fit(DIGITS)
    assert np.isfinite(vae.score(DIGITS))


def test_a_learned_scale_is_bounded_below():
    X = np.random.default_rng(0).normal(size=(300, 1)).repeat(2, 1)  # two equal columns
    vae = VAE(
        latent_dim=1, network=MLP(()), optimizer=Adam(0.1), early_stopping=False, max_epochs=100, random_state=0
    ).fit(X)
    sigma = vae.model_.likelihood(torch.zeros(1, 1, 1)).scale.detach().numpy()
    assert (sigma >= 0.01).all()
    assert sigma.max() < 0.1  # it went there
    assert np.isfinite(vae.score_samples(X)).all()


def test_log_p_is_in_the_users_units():
    meters = small().fit(IRIS)
    millimeters = small().fit(1000 * IRIS)
    shift = 4 * np.log(1000)
    np.testing.assert_allclose(meters.score_samples(IRIS) - shift, millimeters.score_samples(1000 * IRIS), atol=1e-3)
    assert millimeters.history_[-1]["elbo"] == pytest.approx(meters.history_[-1]["elbo"] - shift, abs=1e-3)


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (DIGITS / 255, {"likelihood": "bernoulli"}, "0/1 data.*0 to 1.*'gaussian'.*binarize='sample'"),
        (DIGITS, {"likelihood": "bernoulli"}, "'discretized_logistic'"),
        (IRIS, {"likelihood": "categorical"}, "whole numbers.*fractions.*'gaussian'"),
        (IRIS, {"likelihood": "discretized_logistic"}, "whole numbers.*fractions"),
        (DIGITS.astype(int) * 9, {"likelihood": "discretized_logistic"}, "values 0 to 255.*'gaussian'"),
        (DIGITS.astype(int) * 9, {"likelihood": "categorical"}, "at most 1023.*recode"),
        (DIGITS.astype(float), {"likelihood": BernoulliLikelihood("sample")}, "between 0 and 1.*255.*divide"),
        (IRIS, {"network": "conv"}, "needs images.*image_shape"),
        (IRIS, {"image_shape": (3, 3)}, "doesn't fit rows of 4 values"),
        (IRIS, {"likelihood": "normal"}, "likelihood must be 'auto' or 'bernoulli'"),
        (IRIS, {"likelihood": "gausian"}, "did you mean 'gaussian'"),
        (IRIS, {"latent_dim": 0}, "latent_dim must be 'auto' or .* a whole number ≥ 1 or several, got 0"),
        (np.full((9, 2), 7.0), {}, "every feature of X is constant"),
    ],
)
def test_what_cannot_be_described_is_refused(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(X)


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (Adam, {"lr": -1.0}, "lr must be 'auto' or a number > 0"),
        (MLP, {"hidden_layer_sizes": (3, -1)}, "hidden_layer_sizes must be a tuple"),
        (DiscretizedLogistic, {"scale": "unit"}, "scale must be 'auto' or 'shared' .*got 'unit'"),
    ],
)
def test_a_part_is_refused_when_it_is_made(part, fields, message):
    with pytest.raises(ValueError, match=f"{part.__name__}: {message}"):
        part(**fields)


def test_values_that_are_not_numbers_are_named_with_their_place():
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    frame.loc[7, "c"] = np.inf
    with pytest.raises(ValueError, match=r"infinite value.*row 7, column 'c'"):
        small().fit(frame)
    infinite = IRIS.copy()
    infinite[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"infinite value.*row 3, column 1"):
        small().fit(infinite)
    vae = small().fit(IRIS)
    with pytest.raises(ValueError, match="row 3"):
        vae.score_samples(infinite)
    with pytest.raises(ValueError, match="n_importance must be at least 1"):
        vae.log_likelihood(IRIS, 0)
    with pytest.raises(ValueError, match="n_samples must be a whole number"):
        vae.sample(0)


def test_sizes_on_the_command_line():
    sizes = MLP.options()["hidden_layer_sizes"]
    assert [sizes.parse(text) for text in ("10,3", "(10, 3)", "7,", "()", "")] == [(10, 3), (10, 3), (7,), (), ()]
    with pytest.raises(ValueError, match="hidden_layer_sizes must be"):
        sizes.parse("10,,3")


def test_a_new_level_is_refused():
    X = np.random.default_rng(0).integers(0, 4, (50, 3))
    vae = small(likelihood="categorical").fit(X)
    with pytest.raises(LikelihoodError, match="values 0 to 3"):
        vae.score_samples(X + 2)


def test_constant_columns_are_named_and_not_counted():
    X = np.insert(IRIS, 2, 7.0, axis=1)
    frame = pd.DataFrame(X, columns=["a", "b", "always", "c", "d"])
    with pytest.warns(ConstantFeatureWarning, match=r"1 constant feature\(s\).*: always"):
        vae = small().fit(frame)
    changed = frame.assign(always=9.0)
    np.testing.assert_allclose(vae.model_.log_unit[2], 0)
    assert (vae.sample(3)[:, 2] == 7).all()
    assert vae.schema_.n_dimensions == 4
    scores = vae.score_samples(frame)  # neither the density nor the encoder sees it
    np.testing.assert_array_equal(vae.score_samples(changed), scores)


# estimates


def test_scores_do_not_depend_on_neighbors_or_order():
    vae = small(likelihood=BernoulliLikelihood("sample")).fit(DIGITS)
    scores = vae.score_samples(DIGITS)
    np.testing.assert_allclose(vae.score_samples(DIGITS[::-1])[::-1], scores, atol=1e-9)
    np.testing.assert_allclose(vae.score_samples(DIGITS[5:6]), scores[5:6], atol=1e-9)
    np.testing.assert_allclose(vae.elbo(DIGITS[5:6]), vae.elbo(DIGITS)[5:6], atol=1e-9)


def test_log_likelihood_is_an_estimate_above_the_bound():
    vae = small(max_epochs=30).fit(IRIS)
    estimate = vae.log_likelihood(IRIS, n_importance=500)
    assert (estimate.kind, estimate.n_rows, estimate.n_importance) == ("lower", 150, 500)
    assert 1 <= estimate.ess <= 500
    assert estimate.value > vae.elbo(IRIS).mean()
    rows = vae.score_samples(IRIS, 500)
    assert estimate.value == pytest.approx(rows.mean(), abs=0.02)  # the same rows: Monte-Carlo error only
    assert estimate.standard_error == pytest.approx(rows.std(ddof=1) / 150**0.5, rel=0.1)
    assert json.loads(json.dumps(estimate.to_dict()))["mean"] == estimate.value


def test_a_linear_decoder_reaches_the_maximum_likelihood():
    """σ² = 1: W_ml = U(Λ − I)^½ over eigenvalues above 1 (Tipping & Bishop, 1999, eq. 7 with σ² fixed)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 4)) * 1.5 + rng.normal(size=(1000, 4)) + 3
    covariance = np.cov(X.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    top = np.maximum(values[-2:] - 1, 0)
    model = (vectors[:, -2:] * top) @ vectors[:, -2:].T + np.eye(4)
    log_det = np.linalg.slogdet(model)[1]
    best = -0.5 * (4 * np.log(2 * np.pi) + log_det + np.trace(np.linalg.solve(model, covariance)))
    vae = VAE(
        latent_dim=2, network=MLP(()), likelihood=GaussianLikelihood("unit", standardize=False),
        posterior=Amortized("full"), optimizer=Adam(0.02), early_stopping=False, max_epochs=50, batch_size=50,
        random_state=0,
    ).fit(X)  # fmt: skip
    reached = vae.log_likelihood(X, 200).value
    assert best - 0.02 < reached < best + 0.002


def test_better_than_independent_features():
    vae = VAE(latent_dim=2, random_state=0, max_epochs=150, early_stopping=False).fit(IRIS[::2])
    independent = -0.5 * np.log(2 * np.pi * np.e * IRIS[::2].var(0)).sum()
    assert vae.score(IRIS[1::2]) > independent + 1


# conventions beyond check_estimator


def test_same_random_state_same_result_and_nothing_global():
    first, second, third = small().fit(IRIS), small().fit(IRIS), small(random_state=1).fit(IRIS)
    np.testing.assert_array_equal(first.transform(IRIS), second.transform(IRIS))
    assert not np.array_equal(first.transform(IRIS), third.transform(IRIS))
    np.testing.assert_array_equal(first.sample(5), second.sample(5))
    np.testing.assert_array_equal(first.sample(5), first.sample(5))
    assert not np.array_equal(first.sample(5, random_state=8), first.sample(5))
    free = small(random_state=None)
    assert not np.array_equal(free.fit(IRIS).transform(IRIS), free.fit(IRIS).transform(IRIS))


def test_frames_grids_and_pipelines():
    frame = load_iris(as_frame=True).data
    vae = small().set_output(transform="pandas").fit(frame)
    assert list(vae.transform(frame).columns) == ["vae0", "vae1"]
    assert list(vae.get_feature_names_out()) == ["vae0", "vae1"]
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(frame.rename(columns={frame.columns[0]: "other"}))
    pipeline = make_pipeline(StandardScaler(), small())
    search = GridSearchCV(pipeline, {"vae__latent_dim": [1, 2]}, cv=2, n_jobs=1).fit(IRIS)
    assert np.isfinite(search.best_score_)


def test_partial_fit_keeps_the_first_batchs_statistics_and_learns():
    vae = small(optimizer=Adam(0.01))
    vae.partial_fit(IRIS[:75])
    location, before = vae.schema_.location.copy(), vae.score(IRIS)
    for _ in range(40):
        vae.partial_fit(IRIS[75:]).partial_fit(IRIS[:75])
    np.testing.assert_array_equal(vae.schema_.location, location)
    np.testing.assert_allclose(location, IRIS[:75].mean(0))
    assert vae.score(IRIS) > before + 1
    assert vae.n_iter_ == 81
    copy.deepcopy(clone(vae))


def test_warm_start_continues():
    cold, warm = small(max_epochs=20), small(max_epochs=20, warm_start=True)
    cold.fit(IRIS)
    warm.fit(IRIS)
    np.testing.assert_array_equal(cold.transform(IRIS), warm.transform(IRIS))
    once = warm.score(IRIS)
    assert warm.fit(IRIS).score(IRIS) > once


def test_noise_is_never_met_twice():
    """Fits that go on from the weights there are must not see the same order and the same ε again."""
    vae = small(warm_start=True, max_epochs=1)
    seeds = []
    for _ in range(3):
        vae.fit(IRIS)
        seeds.append(vae._training_seed())
    vae.partial_fit(IRIS)
    vae.partial_fit(IRIS)  # goes on with the generators there are
    assert len({*seeds, vae._training_seed(), vae.seed_}) == 5


def test_one_step_changes_the_weights():
    start = VAE(max_epochs=1, batch_size=1000, random_state=0, early_stopping=False)
    assert start.fit(IRIS).score(IRIS) != clone(start).set_params(optimizer=Adam(1e-12)).fit(IRIS).score(IRIS)


@pytest.mark.parametrize("posterior", ["mean_field", "mcem"])
def test_partial_fit_is_refused_where_rows_have_numbers_of_their_own(posterior):
    vae = small(posterior=posterior)
    with pytest.raises(ValueError, match="all rows in one fit"):
        vae.partial_fit(IRIS)
    assert not hasattr(vae, "model_")  # nothing half-made is left


def test_grey_values_of_any_kind_are_the_same_picture():
    vae = small(likelihood=BernoulliLikelihood("sample")).fit(DIGITS)
    black_and_white = np.where(DIGITS > 100, 255, 0).astype(np.uint8)
    for same in (black_and_white / 255, black_and_white > 0, black_and_white // 255):
        np.testing.assert_array_equal(vae.score_samples(same), vae.score_samples(black_and_white))
    drawn = vae.sample(50)
    assert drawn.dtype == np.uint8
    assert vae.score(drawn) > vae.score(1 - drawn)


def test_history_has_one_record_an_epoch():
    vae = small().fit(IRIS)
    keys = ["epoch", "step", "elbo", "reconstruction", "kl", "validation_elbo", "n_skipped", "seconds"]
    assert [list(record) for record in vae.history_] == [keys] * 3


def test_collapse_is_warned_of_with_a_remedy():
    X = np.random.default_rng(0).normal(size=(300, 4))
    with pytest.warns(CollapsedPosteriorWarning, match="warmup_steps"):
        VAE(latent_dim=3, objective=ELBO(kl_weight=30.0), max_epochs=60, random_state=0).fit(X)


class AtOnce(Watch):
    def should_stop(self) -> bool:
        return True


def test_nothing_is_said_of_a_posterior_that_has_had_no_epoch():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapsedPosteriorWarning)
        vae = small(latent_dim=Ladder(2, 2, width=16), network="auto").fit(IRIS, watch=AtOnce())
    assert (vae.n_iter_, vae.n_active_units_) == (0, 0)  # it would count as collapsed
    assert not caught


def test_decoding_and_traversing():
    vae = small(likelihood=GaussianLikelihood("feature")).fit(IRIS)
    Z = vae.transform(IRIS)
    np.testing.assert_array_equal(vae.inverse_transform(Z), vae.decode(Z))
    several = vae.decode(Z[:2], draw=True, n_draws=500)
    assert several.shape == (2, 500, 4)
    sigma = several.std(1)
    assert (np.abs(several.mean(1) - vae.decode(Z[:2])) < 4.5 * sigma / 500**0.5).all()
    path = vae.traverse(IRIS[0], 1, [-1.0, 0.0, 2.0])
    code = Z[0].copy()
    code[1] = 2.0
    np.testing.assert_allclose(path[2], vae.decode(code)[0])
    np.testing.assert_allclose(vae.traverse(Z[0], 1, [2.0])[0], path[2])
    draws = vae.encode(IRIS[:1], draw=True, n_draws=4000)[0]
    mean, scale = vae.encode(IRIS[:1])
    assert (np.abs(draws.mean(0) - mean[0]) < 4 * scale[0] / 4000**0.5).all()
    with pytest.raises(ValueError, match="codes have shape"):
        vae.decode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="dimension must be"):
        vae.traverse(IRIS[0], 2, [0.0])
    with pytest.raises(NotFittedError):
        VAE().decode(Z)


# own modules


def own_networks(n_parameters: int = 1) -> tuple[torch.nn.Module, torch.nn.Module]:
    encoder = torch.nn.utils.skip_init(torch.nn.Linear, 4, 7)
    decoder = torch.nn.utils.skip_init(torch.nn.Linear, 2, 4 * n_parameters)
    for module in (encoder, decoder):
        torch.nn.init.uniform_(module.weight, -0.3, 0.3, generator=torch.Generator().manual_seed(0))
        torch.nn.init.zeros_(module.bias)
    return encoder, decoder


def test_own_modules_are_copied_and_come_back(tmp_path):
    encoder, decoder = own_networks()
    before = encoder.weight.detach().clone()
    vae = small(network=(encoder, decoder)).fit(IRIS)
    assert torch.equal(encoder.weight, before)
    vae.save(tmp_path / "own")
    with pytest.raises(SavedFileError, match=r"load\(path, network="):
        load(tmp_path / "own")
    again = load(tmp_path / "own", network=own_networks())
    np.testing.assert_array_equal(again.transform(IRIS), vae.transform(IRIS))


def test_own_modules_of_the_wrong_shape_are_refused():
    encoder, decoder = own_networks()
    with pytest.raises(ValueError, match=r"decoder must return \(batch, 2, 4\).*returned \(2, 4\)"):
        small(network=(encoder, decoder), likelihood=GaussianLikelihood("decoder")).fit(IRIS)
    with pytest.raises(ValueError, match="network must be"):
        small(network=(encoder, 3)).fit(IRIS)


# keeping


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"posterior": Amortized("full"), "likelihood": GaussianLikelihood(0.5)},
        {"likelihood": GaussianLikelihood("decoder")},
    ],
)
def test_save_and_load(tmp_path, parameters):
    frame = load_iris(as_frame=True).data
    vae = small(**parameters).fit(frame)
    vae.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(frame), vae.score_samples(frame))
    np.testing.assert_array_equal(again.sample(4), vae.sample(4))
    assert again.get_params() == vae.get_params()
    assert list(again.feature_names_in_) == list(frame.columns)
    again.partial_fit(frame)
    vae.save(tmp_path / "model")  # over the old one
    assert len(list((tmp_path / "model").iterdir())) == 2


def test_damaged_and_foreign_folders_are_named(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(SavedFileError, match="model doesn't exist"):
        load(folder)
    folder.mkdir()
    with pytest.raises(SavedFileError, match="holds no saved model"):
        load(folder)
    small().fit(IRIS).save(folder)
    [weights] = folder.glob("*.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-7] + b"corrupt")
    with pytest.raises(SavedFileError, match="damaged: its checksum"):
        load(folder)
    weights.unlink()
    with pytest.raises(SavedFileError, match="aren't there"):
        load(folder)
    weights.write_bytes(content)
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text[: len(text) // 2])
    with pytest.raises(SavedFileError, match="isn't JSON"):
        load(folder)
    (folder / "model.json").write_text('{"format": "other"}')
    with pytest.raises(SavedFileError, match="not written by lowerbound"):
        load(folder)
    (folder / "model.json").write_text(text.replace('"version": 3', '"version": 99'))
    with pytest.raises(SavedFileError, match=r"version 99.*update"):
        load(folder)
    (folder / "model.json").write_text(text.replace('"latent_dim": 2', '"latent_dim": 3'))
    with pytest.raises(SavedFileError, match="doesn't fit the weights"):
        load(folder)


def test_public_names_exist():
    for name in lowerbound.__all__:
        assert getattr(lowerbound, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'VAEE'"):
        lowerbound.VAEE  # noqa: B018
