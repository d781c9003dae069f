"""Rows in another unit than those that were fitted are warned of, with the likely reason; outliers are not."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lowerbound import PPCA, VAE, Factorized, FarFromFittedWarning, stream

pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")  # brief fits

rng = np.random.default_rng(0)
X = rng.normal([170, 70, 40], [10, 9, 12], (200, 3))
FRAME = pd.DataFrame(X, columns=["height", "weight", "age"])


def test_bytes_for_fractions():
    fractions = rng.random((200, 8, 8))
    levels = (255 * fractions[:40]).astype(np.uint8)
    model = Factorized(layout="features").fit(fractions)
    with pytest.warns(FarFromFittedWarning, match=r"Divide them by 255$"):
        model.score_samples(levels)
    with pytest.warns(FarFromFittedWarning, match=r"6\d of 64 features .* Divide them by 255$"):
        model.score_samples(levels[:1])


@pytest.mark.parametrize("model", [PPCA(1), VAE(1, max_epochs=1, random_state=0)], ids=["ppca", "vae"])
def test_standardized_for_raw(model):
    model.fit(FRAME)
    standardized = ((FRAME - FRAME.mean()) / FRAME.std())[["height"]].assign(weight=FRAME["weight"], age=FRAME["age"])
    for use in (model.score_samples, model.transform):
        with pytest.warns(FarFromFittedWarning, match=r"1 of 3 features \('height'\).*give the raw ones$"):
            use(standardized)


def test_another_unit():
    with pytest.warns(FarFromFittedWarning, match=r"\('height'\) .* 1[67]\.?\d* standard deviations .*another unit"):
        Factorized().fit(FRAME).log_likelihood(FRAME.assign(height=FRAME["height"] / 100 - 0.5))


def test_a_table_of_several_kinds():
    table = FRAME.assign(word=list("ab") * 100, money=np.exp(rng.normal(size=200)))
    model = VAE(1, max_epochs=1, random_state=0).fit(table)
    with pytest.warns(FarFromFittedWarning, match=r"2 of 5 features \('height', 'weight'\)"):
        model.score_samples(table.assign(height=1e4 + table["height"], weight=-1e5))


def test_rows_of_a_file(tmp_path):
    np.save(tmp_path / "far.npy", 1e4 + X)
    model = VAE(1, max_epochs=1, random_state=0).fit(X)
    with pytest.warns(FarFromFittedWarning, match="3 of 3 features"):
        model.score_samples(stream(tmp_path / "far.npy"))


def test_outliers_are_no_reason():
    """A third of the rows, or a few rows alone, may be far off."""
    model = Factorized().fit(X)
    some = X.copy()
    some[::3] *= 1e6
    gaps = X.copy()
    gaps[5:] = np.nan
    gaps[:2] = 1e9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in (X, some, gaps, some[:1], 1e6 * X[:3]):
            model.score_samples(rows)
        Factorized().fit(rng.integers(0, 2, (50, 20))).score_samples(np.ones((20, 20), int))
        Factorized(columns="auto").fit(FRAME.assign(zero=np.where(rng.random(200) < 0.4, 0, X[:, 0]))).score_samples(
            FRAME.assign(zero=0.0)
        )
