"""Results keep the index of the rows they are of; dates have intervals as numbers have."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import PPCA, VAE, Autoencoder, Factorized, VAEImputer, VAEOutlierDetector
from lowerbound.imputation.validation import check_filling
from lowerbound.outliers.density import DensityRanks

pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")  # brief fits

rng = np.random.default_rng(0)
N = 240
X = rng.normal(size=(N, 3))
X[:, 1] += X[:, 0]
TABLE = pd.DataFrame(X, columns=list("abc"), index=[f"row {i}" for i in range(N)])
SOME = TABLE.iloc[[5, 3, 8]]


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(n_steps=20, n_estimators=1, random_state=0).fit(TABLE)


def test_scores_and_tables(detector):
    for found in (
        detector.scores(SOME),
        detector.table(SOME),
        DensityRanks(Factorized().fit(TABLE), TABLE).table(SOME),
    ):
        pd.testing.assert_index_equal(found.index, SOME.index)
    unnamed = SOME.reset_index(drop=True)
    assert detector.scores(unnamed).index.tolist() == [0, 1, 2]
    repeated = SOME.set_axis([1, 1, 2])  # which pandas would align, or refuse
    assert detector.table(repeated).index.tolist() == [1, 1, 2]
    np.testing.assert_array_equal(detector.table(repeated), detector.table(SOME))


def test_reasons(detector):
    found = detector.explain(SOME, 2)
    assert found.index.tolist() == list(np.repeat(SOME.index, 2))
    assert found["row"].tolist() == [0, 0, 1, 1, 2, 2]  # the place


@pytest.mark.parametrize(
    "model", [VAE(2, max_epochs=1, random_state=0), PPCA(2), Autoencoder(2, max_epochs=1, random_state=0)],
    ids=["vae", "ppca", "autoencoder"],
)  # fmt: skip
def test_codes_and_reconstructions(model):
    framed = model.set_output(transform="pandas").fit(TABLE)
    pd.testing.assert_index_equal(framed.transform(SOME).index, SOME.index)
    assert framed.reconstruct(SOME).shape == (3, 3)


def mixed(n=N):
    days = np.rint(100 * X[:n, 0]).astype(int)
    return TABLE[:n].assign(when=pd.to_datetime("2020-01-01") + pd.to_timedelta(days, "D"), word=list("ab") * (n // 2))


def test_a_reconstructed_table_keeps_the_index():
    vae = VAE(2, max_epochs=1, random_state=0).fit(mixed())
    pd.testing.assert_index_equal(vae.reconstruct(mixed().iloc[[5, 3, 8]]).index, SOME.index)


@pytest.mark.parametrize("estimator", [None, Factorized()], ids=["stack", "estimator"])
def test_intervals_of_dates(estimator):
    """Of days that are 100 x for a normal x they are 100 times those of x; observed ones are unchanged."""
    table = mixed()
    table["twin"] = np.rint(100 * table["a"])
    table = table.drop(columns="a")
    hidden = table.copy()
    hidden.loc["row 7", ["when", "twin", "word"]] = [pd.NaT, np.nan, None]
    models = {} if estimator is not None else {"models": ("gaussian",)}
    imputer = VAEImputer(estimator, random_state=0, **models).fit(hidden)
    low, high = imputer.impute_interval(hidden)
    for end in (low, high):
        pd.testing.assert_index_equal(end.index, table.index)
        assert end["when"].dtype == table["when"].dtype
        others = table.index != "row 7"
        pd.testing.assert_series_equal(end["when"][others], table["when"][others])
        assert end["word"].isna().all()
        days = (end.loc["row 7", "when"] - pd.Timestamp("2020-01-01")).days
        assert days == pytest.approx(float(end.loc["row 7", "twin"]), abs=60)  # of other draws; sd 100 days
    assert low.loc["row 7", "when"] < high.loc["row 7", "when"]
    width = (high - low).loc["row 7", "when"].days
    expected = 2 * 1.645 * (table["twin"].std() if estimator is not None else 0)
    assert width == pytest.approx(expected, rel=0.2) if estimator is not None else width < 330


def test_a_date_that_is_frequent_can_be_the_whole_interval():
    """As for numbers, the interval is then the shortest: a date with more than the level is it, alone."""
    table = mixed()
    table["when"] = table["when"].where(rng.random(N) < 0.03, pd.Timestamp("2019-12-31"))
    hidden = table.copy()
    hidden.loc["row 7", "when"] = pd.NaT
    imputer = VAEImputer(Factorized(), random_state=0).fit(hidden)
    low, high = imputer.impute_interval(hidden)
    assert low.loc["row 7", "when"] == high.loc["row 7", "when"] == pd.Timestamp("2019-12-31")
    assert imputer.intervals(hidden).low[7, list(table).index("when")] == 18261  # days since 1970


def test_dates_are_checked_as_numbers_are():
    table = mixed()
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(table)
    checks, _ = check_filling(imputer, table, seed=0)
    found = {check.name: check for check in checks}
    assert found["when"].kind == "number"
    assert found["when"].error == pytest.approx(found["a"].error, rel=1)
    assert 0.7 < found["when"].coverage <= 1
