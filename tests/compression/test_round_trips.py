"""Rows come back bit by bit, in as many bits as the model's log p says."""

import warnings

import numpy as np
import pytest

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

import lowerbound
from lowerbound import (
    MLP,
    PPCA,
    VAE,
    DiscretizedLogistic,
    FactorAnalysis,
    Factorized,
    Ladder,
    Mixture,
    MixturePrior,
    NotCodableError,
    PixelRNN,
    VampPrior,
)

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
rng = np.random.default_rng(0)
SHORT = {"network": MLP((12,)), "max_epochs": 3, "random_state": 0, "early_stopping": False}
FIXED = 260  # bytes of header, index and heads of blocks


def digits(n=300):
    """Images of 6 × 6 with a blob in one of four places."""
    places = rng.integers(0, 4, n)
    rows, columns = np.mgrid[:6, :6]
    center = np.array([[1, 1], [1, 4], [4, 1], [4, 4]])[places]
    square = (rows - center[:, :1, None]) ** 2 + (columns - center[:, 1:, None]) ** 2
    return np.clip(255 * np.exp(-square / 3) + rng.normal(0, 8, square.shape), 0, 255).astype(np.uint8)


GREY = digits()
BINARY = (GREY.reshape(len(GREY), -1) > 100).astype(np.uint8)
CATEGORIES = rng.integers(0, 4, (300, 5))
REAL = np.round(rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)), 2)
CASES = {
    "bernoulli": (lambda: VAE(4, **SHORT), BINARY, {}),
    "grey": (lambda: VAE(4, **SHORT), GREY.reshape(300, -1), {}),
    "grey images": (lambda: VAE(4, **SHORT), GREY, {}),
    "logistic mixture": (lambda: VAE(4, likelihood=DiscretizedLogistic(n_components=2), **SHORT), GREY, {}),
    "categorical": (lambda: VAE(2, likelihood="categorical", **SHORT), CATEGORIES, {}),
    "gaussian": (lambda: VAE(2, **SHORT), REAL, {"decimals": 2}),
    "full covariance": (lambda: VAE(2, posterior=lowerbound.Amortized(covariance="full"), **SHORT), BINARY, {}),
    "mixture prior": (lambda: VAE(4, prior=MixturePrior(5), **SHORT), BINARY, {}),
    "vamp prior": (lambda: VAE(4, prior=VampPrior(5), **SHORT), BINARY, {}),
    "chain": (lambda: VAE((4, 3, 2), **SHORT), BINARY, {}),
    "ladder": (lambda: VAE(Ladder(2, 3, width=12), max_epochs=3, random_state=0, early_stopping=False), BINARY, {}),
    "factorized": (lambda: Factorized(), BINARY, {}),
    "factorized categories": (lambda: Factorized(likelihood="categorical"), CATEGORIES, {}),
    "factorized reals": (lambda: Factorized(), REAL, {"decimals": 2}),
    "mixture": (lambda: Mixture(4, random_state=0), BINARY, {}),
    "pixel rnn": (lambda: PixelRNN(hidden_size=8, max_epochs=1, random_state=0), BINARY, {}),
    "pixel rnn, images": (lambda: PixelRNN(hidden_size=8, max_epochs=1, random_state=0), GREY, {}),
    "ppca": (lambda: PPCA(2), REAL, {"decimals": 2}),
    "factor analysis": (lambda: FactorAnalysis(2, max_iter=20), REAL, {"decimals": 2}),
}
MODELS = {}


def fitted(name):
    """The model of a case, fitted once."""
    if name not in MODELS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MODELS[name] = CASES[name][0]().fit(CASES[name][1])
    return MODELS[name]


@pytest.mark.parametrize("name", CASES)
def test_rows_come_back_in_as_many_bits_as_log_p_says(name, tmp_path):
    model, (_, X, options) = fitted(name), CASES[name]
    X = X[:150] if "rnn" in name else X
    file = model.compress(X, tmp_path / "x.lb", **options)
    again = lowerbound.decompress(file.path, model)
    assert again.dtype == X.dtype
    np.testing.assert_array_equal(again, X)
    assert file.n_bytes == file.path.stat().st_size
    noise = 0.03 if model.fitted_.model.knows_log_prob is False else 0.01  # of one draw of z for each row
    assert abs(8 * (file.n_bytes - FIXED) / file.bound - 1) < noise + 8 * 60 / file.bound


@pytest.mark.parametrize("name", ["bernoulli", "grey", "gaussian", "chain", "ladder", "mixture", "vamp prior"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_rows(name, n, tmp_path):
    _, X, options = CASES[name]
    lowerbound.compress(fitted(name), X[:n], tmp_path / "x.lb", **options)
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", fitted(name)), X[:n])


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float32, bool])
def test_the_type_of_the_array_comes_back(dtype, tmp_path):
    X = BINARY[:20].astype(dtype)
    lowerbound.compress(fitted("bernoulli"), X, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", fitted("bernoulli"))
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, X)


def test_a_frame_of_numbers_comes_back_as_a_frame(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(REAL, columns=list("abcd")).astype({"a": "float32"}).round(2)
    model = VAE(2, **SHORT).fit(frame)
    model.compress(frame, tmp_path / "x.lb", decimals=2)
    pd.testing.assert_frame_equal(lowerbound.decompress(tmp_path / "x.lb", model), frame)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "ladder"])
