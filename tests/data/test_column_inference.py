"""What columns are is found block by block: the same of a frame and of its files, and what numpy says of the whole."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lowerbound import DataError, read, stream
from lowerbound.data.columns import inference
from lowerbound.data.columns.coding import UnseenCategoryWarning, encode
from lowerbound.data.columns.counts import Moments, Tally
from lowerbound.data.columns.inference import infer_columns, summarize_columns
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.columns.streamed import EncodedRows
from lowerbound.data.sources import Source
from lowerbound.distributions.atoms import is_atom

rng = np.random.default_rng(0)
N = 700


def some(values, share=0.1):
    return pd.Series(values).mask(rng.random(N) < share)


FRAME = pd.DataFrame(
    {
        "height": rng.normal(170, 8, N).astype(np.float32),
        "income": np.exp(rng.normal(10, 1, N)),
        "gain": np.where(rng.random(N) < 0.8, 0.0, np.exp(rng.normal(5, 1, N))),
        "visits": rng.negative_binomial(2, 0.02, N),
        "children": some(rng.integers(0, 5, N)).astype("Int64"),
        "smoker": rng.random(N) < 0.3,
        "asked": some(rng.random(N) < 0.3).astype("boolean"),
        "city": some(rng.choice(["Rome", "Oslo", "Bern"], N, p=[0.6, 0.3, 0.1])),
        "late": ["a"] * (N - 2) + ["b", "c"],
        "name": [f"n{i % 300}" for i in range(N)],
        "size": pd.Categorical(some(rng.choice(["S", "M", "L"], N)), ["S", "M", "L", "XL"], ordered=True),
        "color": pd.Categorical(rng.choice(["red", "blue", "grey"], N)),
        "day": some(pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D")),
        "hours": [f"2021-03-{1 + i % 28:02}T10:{i % 60:02}:00+0{1 + (i > 400)}:00" for i in range(N)],
        "written": some([f"2021-03-{1 + i % 28:02}" for i in range(N)]),
        "spelled": some([str(i / 4) for i in range(N)]),
        "spelled_whole": [str(i) for i in range(N)],
        "shocks": rng.standard_t(2.5, N),
        "nothing": pd.Series([None] * N, dtype="str"),
        "late_gap": pd.array([*range(N - 1), None], "Int64"),
    }
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(inference, "BLOCK_ROWS", 64)
    monkeypatch.setattr("lowerbound.data.readers.parquet.BLOCK_ROWS", 90)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, first in enumerate(range(0, N, 300)):
        FRAME[first : first + 300].to_parquet(folder / f"{i}.parquet", row_group_size=110)
    return folder


def test_files_are_understood_as_the_frame_is(folder):
    whole, source = read(folder, stream=False, mixed=True).X, stream(folder)
    assert isinstance(source, Source)
    assert source.is_mixed
    columns = infer_columns(whole)
    assert infer_columns(source) == columns
    assert [column.kind for column in columns] == [
        "continuous", "positive", "positive", "count", "ordinal", "binary", "binary", "categorical", "categorical",
        "categorical", "ordinal", "categorical", "date", "date", "date", "continuous", "count", "continuous",
        "binary", "count",
    ]  # fmt: skip
    assert {column.name: column.dtype for column in columns if column.kind == "date"} == {
        "day": str(whole["day"].dtype), "hours": "datetime64[us, UTC]", "written": "datetime64[us]"
    }  # fmt: skip
    x = encode(whole, columns)
    ranges = np.array([[650, 700], [0, 3], [120, 333]])
    places = np.concatenate([np.arange(*r) for r in ranges])
    np.testing.assert_array_equal(np.concatenate(list(EncodedRows(source, columns))), x)
    np.testing.assert_array_equal(EncodedRows(source, columns).read(ranges).X, x[places])
    pd.testing.assert_frame_equal(source.read(ranges).X, whole.iloc[places].reset_index(drop=True))
    pd.testing.assert_frame_equal(source.read(np.array([[0, 3]])).X, whole.head(3))  # with no gap in them


def test_columns_without_words_stay_what_they_were(folder):
    source = stream(folder, drop=[c for c in FRAME if c not in ("height", "spelled", "visits", "late_gap")])
    assert not source.is_mixed
    assert [block.dtypes.astype(str).tolist() for block in source] == [["float32", "int64", "float64", "float64"]]


def test_dates_and_numbers_are_told_by_all_rows(tmp_path):
    """A block that has no value, or dates alone, doesn't decide."""
    frame = pd.DataFrame(
        {"a": ["2020-01-01"] * 200 + ["x"], "b": [None] * 150 + ["y"] * 51, "c": ["x"] + ["2020-01-01"] * 200}
    )
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=50)
    whole, source = read(tmp_path / "t.parquet", mixed=True).X, stream(tmp_path / "t.parquet")
    assert infer_columns(source) == infer_columns(whole)
    assert [column.kind for column in infer_columns(source)] == ["binary", "binary", "binary"]
    pd.testing.assert_frame_equal(pd.concat(block.X for block in source.blocks(40)).reset_index(drop=True), whole)


