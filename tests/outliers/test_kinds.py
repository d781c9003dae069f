"""The detector and the imputer take every kind of table that a VAE takes."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import VAE, VAEImputer, VAEOutlierDetector

rng = np.random.default_rng(0)
N = 40
WORDS = pd.DataFrame({name: rng.choice(list("xyz"), N) for name in "abc"})
DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, N), "D")
MIXED = WORDS.assign(number=rng.normal(size=N), count=rng.poisson(3, N), truth=rng.random(N) < 0.5, day=DAYS)
BITS = (rng.random((N, 5)) < 0.4).astype(float)
RAIN = np.where(rng.random(N) < 0.7, 0, rng.exponential(1, N))
TABLES = {
    "zeros and ones": BITS,
    "truth values": BITS == 1,
    "one-hot": np.eye(4)[rng.integers(0, 4, N)],
    "bytes": rng.integers(0, 256, (N, 4)).astype(np.uint8),
    "counts": rng.poisson(3, (N, 4)),
    "whole numbers": rng.integers(-5, 5, (N, 4)),
    "fractions": rng.random((N, 4)),
    "one column": rng.normal(size=(N, 1)),
    "one column of zeros and ones": BITS[:, :1],
    "3 rows": rng.normal(size=(3, 4)),
    "3 rows of zeros and ones": np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
    "200 columns": rng.normal(size=(N, 200)),
    "the same 3 rows": np.repeat(rng.normal(size=(3, 3)), 10, 0),
    "categories": WORDS,
    "one column of categories": WORDS[["a"]],
    "several kinds": MIXED,
    "days": MIXED[["day"]],
    "a frequent value": pd.DataFrame(
        {"rain": np.where(rng.random(N) < 0.7, 0, rng.exponential(1, N)), "x": BITS[:, 0]}
    ),
    "a constant column": np.column_stack([rng.normal(size=(N, 2)), np.ones(N)]),
}
FULL = {name: frame for name, frame in TABLES.items() if len(frame) == N and np.shape(frame)[1] > 2}


def with_gaps(table):
    hidden = np.random.default_rng(1).random(np.shape(table)) < 0.2
    hidden[0] = True
    return pd.DataFrame(table).astype(object).mask(hidden)


@pytest.fixture(params=[(name, gaps) for name in TABLES for gaps in (False, True) if name in FULL or not gaps])
def table(request):
    name, gaps = request.param
    return with_gaps(TABLES[name]) if gaps else TABLES[name]


pytestmark = [
    pytest.mark.filterwarnings("ignore::lowerbound.ConstantFeatureWarning"),
    pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning"),
]


def test_the_detector_scores_every_row(table):
    VAE(max_epochs=1, random_state=0).fit(table)  # what it takes, the others take
    detector = VAEOutlierDetector(n_steps=8, random_state=0).fit(table)
    assert np.isfinite(detector.table(table)).all(axis=None)
    assert set(detector.predict(table)) <= {-1, 1}
    assert len(detector.explain(table[:2], 1)) == 2


def test_the_imputer_leaves_no_gap(table):
    filled = VAEImputer(random_state=0).fit(table).transform(table)
    assert np.shape(filled) == np.shape(table)
    assert not pd.isna(pd.DataFrame(filled)).any(axis=None)


def test_few_rows_take_no_more_steps():
    detector = VAEOutlierDetector(n_steps=50, n_estimators=1, random_state=0).fit(TABLES["3 rows"])
    assert detector.estimators_[0].history_[-1]["step"] == 50