def test_gaps_and_rows_without_any_value_come_back(name, tmp_path):
    _, X, options = CASES[name]
    mask = rng.random(X.shape) < 0.2
    mask[3], mask[:, 0] = True, True
    X = np.where(mask, np.nan, X.astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CASES[name][0]().fit(np.where(rng.random(X.shape) < 0.1, np.nan, CASES[name][1].astype(float)))
        model.compress(X, tmp_path / "x.lb", **options)
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", model), X)


def test_a_masked_array_comes_back_as_one(tmp_path):
    X = np.ma.masked_array(BINARY, rng.random(BINARY.shape) < 0.1)
    model = VAE(2, **SHORT).fit(X)
    model.compress(X, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", model)
    np.testing.assert_array_equal(again.mask, X.mask)
    np.testing.assert_array_equal(again.filled(9), X.filled(9))


def test_a_model_given_a_context(tmp_path):
    y = rng.integers(0, 3, len(BINARY))
    model = VAE(2, **SHORT).fit(BINARY, context=y)
    model.given(y).compress(BINARY, tmp_path / "x.lb")
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", model.given(y)), BINARY)
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", model, context=y), BINARY)
    model.given(y).compress(BINARY, tmp_path / "y.lb", with_model=True)
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "y.lb", context=y), BINARY)
    with pytest.raises(ValueError, match=r"given a context .* use given\(context\)"):
        lowerbound.decompress(tmp_path / "y.lb")


def test_values_that_the_grid_has_no_place_for_are_kept_aside(tmp_path):
    X = REAL.copy()
    X[5, 1], X[7, 2], X[8, 0] = 0.123456789, 1e18, -0.0
    lowerbound.compress(fitted("gaussian"), X, tmp_path / "x.lb", decimals=2)
    again = lowerbound.decompress(tmp_path / "x.lb", fitted("gaussian"))
    np.testing.assert_array_equal(again.view(np.int64), X.view(np.int64))


def test_values_of_features_that_were_constant_come_back(tmp_path):
    X = REAL.copy()
    X[:, 1] = 3.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = VAE(2, **SHORT).fit(X)
        X[::7, 1] = 5.25
        model.compress(X, tmp_path / "x.lb", decimals=2)
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", model), X)


def test_blocks_are_read_alone(tmp_path, monkeypatch):
    from lowerbound.compression import parts

    monkeypatch.setattr(parts, "BLOCK_ENTRIES", 100 * BINARY.shape[1])
    lowerbound.compress(fitted("bernoulli"), BINARY, tmp_path / "x.lb")
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", fitted("bernoulli")), BINARY)
    np.testing.assert_array_equal(
        lowerbound.decompress(tmp_path / "x.lb", fitted("bernoulli"), block=1), BINARY[100:200]
    )


def test_the_model_in_the_file_is_all_that_is_needed(tmp_path):
    X = np.concatenate([BINARY] * 2)
    file = fitted("bernoulli").compress(X, tmp_path / "x.lb", with_model=True)
    assert 0 < file.model_bytes < file.n_bytes
    assert file.half_precision  # thousands of weights, few rows
    np.testing.assert_array_equal(lowerbound.decompress(file.path), X)


REFUSED = [
    (lambda: VAE(2, **SHORT), REAL, {}, "infinitely many digits"),
    (lambda: VAE(2, **SHORT), REAL, {"decimals": 1}, "more than 1 decimals"),
    (lambda: VAE(2, posterior="mean_field", **SHORT), BINARY, {}, "no code for its rows"),
    (lambda: lowerbound.RBM(max_epochs=1), BINARY, {}, "no code for its rows"),
    (lambda: lowerbound.Gaussian(), REAL, {"decimals": 2}, "no code for its rows"),
    (
        lambda: VAE(2, likelihood=lowerbound.BernoulliLikelihood(binarize="sample"), **SHORT),
        GREY.reshape(300, -1), {}, "compress the 0/1 data",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "X", "options", "words"), REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_code_is_refused_with_a_sentence(make, X, options, words, tmp_path):
    model = make().fit(X)
    with pytest.raises(NotCodableError, match=words):
        model.compress(X, tmp_path / "x.lb", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("latent_dim", "X", "network"),
    [
        (200, BINARY, MLP((12,))),
        ((150, 100), BINARY, MLP((12,))),
        (Ladder(12, 2, width=12), BINARY.reshape(-1, 6, 6), "conv"),
    ],
)
def test_many_latent_variables_cost_few_bits_to_begin_with(latent_dim, X, network, tmp_path):
    """A row alone takes bits for its z; of many rows the first ones have z on a coarse grid, which takes few."""
    vae = VAE(latent_dim, **(SHORT | {"network": network})).fit(X)
    begin, all_rows = (vae.compress(X[:n], tmp_path / "x.lb") for n in (1, len(X)))
    over_of_a_row = begin.n_bytes - begin.bound / 8
    assert over_of_a_row > FIXED + 50
    assert all_rows.n_bytes < all_rows.bound / 8 + 0.25 * (over_of_a_row - FIXED) + FIXED
    assert (lowerbound.decompress(tmp_path / "x.lb", vae) == X).all()


def test_a_first_row_of_few_bits_leaves_no_coarse_grid_for_the_others(tmp_path):
    rng = np.random.default_rng(0)
    W = rng.normal(size=(150, 400))
    X = np.round(rng.normal(size=(1000, 150)) @ W + 0.3 * rng.normal(size=(1000, 400)), 2)
    model = PPCA(150).fit(X)
    X[0] = np.round(X.mean(0), 2)
    file = model.compress(X[:20], tmp_path / "x.lb", decimals=2)
    assert (lowerbound.decompress(file.path, model) == X[:20]).all()
    assert 8 * (file.n_bytes - FIXED) < 1.03 * file.bound