def test_stray_text_is_named_with_its_row(tmp_path):
    frame = pd.DataFrame({"a": ["1"] * 200 + ["x"], "b": ["y", "z", "w"] * 67})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=50)
    for data in (lambda: read(tmp_path / "t.parquet", mixed=True), lambda: list(stream(tmp_path / "t.parquet"))):
        with pytest.raises(DataError, match=r"row 200 \(counting from 0\), column 'a': 'x' is text"):
            data()


def test_what_is_found_block_by_block_is_what_numpy_says_of_the_whole():
    found = {column.name: column for column in infer_columns(FRAME)}
    gain, income, shocks = (FRAME[name].to_numpy() for name in ("gain", "income", "shocks"))
    rest = np.log(gain[gain > 0])
    assert (found["gain"].atoms, found["gain"].atom_shares) == ((0.0,), ((gain == 0).mean(),))
    assert (found["gain"].location, found["gain"].unit) == pytest.approx((rest.mean(), rest.std()))
    assert (found["income"].location, found["income"].unit) == pytest.approx(
        (np.log(income).mean(), np.log(income).std())
    )
    assert (found["shocks"].low, found["shocks"].high) == (shocks.min(), shocks.max())
    assert found["shocks"].heavy_tails
    assert found["city"].categories == tuple(FRAME["city"].value_counts().index)
    assert found["size"].categories == ("S", "M", "L", "XL")
    assert found["late"].categories == ("a", "b", "c")
    looks = {look.name: look for look in summarize_columns(FRAME)}
    assert {name: look.n for name, look in looks.items()} == FRAME.notna().sum().to_dict()
    assert {name: look.n_distinct for name, look in looks.items()} == FRAME.nunique().to_dict()


def test_columns_without_rows_are_columns():
    found = infer_columns(FRAME.iloc[:0])
    assert [(column.name, column.dtype) for column in found] == [(c.name, c.dtype) for c in infer_columns(FRAME)]
    assert [look.n for look in summarize_columns(FRAME.iloc[:0])] == [0] * len(found)
    with pytest.raises(ValueError, match="'none of these'"):
        infer_columns(FRAME.iloc[:0], {"none of these": "count"})


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200, 1e9])
def test_moments_of_parts_are_those_of_the_whole(scale):
    v = rng.gamma(0.5, size=1000) + 3.0
    together = sum(map(Moments.of, np.split(v, [0, 1, 70, 71, 400])), Moments())
    assert (together.n, together.low) == (1000, v.min())
    assert (together.mean, together.spread) == pytest.approx((v.mean(), v.std()))
    assert (together.skewness, together.kurtosis) == pytest.approx((stats.skew(v), stats.kurtosis(v)))
    column = infer_columns(pd.DataFrame({"a": v * scale}), {"a": {"kind": "continuous"}})[0]
    assert (column.location, column.unit) == pytest.approx(((v * scale).mean(), v.std() * scale))
    assert column.heavy_tails


def test_moments_of_one_value_and_of_none():
    assert (Moments.of(np.full(9, 0.1)).skewness, Moments().n) == (0.0, 0)
    assert Moments.of(np.zeros(0)) + Moments.of(np.ones(2)) == Moments.of(np.ones(2))


def test_few_values_are_counted_exactly():
    tally = Tally.empty(50)
    v = rng.integers(0, 50, 1000)
    for part in np.split(v, 7 * np.arange(1, 100)):
        tally.add(part.astype(float))
    values, counts = np.unique(v, return_counts=True)
    assert tally.is_complete
    assert np.array_equal(tally.values, values)
    assert np.array_equal(tally.counts, counts)


