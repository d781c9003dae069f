"""Tables of several kinds come back as the same table: values, types, levels, order, gaps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

import lowerbound
from lowerbound import MLP, VAE, Factorized, NotCodableError
from lowerbound.compression.container import opened
from lowerbound.compression.files import estimate

pytestmark = pytest.mark.filterwarnings("ignore")  # of collapsed posteriors, values never seen and far ones


def table(n, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "word": rng.choice(list("abcde"), n),
            "level": pd.Categorical(rng.choice(["low", "high"], n), ["low", "middle", "high"], ordered=True),
            "yes": rng.random(n) < 0.3,
            "count": rng.poisson(30, n),
            "real": np.round(rng.normal(100, 20, n), 2),
            "skewed": np.round(np.exp(rng.normal(3, 1, n)), 3),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            "second": pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 10**8, n), unit="s"),
            "often zero": np.where(rng.random(n) < 0.5, 0, np.round(rng.exponential(50, n), 1)),
            "small": rng.integers(0, 4, n).astype(np.int8),
            "single": np.round(rng.normal(0, 1, n), 3).astype(np.float32),
        }
    )
    return frame


def with_gaps(frame, seed=1):
    rng = np.random.default_rng(seed)
    frame = frame.copy()
    for name in ("word", "level", "real", "day", "often zero", "single"):
        frame.loc[rng.random(len(frame)) < 0.15, name] = None
    return frame


FRAME = table(300)
GAPS = with_gaps(FRAME)


@pytest.fixture(scope="module")
def models():
    vae = VAE(2, network=MLP((8,)), columns="auto", max_epochs=2, random_state=0, early_stopping=False)
    return {
        "vae": lowerbound.VAE(**vae.get_params(deep=False)).fit(FRAME),
        "gaps": lowerbound.VAE(**vae.get_params(deep=False)).fit(GAPS),
        "factorized": Factorized(columns="auto").fit(FRAME),
    }


def round_trip(model, frame, path, **options):
    file = lowerbound.compress(model, frame, path, **options)
    again = lowerbound.decompress(path, model)
    pd.testing.assert_frame_equal(again, frame.reset_index(drop=True))
    return file


@pytest.mark.parametrize("name", ["vae", "gaps", "factorized"])
def test_a_table_comes_back_in_as_many_bits_as_log_p_says(name, models, tmp_path):
    file = round_trip(models[name], GAPS if name == "gaps" else FRAME, tmp_path / "x.lb")
    with opened(tmp_path / "x.lb") as reader:
        n_bytes = file.n_bytes - len(reader.header)
    assert 0.98 * file.bound < 8 * n_bytes < 1.03 * file.bound + 8 * 400


def test_the_header_of_a_table_like_the_fitted_one_has_no_types(models, tmp_path):
    frame = FRAME.drop(columns="level")  # whose levels the model's schema doesn't tell from words
    model = Factorized(columns="auto").fit(frame)
    round_trip(model, frame, tmp_path / "x.lb")
    with opened(tmp_path / "x.lb") as reader:
        assert len(reader.header) < 130
    round_trip(model, frame.astype({"count": "Int32"}), tmp_path / "y.lb")  # which is in the header


@pytest.mark.parametrize("name", ["vae", "gaps", "factorized"])
def test_values_never_seen_and_outside_every_grid_come_back(name, models, tmp_path):
    frame = FRAME.copy()
    frame.loc[3, "word"], frame.loc[4, "real"], frame.loc[5, "real"] = "never", 1e9, np.pi
    frame.loc[6, "count"], frame.loc[7, "skewed"], frame.loc[8, "level"] = 10**6, -5.0, "middle"
    frame.loc[9, "second"] = pd.Timestamp("1850-01-01 00:00:00.123456", tz="UTC")
    round_trip(models[name], frame, tmp_path / "x.lb")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), case=st.sampled_from(["", "gaps", "constant", "missing"]))
def test_small_tables_come_back(n, seed, case, models, tmp_path):
    frame = table(n, seed)
    if case == "constant":
        frame = pd.concat([frame.iloc[:1]] * n, ignore_index=True)
    frame = with_gaps(frame, seed) if case == "gaps" else frame
    if case == "missing":
        frame = frame.assign(**{name: frame[name].where(frame[name].isna()) for name in ("word", "real", "day")})
    round_trip(models["gaps"], frame, tmp_path / "x.lb")


def test_numbers_without_a_resolution_are_refused(models, tmp_path):
    frame = FRAME.assign(real=FRAME["real"] / 3)
    with pytest.raises(NotCodableError, match=r"column 'real' has real numbers.*--decimals"):
        lowerbound.compress(models["vae"], frame, tmp_path / "x.lb")


def test_a_table_with_its_model_in_the_file(models, tmp_path):
    models["vae"].compress(FRAME, tmp_path / "x.lb", with_model=True)
    pd.testing.assert_frame_equal(lowerbound.decompress(tmp_path / "x.lb"), FRAME)


@pytest.mark.parametrize(
    "values",
    [
        2**62 + np.random.default_rng(0).integers(0, 2**60, 60),
        np.random.default_rng(0).random(60).round(2) * 1e300,
        pd.to_datetime(np.random.default_rng(0).integers(0, 10**18, 60)),
    ],
)
def test_numbers_that_are_too_large_or_too_fine_are_refused_in_words(values, tmp_path):
    frame = pd.DataFrame({"x": values})
    with pytest.raises(NotCodableError, match=r"column 'x': .* too large or too fine"):
        lowerbound.compress(Factorized(columns="auto").fit(frame), frame, tmp_path / "x.lb")


def test_the_bound_counts_what_is_kept_aside(tmp_path):
    """Words that no row of the fit had are written as they are, beside the message."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"word": rng.choice(list("abc"), 400), "n": rng.integers(0, 9, 400)})
    model = Factorized(columns="auto").fit(table)
    new = table.iloc[:120].assign(word=[f"id {k * 7919 % 1000}" for k in range(120)])
    file = model.compress(new, tmp_path / "x.lb")
    bits, _ = estimate(model, new)
    usual = model.compress(table, tmp_path / "y.lb")
    assert abs(file.n_bytes - file.bound / 8) < usual.n_bytes - usual.bound / 8  # the header and the index
    assert bits == pytest.approx(file.bound)


@pytest.mark.parametrize("columns", ["auto", None])
def test_names_of_columns_that_are_whole_numbers(columns, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 2, (40, 3)), columns=[0, 2, 7])
    model = Factorized(columns=columns).fit(frame)
    lowerbound.compress(model, frame, tmp_path / "x.lb")
    pd.testing.assert_frame_equal(lowerbound.decompress(tmp_path / "x.lb", model), frame)


def test_one_number_of_a_small_table_may_be_kept_aside(models, tmp_path):
    frame = table(6, 0)
    frame.loc[2, "single"] = np.float32(-0.0)  # a sixth of the column
    round_trip(models["vae"], frame, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", models["vae"])
    assert np.signbit(again["single"].iloc[2])


@pytest.mark.parametrize("gap", [None, np.nan])
def test_missing_objects_are_what_they_were(gap, models, tmp_path):
    frame = FRAME[:9].copy()
    for name, some in (("word", slice(None)), ("level", [1, 3])):
        frame[name] = frame[name].astype(object)
        frame.loc[frame.index[some], name] = gap
    round_trip(models["vae"], frame, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", models["vae"])
    assert (again["word"][0] is None) == (again["level"][1] is None) == (gap is None)
