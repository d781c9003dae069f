"""Each type of a column comes back from models, imputers and detectors as it was, with gaps and without."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lowerbound import VAE, VAEImputer, VAEOutlierDetector, load
from lowerbound.data.columns.values import as_numbers, as_values, dtype_of, measure_of, type_word
from lowerbound.data.frames import as_pandas, in_container
from lowerbound.imputation.validation import check_filling
from lowerbound.tasks import outlier_scores

N = 60
K = np.random.default_rng(0).integers(0, 30, N)
HOURS, DAYS = K.astype("timedelta64[h]"), K.astype("timedelta64[D]")
WORDS = np.array(["low", "mid", "high"], object)[K % 3]


def stamps(first: str, unit: str, steps: np.ndarray) -> pd.Series:
    return pd.Series(np.datetime64(first, unit) + steps)


def in_rome(dates: pd.Series) -> pd.Series:
    return dates.dt.tz_localize("UTC").dt.tz_convert("Europe/Rome")


def objects(make: Any) -> pd.Series:
    return pd.Series([make(k) for k in K.tolist()], dtype=object)


def arrow(values: Any, kind: pa.DataType) -> pd.Series:
    return pd.Series(pd.array(list(values), dtype=pd.ArrowDtype(kind)))


BATTLE = objects(lambda k: dt.date(1066, 10, 14) + dt.timedelta(k))
TIMES = objects(lambda k: dt.time(k % 24, k))
CENTS = objects(lambda k: Decimal(7 * k) / 100)
TYPES = {
    "dates of the past": stamps("1066-10-14", "s", DAYS),
    "dates of the future": stamps("2500-01-01", "us", HOURS),
    "nanoseconds": stamps("2020-01-01", "ns", HOURS),
    "zone": in_rome(stamps("2021-03-27", "us", HOURS)),  # a clock is put forward there
    "zone of the future": in_rome(stamps("2500-01-01", "s", HOURS)),
    "months": stamps("2020-01-01", "D", 31 * DAYS).dt.to_period("M"),
    "durations": pd.Series((37 * HOURS).astype("timedelta64[ns]")),
    "long durations": pd.Series((10**6 * DAYS).astype("timedelta64[s]")),
    "dates, objects": BATTLE,
    "stamps, objects": objects(lambda k: dt.datetime(1300, 1, 1) + dt.timedelta(hours=k)),
    "durations, objects": objects(lambda k: dt.timedelta(minutes=k)),
    "times, objects": TIMES,
    "decimals, objects": CENTS,
    "Int8": pd.Series(pd.array(K - 10, dtype="Int8")),
    "UInt8": pd.Series(pd.array(K, dtype="UInt8")),
    "Float32": pd.Series(pd.array(K / 8, dtype="Float32")),
    "boolean": pd.Series(pd.array(K > 9, dtype="boolean")),
    "uint8": pd.Series(K.astype(np.uint8)),
    "float16": pd.Series((K / 8).astype(np.float16)),
    "sparse": pd.Series(pd.arrays.SparseArray(np.where(K > 15, K / 7, 0.0), fill_value=0.0)),
    "sparse counts": pd.Series(pd.arrays.SparseArray(np.where(K > 15, K, 0), fill_value=0)),
    "text": pd.Series(WORDS, dtype="str"),
    "text with NA": pd.Series(WORDS, dtype="string"),
    "text, objects": pd.Series(WORDS),
    "categories": pd.Series(pd.Categorical(WORDS)),
    "ordered": pd.Series(pd.Categorical(WORDS, ["low", "mid", "high"], ordered=True)),
    "categories of numbers": pd.Series(pd.Categorical(K % 3)),
    "categories of dates": pd.Series(pd.Categorical(stamps("1066-10-14", "s", (K % 3).astype("timedelta64[D]")))),
    "bins": pd.Series(pd.cut(K, 3)),
    "int8 of arrow": arrow(K - 10, pa.int8()),
    "uint8 of arrow": arrow(K, pa.uint8()),
    "double of arrow": arrow(K / 8, pa.float64()),
    "bool of arrow": arrow(K > 9, pa.bool_()),
    "string of arrow": arrow(WORDS, pa.string()),
    "large string of arrow": arrow(WORDS, pa.large_string()),
    "dictionary of arrow": arrow(WORDS, pa.dictionary(pa.int32(), pa.string())),
    "date32": arrow(BATTLE, pa.date32()),
    "timestamp": arrow(stamps("2500-01-01", "us", HOURS), pa.timestamp("us")),
    "timestamp with a zone": arrow(in_rome(stamps("2500-01-01", "us", HOURS)), pa.timestamp("us", "Europe/Rome")),
    "duration of arrow": arrow(pd.Series(HOURS), pa.duration("us")),
    "time64": arrow(TIMES, pa.time64("us")),
    "decimal128": arrow(CENTS, pa.decimal128(10, 2)),
}
NO_NA = ("uint8", "sparse counts")  # whole numbers that become float64 where there are gaps


def table(*, gaps: bool) -> pd.DataFrame:
    """A column of every type, in whose gaps each row differs."""
    frame = pd.DataFrame(TYPES)
    if not gaps:
        return frame
    rows = np.arange(N)
    holes = {name: pd.Series((rows + j) % 5 > 0) for j, name in enumerate(frame)}
    return pd.DataFrame({name: values.where(holes[name]) for name, values in frame.items()})


def observed(column: pd.Series) -> list:
    return column[column.notna()].tolist()


@pytest.fixture(scope="module", params=[False, True], ids=["no gaps", "gaps"])
def found(request, tmp_path_factory):
    """What comes back from everything that is fitted to the table, also after save and load."""
    X = table(gaps=request.param)
    folder = tmp_path_factory.mktemp("saved")
    vae = VAE(2, max_epochs=2, random_state=0).fit(X)
    imputers = {
        "imputer": VAEImputer(models=("gaussian",), random_state=0),
        "imputer of a VAE": VAEImputer(vae, n_importance=5, random_state=0),
    }
    detector = VAEOutlierDetector(vae, random_state=0).fit(X)
    out: dict[str, pd.DataFrame] = {"draws": vae.sample(200)}
    holes = table(gaps=True) if not request.param else X
    for name, imputer in imputers.items():
        imputer.set_output(transform="pandas").fit(X).save(folder / name)
        out[name], out[f"{name}, loaded"] = imputer.transform(holes), load(folder / name).transform(holes)
        out[f"draws of the {name}"] = imputer.sample_imputations(holes, 1)[0]
        imputer.impute_interval(holes)
    for name, estimator in {"vae": vae, "detector": detector}.items():
        estimator.save(folder / name)
        same = load(folder / name)
        np.testing.assert_allclose(same.score_samples(X), estimator.score_samples(X))
    out["draws, loaded"] = load(folder / "vae").sample(200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlier_scores, "ENOUGH", 0.0)  # importance samples: types alone are looked at
        return X, holes, out, detector.explain(X.head(8), len(TYPES))


@pytest.mark.parametrize("name", TYPES)
def test_a_type_comes_back(found, name):
    X, holes, out, reasons = found
    for what, frame in out.items():
        filled = what.removeprefix("draws of the ").startswith("imputer")
        like, column = (holes if filled else X)[name], frame[name]
        assert str(column.dtype) == str(like.dtype), what
        assert type_word(column) == type_word(like), what
        assert not column.isna().any(), what
        if isinstance(like.dtype, pd.CategoricalDtype):
            assert set(column.cat.categories) == set(like.cat.categories), what
        if filled:
            seen = like.notna()
            assert column[seen].tolist() == like[seen].tolist(), what
        elif measure_of(type_word(like)) != "category":
            assert min(column) >= min(observed(like)), what
            assert max(column) <= max(observed(like)), what
        else:
            assert set(column) <= set(observed(like)), what
    why = reasons[reasons["feature"] == name]
    assert len(why) == 8
    if measure_of(type_word(X[name])) != "category":
        assert (why["low"] <= why["high"]).all()


@pytest.mark.parametrize("name", TYPES)
def test_values_are_numbers_and_back(name):
    for column in (TYPES[name], table(gaps=True)[name]):
        word = type_word(column)
        if not word.startswith("category"):
            assert dtype_of(word) == (object if column.dtype == object else column.dtype)
        if measure_of(word) == "category":
            continue
        back = as_values(as_numbers(column, word), word, 2 if word == "Decimal" else None)
        assert observed(back) == observed(column)
        assert back.isna().tolist() == column.isna().tolist()
        assert str(back.dtype) == str(column.dtype)


def test_days_before_and_after_those_of_nanoseconds():
    far = pd.Series(np.array(["1066-10-14", "NaT", "1970-01-02", "9999-12-31"], "datetime64[s]"))
    exact = [
        dt.date(1066, 10, 14).toordinal(),
        None,
        dt.date(1970, 1, 2).toordinal(),
        dt.date(9999, 12, 31).toordinal(),
    ]
    epoch = dt.date(1970, 1, 1).toordinal()
    np.testing.assert_array_equal(as_numbers(far, "datetime64[s]"), [np.nan if d is None else d - epoch for d in exact])


def test_units_of_numbers():
    assert as_numbers(pd.Series(pd.to_timedelta(["1D", None])), "timedelta64[ns]").tolist()[0] == 86_400
    assert as_numbers(pd.Series([dt.time(1, 0, 1)]), "datetime.time").tolist() == [3_601]


def test_nan_in_a_type_that_has_missing_values_is_missing():
    ratio = pd.arrays.ArrowExtensionArray(pa.array([1.0, 2.0, np.nan] * 20, from_pandas=False))
    frame = pd.DataFrame({"ratio": ratio, "word": WORDS})
    assert np.isfinite(VAE(2, max_epochs=1, random_state=0).fit(frame).score_samples(frame)).all()
    filled = VAEImputer(models=("gaussian",), random_state=0).set_output(transform="pandas").fit_transform(frame)
    assert np.isfinite(filled["ratio"].to_numpy(np.float64)).all()


def arrow_table() -> pa.Table:
    chosen = table(gaps=True).drop(
        columns=[
            name
            for name in TYPES
            if "sparse" in name
            or "categor" in name
            or name
            in (
                "ordered",
                "months",
                "bins",
                "durations, objects",
                "decimals, objects",
                "boolean",
                "dictionary of arrow",
            )
        ]
    )
    return pa.Table.from_pandas(chosen, preserve_index=False).replace_schema_metadata()


def check_container(X: Any) -> None:
    vae = VAE(2, max_epochs=1, random_state=0).fit(X)
    assert type(vae.sample(3)) is type(X)
    assert vae.sample(3).schema == X.schema
    assert type(vae.reconstruct(X)) is type(X)
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(X)
    [drawn] = imputer.sample_imputations(X, 1)
    assert drawn.schema == X.schema
    assert not as_pandas(drawn).isna().any(axis=None)
    assert type(imputer.impute_interval(X)[0]) is type(X)
    assert len(VAEOutlierDetector(vae, random_state=0).fit(X).explain(X)) == 3 * N


@pytest.mark.filterwarnings("ignore:the posterior has collapsed")
def test_tables_of_pyarrow_come_back():
    check_container(arrow_table())


@pytest.mark.filterwarnings("ignore:the posterior has collapsed")
def test_frames_of_polars_come_back(tmp_path):
    pl: Any = pytest.importorskip("polars")
    X = pl.from_arrow(arrow_table()).with_columns(
        pl.Series("enum", WORDS.tolist(), dtype=pl.Enum(["low", "mid", "high"])),
        pl.Series("holes", np.where(K > 9, K, np.nan)),
    )
    check_container(X)
    filled = VAEImputer(models=("gaussian",), random_state=0).set_output(transform="polars").fit_transform(X)
    assert filled.schema == X.schema
    VAE(2, max_epochs=1, random_state=0).fit(X).save(tmp_path / "vae")
    assert load(tmp_path / "vae").sample(2).schema == X.schema
    numbers = X.select(pl.col(pl.Float64))
    assert np.isfinite(VAE(2, max_epochs=1, random_state=0).fit(numbers).score_samples(numbers)).all()


def test_the_container_of_pandas_is_itself():
    frame = table(gaps=False)
    assert as_pandas(frame) is frame
    assert in_container(frame, "pandas") is frame


def test_errors_of_filling_durations_and_dates():
    X = table(gaps=False)[["durations", "zone", "text", "Int8"]]
    imputer = VAEImputer(models=("gaussian",), random_state=0).set_output(transform="pandas").fit(X)
    checks, _ = check_filling(imputer, X, 0)
    assert [c.name for c in checks] == list(X)


@pytest.mark.parametrize("fill", ["median", "mode", "draw"])
def test_every_fill_keeps_types_that_are_measured(fill):
    rng = np.random.default_rng(0)
    z = rng.normal(size=80)
    table = pd.DataFrame(
        {
            "old": np.datetime64("1650-01-01", "s") + np.rint(1000 * z).astype("timedelta64[D]"),
            "long": pd.to_timedelta(np.rint(3600 * z), unit="s"),
            "few": pd.array(np.rint(3 * z).astype(int), dtype="Int8"),
            "arrow": pd.Series(np.rint(5 * z).astype(int), dtype="int32[pyarrow]"),
        }
    )
    gaps = table.mask(rng.random(table.shape) < 0.2)
    imputer = VAEImputer(models=("gaussian",), fill=fill, random_state=0).set_output(transform="pandas").fit(gaps)
    filled = imputer.transform(gaps)
    assert filled.dtypes.equals(gaps.dtypes)
    assert not filled.isna().any().any()
    low, high = imputer.impute_interval(gaps)
    assert (low["old"] <= high["old"]).all()
    assert (low["long"] <= high["long"]).all()
    assert (low["few"] == low["few"].round()).all()  # a discrete law