def test_counts_of_many_values_are_too_low_by_a_known_bound():
    """At most n/(most + 1), whatever the order (Misra & Gries, 1982)."""
    v = np.concatenate(
        [rng.standard_normal(2000), np.repeat(rng.standard_normal(500), 2), np.full(500, 2.0), np.full(300, 3.0)]
    )
    for order in (rng.permutation(len(v)), np.arange(len(v)), np.arange(len(v))[::-1]):
        tally = Tally.empty(20)
        for part in np.array_split(v[order], 31):
            tally.add(part)
            assert len(tally.values) <= 20
        assert not tally.is_complete
        counted = dict(zip(tally.values, tally.counts, strict=True))
        assert 500 - len(v) / 21 <= counted[2.0] <= 500
        assert 300 - len(v) / 21 <= counted[3.0] <= 300
        roomy = sum_of(Tally.empty(200), np.array_split(v[order], 31))
        assert roomy.values[roomy.standing_out(len(v), step=0)].tolist() == [2.0, 3.0]
        assert tally.first_stands_out(300, times=1.2)
        assert not tally.first_stands_out(300, times=3)
        assert not tally.first_stands_out(501, times=1.2)


def sum_of(tally: Tally, parts: list[np.ndarray]) -> Tally:
    for part in parts:
        tally.add(part)
    return tally


def test_names_of_rows_are_no_categories(monkeypatch):
    monkeypatch.setattr(inference, "MOST_DISTINCT", 250)
    frame = pd.DataFrame({"id": [f"n{i}" for i in range(300)], "number": np.arange(300) * 7})
    with pytest.raises(DataError, match="column 'id' has more than 250 different values"):
        infer_columns(frame)
    with pytest.raises(DataError, match="column 'number' has more than 250"):
        infer_columns(frame[["number"]], {"number": "categorical"})
    assert infer_columns(frame[["number"]])[0].kind == "count"


def test_a_logarithm_needs_positive_numbers():
    with pytest.raises(ValueError, match="can't have a logarithm: it goes down to"):
        infer_columns(FRAME[["shocks"]], {"shocks": {"log": True}})


def test_what_was_not_seen_is_warned_of_once(folder):
    source = stream(folder, drop=[c for c in FRAME if c not in ("city", "late")])
    columns = infer_columns(FRAME[["city", "late"]].head(100))
    encoded = EncodedRows(source, columns)
    with pytest.warns(UnseenCategoryWarning, match="in late$"):
        list(encoded)
    list(encoded)  # warnings are errors


def test_most_rows_at_one_value_say_nothing_of_the_others():
    rng = np.random.default_rng(0)
    gain = np.zeros(2000)
    gain[:150] = rng.integers(1, 40, 150) * 1000  # 4 rows a value beside the zeros
    few, many = infer_columns(pd.DataFrame({"few": gain, "many": np.r_[gain[:150], gain[:150], gain[:1700]]}))
    assert (few.kind, few.atoms[0], few.decimals) == ("continuous", 0, 0)
    assert many.kind == "ordinal"


def test_what_one_density_cannot_describe_has_several_components():
    draw, n = np.random.default_rng(1), 600
    frame = pd.DataFrame({
        "normal": draw.normal(size=n),
        "flat": draw.random(n),
        "lopsided": -np.log(draw.gamma(2, size=n)) - 9.0,  # and no logarithm helps
        "two hills": np.where(draw.random(n) < 0.5, -3, 3) + draw.normal(size=n),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 900, n), "D"),
        "visits": draw.negative_binomial(2, 0.001, n),
    })  # fmt: skip

    def components(rows: pd.DataFrame, told: dict | None = None) -> dict:
        return {column.name: column.n_components for column in infer_columns(rows, told)}

    assert components(frame) == {"normal": 1, "flat": 5, "lopsided": 5, "two hills": 5, "since": 5, "visits": 1}
    assert components(frame[:400])["flat"] == 4  # one for a hundred rows
    assert set(components(frame[:190]).values()) == {1}  # too few rows
    assert components(frame, {"flat": {"n_components": 2}})["flat"] == 2
    assert "5 components" in infer_columns(frame)[1].describe()
    with pytest.raises(ValueError, match="column 'flat' can't have n_components=0: 1 to 256"):
        infer_columns(frame, {"flat": {"n_components": 0}})
    with pytest.raises(ValueError, match="column 'visits' can't have n_components=2: a count has 1"):
        infer_columns(frame, {"visits": {"n_components": 2}})


