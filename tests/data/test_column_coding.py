"""Tables of several kinds: what is understood of them, and the way to the model's numbers and back."""

import json

import numpy as np
import pandas as pd
import pytest

from lowerbound.data.checks import DataError
from lowerbound.data.columns.coding import UnseenCategoryWarning, decode, encode
from lowerbound.data.columns.inference import infer_columns
from lowerbound.data.columns.schema import ColumnSchema, from_record
from lowerbound.distributions.unseen import is_unseen

rng = np.random.default_rng(0)
N = 400
TABLE = pd.DataFrame(
    {
        "height": rng.normal(170, 8, N),
        "income": np.exp(rng.normal(10, 1, N)),
        "gain": np.where(rng.random(N) < 0.8, 0.0, np.exp(rng.normal(5, 1, N))),
        "visits": rng.negative_binomial(2, 0.02, N),
        "children": rng.integers(0, 5, N),
        "smoker": rng.random(N) < 0.3,
        "city": rng.choice(["Rome", "Oslo", "Bern"], N, p=[0.6, 0.3, 0.1]),
        "size": pd.Categorical(rng.choice(["S", "M", "L"], N), ["S", "M", "L"], ordered=True),
        "color": pd.Categorical(rng.choice(["red", "blue"], N)),
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
        "shocks": rng.standard_t(2.5, N),
        "maybe": pd.array(rng.integers(0, 1000, N), dtype="Int64"),
    }
)
KINDS = {
    "height": "continuous", "income": "positive", "gain": "positive", "visits": "count", "children": "ordinal",
    "smoker": "binary", "city": "categorical", "size": "ordinal", "color": "binary", "day": "date",
    "shocks": "continuous", "maybe": "count",
}  # fmt: skip
COLUMNS = infer_columns(TABLE)
BY_NAME = {column.name: column for column in COLUMNS}


def test_what_is_inferred():
    assert {name: column.kind for name, column in BY_NAME.items()} == KINDS
    assert BY_NAME["shocks"].heavy_tails
    assert not BY_NAME["height"].heavy_tails
    assert (BY_NAME["gain"].atoms, BY_NAME["gain"].atom_shares) == ((0.0,), ((TABLE["gain"] == 0).mean(),))
    assert BY_NAME["income"].location == pytest.approx(np.log(TABLE["income"]).mean())
    assert BY_NAME["visits"].log
    assert BY_NAME["city"].categories == ("Rome", "Oslo", "Bern")
    assert BY_NAME["size"].categories == ("S", "M", "L")
    assert all(sum(column.frequencies) == pytest.approx(1) for column in COLUMNS if column.has_categories)


def test_what_is_inferred_does_not_depend_on_the_order_of_rows_or_columns():
    shuffled = TABLE.sample(frac=1, random_state=1)[TABLE.columns[::-1]]
    for column in infer_columns(shuffled):
        for field, value in vars(column).items():
            expected = getattr(BY_NAME[column.name], field)
            assert value == (pytest.approx(expected) if isinstance(expected, float) else expected)


def with_gaps() -> pd.DataFrame:
    holes = rng.random(TABLE.shape) < 0.2
    holes[:, list(TABLE).index("smoker")] = False  # the type can hold none
    return TABLE.mask(holes)


def test_a_frame_comes_back_as_it_was():
    back = decode(encode(TABLE, COLUMNS), COLUMNS, expected=False)
    pd.testing.assert_frame_equal(back, TABLE, rtol=1e-9)


def test_gaps_are_nan():
    frame = with_gaps()
    np.testing.assert_array_equal(np.isnan(encode(frame, COLUMNS)), frame.isna())
    kinds = {column.name: column.kind for column in infer_columns(frame)}
    assert (kinds["city"], kinds["gain"], kinds["visits"]) == ("categorical", "positive", "count")


def test_draws_stay_in_the_range_of_the_data():
    wild = np.where([c.has_categories for c in COLUMNS], 0.0, rng.normal(0, 50, (100, len(COLUMNS))))
    drawn = decode(wild, COLUMNS, expected=False)
    for name in ("height", "income", "visits", "day", "shocks"):
        assert drawn[name].min() >= TABLE[name].min()
        assert drawn[name].max() <= TABLE[name].max()
    assert drawn.dtypes.equals(TABLE.dtypes)


def test_time_zones_and_hours():
    stamps = pd.date_range("2021-03-01 10:30", periods=50, freq="7h", tz="Europe/Rome")
    frame = pd.DataFrame({"at": stamps, "who": ["a", "b"] * 25})
    columns = infer_columns(frame)
    pd.testing.assert_frame_equal(decode(encode(frame, columns), columns, expected=False), frame)


def test_unseen_categories_are_coded_as_such_and_warned_of():
    new = TABLE.head(4).copy()
    new["city"] = ["Rome", "Paris", "Oslo", "Paris"]
    with pytest.warns(UnseenCategoryWarning, match="in city$"):
        coded = encode(new, COLUMNS)
    assert is_unseen(coded[:, 6]).tolist() == [False, True, False, True]


def test_text_among_categories_that_are_numbers_is_refused():
    columns = infer_columns(pd.DataFrame({"age": np.repeat([20, 30, 40], 30), "job": ["cook", "clerk", "pilot"] * 30}))
    assert [column.kind for column in columns] == ["ordinal", "categorical"]
    new = pd.DataFrame({"age": ["20", "40.0", None], "job": "cook"})
    assert encode(new, columns)[:, 0].tolist()[:2] == [0, 2]
    with pytest.raises(DataError, match=r"column 'age', row 1: 'old' is no number"):
        encode(new.assign(age=["20", "old", None]), columns)


def test_a_fraction_among_counts_is_refused_with_its_place():
    new = TABLE.head(3).assign(visits=[3, 7.5, np.nan])
    with pytest.raises(DataError, match=r"column 'visits', row 1: 7.5 is no whole number, and the model was fitted to"):
        encode(new, COLUMNS)
    whole = encode(new.assign(visits=[3, 7.0, np.nan]), COLUMNS)
    assert np.isnan(whole[:, list(TABLE).index("visits")]).tolist() == [False, False, True]


def test_rare_categories_share_a_probability():
    names = ["a"] * 50 + ["b"] * 40 + ["c", "d", "e"]
    column = infer_columns(pd.DataFrame({"letter": names}))[0]
    assert (column.n_common, column.n_rare, len(column.frequencies)) == (2, 3, 3)
    assert column.describe() == "categorical, 5 categories, 3 of them rare"
    one_rare = infer_columns(pd.DataFrame({"letter": names[:-2]}))[0]
    assert (one_rare.n_common, one_rare.n_rare) == (3, 0)


def test_ten_thousand_categories():
    names = [f"n{i}" for i in rng.zipf(1.3, 60_000) % 10_000] + [f"n{i}" for i in range(10_000)]
    column = infer_columns(pd.DataFrame({"name": names}))[0]
    assert len(column.categories) == 10_000
    assert len(column.frequencies) <= 256
    frame = pd.DataFrame({"name": names})
    assert decode(encode(frame, [column]), [column], expected=False)["name"].tolist() == names


@pytest.mark.parametrize("values", [[3.5] * 9, [7] * 9, ["x"] * 9, [True] * 9, [np.nan] * 9, [None] * 9])
def test_columns_of_one_value_or_none(values):
    frame = pd.DataFrame({"only": values, "other": list("aabbaabba")})
    columns = infer_columns(frame)
    back = decode(np.nan_to_num(encode(frame, columns)), columns, expected=False)
    assert back["only"].isna().tolist() == frame["only"].isna().tolist()
    assert back["only"].dropna().tolist() == frame["only"].dropna().tolist()


def test_what_the_user_says_goes_before(tmp_path):
    assert infer_columns(TABLE, {"children": "count"})[4].kind == "count"
    assert infer_columns(TABLE, {"shocks": {"heavy_tails": False}})[10].heavy_tails is False
    assert infer_columns(TABLE, {"gain": {"kind": "continuous", "atoms": []}})[2].atoms == ()
    path = tmp_path / "columns.json"
    path.write_text(json.dumps([{"name": "visits", "kind": "continuous"}]))
    assert infer_columns(TABLE, str(path))[3].kind == "continuous"
    assert infer_columns(TABLE, [ColumnSchema("children", "count", "int64")])[4].kind == "count"
    assert from_record(json.loads(json.dumps(vars(BY_NAME["city"])))) == BY_NAME["city"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tall": "count"}, "names 'tall', but the table has: height"),
        ({"height": "round"}, "can't be 'round': kinds are continuous"),
        ({"height": {"levles": 3}}, "has no 'levles'"),
        ({"height": "count"}, "can't be 'count': it has fractions"),
        ({"shocks": "positive"}, "can't be 'positive': it goes down to"),
        ({"city": "count"}, "which can't be 'count': use 'categorical'"),
    ],
)
def test_what_can_not_be_is_a_sentence(asked, message):
    with pytest.raises(ValueError, match=message):
        infer_columns(TABLE, asked)


def test_text_among_numbers_is_named_with_its_place():
    frame = TABLE.head(3).astype({"height": object})
    frame.loc[1, "height"] = "tall"
    with pytest.raises(DataError, match="column 'height', row 1: 'tall' is no number"):
        encode(frame, COLUMNS)
    frame.loc[1, "height"] = np.inf
    with pytest.raises(DataError, match="column 'height', row 1: 'inf' is infinite"):
        encode(frame, COLUMNS)
    with pytest.raises(DataError, match="infinite"):
        infer_columns(pd.DataFrame({"a": [1.5, np.inf, 2.0]}))