def test_atoms_are_the_values_met_more_often_than_those_around_them():
    draw, n = np.random.default_rng(2), 4000
    amounts = np.round(np.exp(draw.normal(8, 1, n)))
    favorite = draw.choice([0.0, 500, 1000, 2000, 5000, 10_000], n, p=[0.4, 0.1, 0.2, 0.1, 0.1, 0.1])
    frame = pd.DataFrame({
        "amount": np.where(draw.random(n) < 0.4, favorite, amounts),
        "speed": np.cumsum(np.r_[0.89, draw.choice([0.89, 1.79, 0.9], 299)])[draw.geometric(0.02, n).clip(0, 299)],
        "normal": draw.normal(size=n),
        "rounded": np.round(draw.normal(size=n), 2),
        "geometric": draw.geometric(0.004, n),
        "steep": np.round(-np.log(draw.random(n)), 2),
        "odd": np.where(np.arange(n) < 2, 9.3333333, np.round(draw.normal(0, 8, n))),
        "designed": draw.choice(np.exp(draw.normal(size=60)), n),
    })  # fmt: skip
    found = {column.name: column for column in infer_columns(frame)}
    assert found["amount"].atoms == (0.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
    shares = [(frame["amount"] == v).mean() for v in found["amount"].atoms]
    assert found["amount"].atom_shares == pytest.approx(shares)
    assert len(found["speed"].atoms) > 100
    assert [found[name].atoms for name in ("normal", "rounded", "geometric", "steep")] == [()] * 4
    assert found["geometric"].kind == "count"
    assert (found["odd"].kind, found["designed"].kind) == ("ordinal", "ordinal")
    assert found["amount"].describe() == "positive, 41% are 6 frequent values"


def test_odd_cells_do_not_decide_the_decimals():
    draw = np.random.default_rng(3)
    v = np.r_[9.3333333, np.round(draw.normal(1000, 300, 5000), 1)]
    assert infer_columns(pd.DataFrame({"v": v}))[0].decimals == 1
    assert infer_columns(pd.DataFrame({"v": np.r_[draw.normal(size=10), v]}))[0].decimals is None


def test_float32_has_the_decimals_and_the_atoms_of_float64():
    draw = np.random.default_rng(4)
    v = np.round(draw.normal(50, 10, 20_000), 1)
    amounts = np.where(
        draw.random(20_000) < 0.5, draw.choice([0.1, 12.3], 20_000), np.round(draw.gamma(2, 50, 20_000), 1)
    )
    wide = pd.DataFrame({"v": v, "amount": amounts})
    for found, same in zip(infer_columns(wide.astype(np.float32)), infer_columns(wide), strict=True):
        assert found.decimals == same.decimals == 1
        assert found.atoms == tuple(float(np.float32(atom)) for atom in same.atoms)
    given = infer_columns(wide.astype(np.float32), {"amount": {"kind": "continuous", "atoms": [0.1]}})
    assert given[1].atom_shares[0] == pytest.approx((amounts == 0.1).mean())
    coded = encode(wide, infer_columns(wide.astype(np.float32)))
    np.testing.assert_array_equal(is_atom(coded[:, 1]), np.isin(amounts, [0.1, 12.3]))


def test_the_most_frequent_atoms_are_kept_and_those_of_other_kinds_refused():
    low, high = np.repeat(np.arange(200) * 1e3 + 0.5, 5), np.repeat(np.arange(100) * 1e4 + 1e6 + 0.5, 100)
    column = infer_columns(pd.DataFrame({"v": np.r_[low, high, np.random.default_rng(5).normal(size=9000)]}))[0]
    assert len(column.atoms) == 255
    assert set(high) <= set(column.atoms)
    with pytest.raises(ValueError, match="can't have atoms: it is 'count', not 'continuous'"):
        infer_columns(pd.DataFrame({"v": np.arange(99)}), {"v": {"kind": "count", "atoms": [3]}})


def test_a_number_that_looks_like_an_atom_is_none():
    column = ColumnSchema("v", "continuous", "float64", low=-2000.0, high=0.0)
    v = pd.DataFrame({"v": [-1500.0, -1000.0, -3.0]})
    coded = encode(v, [column])
    assert not is_atom(coded).any()
    np.testing.assert_allclose(coded[:, 0], v["v"], atol=0.5)
