"""Filling gaps on the command line."""

import datetime as dt
import json
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import TABLE_OPTIONS


@pytest.fixture
def gappy(table, tmp_path):
    """The table of people with gaps in height and weight."""
    frame = pd.read_csv(table)
    rng = np.random.default_rng(7)
    for name in ("height", "weight"):
        frame.loc[rng.random(len(frame)) < 0.3, name] = np.nan
    path = tmp_path / "gappy.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_filled_table_has_all_columns_and_what_was_observed(cli, table_run, gappy, tmp_path, ending):
    path = tmp_path / f"filled{ending}"
    result = cli("impute", table_run, gappy, *TABLE_OPTIONS, "-o", path, "--n-importance", 50)
    before = pd.read_csv(gappy)
    after = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert list(after.columns) == list(before.columns)
    assert not after.isna().any().any()
    for name in before:
        seen = before[name].notna()
        assert (after.loc[seen, name] == before.loc[seen, name]).all()
    assert "90 rows" in result.stderr
    assert "effective importance samples a row" in result.stderr


def test_complete_data_are_said_to_be_complete(cli, table_run, table, gappy, tmp_path):
    words = ("impute", table_run, "-o", tmp_path / "filled.csv", *TABLE_OPTIONS, "--n-importance", 9, "--force")
    said = "people.csv has no gaps: its rows are written as they are"
    assert said in cli(*words, table).stderr
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "filled.csv"), pd.read_csv(table))
    assert "no gaps" not in cli(*words, gappy).stderr


def test_several_imputations_lie_below_one_another(cli, table_run, gappy, tmp_path):
    words = ("impute", table_run, gappy, *TABLE_OPTIONS, "--n-importance", 50, "-q", "--force")
    cli(*words, "-o", tmp_path / "five.csv", "--imputations", 5)
    after, gaps = pd.read_csv(tmp_path / "five.csv"), pd.read_csv(gappy)["height"].isna()
    assert list(after["imputation"]) == np.repeat([1, 2, 3, 4, 5], 90).tolist()
    heights = after["height"].to_numpy().reshape(5, 90)
    assert (heights[:, gaps].std(0) > 0).all()
    assert (heights[:, ~gaps] == heights[0, ~gaps]).all()
    cli(*words, "-o", tmp_path / "again.csv", "--imputations", 5)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "five.csv").read_text()


def test_gaps_hold_what_is_asked_for(cli, table_run, gappy, tmp_path):
    gaps, words = pd.read_csv(gappy)["height"].isna(), ("impute", table_run, gappy, *TABLE_OPTIONS, "-q", "--force")
    heights = {}
    for fill in (None, "mean", "median", "draw", "mode"):
        asked = () if fill is None else ("--fill", fill)
        cli(*words, "-o", tmp_path / "f.csv", "--n-importance", 50, *asked)
        heights[fill] = pd.read_csv(tmp_path / "f.csv")["height"]
        assert not heights[fill].isna().any()
        assert (heights[fill] == heights["mean" if fill and fill != "mean" else fill])[~gaps].all()
    assert heights[None].equals(heights["mean"])
    assert (heights["median"] != heights["mean"])[gaps].all()
    assert heights["draw"][gaps].std() > heights["median"][gaps].std()
    several = cli(*words, "-o", tmp_path / "f.csv", "--fill", "mode", "--imputations", 2, exit_code=2)
    assert "--imputations are draws" in several.stderr


def test_intervals_stand_beside_the_columns_with_gaps(cli, table_run, gappy, tmp_path):
    cli("impute", table_run, gappy, *TABLE_OPTIONS, "--n-importance", 50, "-o", tmp_path / "f.csv", "--intervals", "-q")
    after, before = pd.read_csv(tmp_path / "f.csv"), pd.read_csv(gappy)
    assert list(after.columns[-4:]) == ["height_low", "height_high", "weight_low", "weight_high"]
    gaps = before["height"].isna()
    assert (after["height_low"] < after["height_high"])[gaps].all()
    assert np.allclose(after["height_low"][~gaps], before["height"][~gaps])


def test_a_check_says_how_good_the_filling_is(cli, table_run, gappy):
    result = cli("impute", table_run, gappy, *TABLE_OPTIONS, "--check", "--n-importance", 50)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["column", "cells", "error", "in", "90", "%"]
    assert {line.split()[0] for line in lines[1:4]} == {"height", "weight", "age"}
    assert "a full Gaussian fitted to the same cells" in result.stderr
    record = json.loads(
        cli("impute", table_run, gappy, *TABLE_OPTIONS, "--check", "--n-importance", 50, "--json").stdout
    )
    height = record["columns"][0]
    assert (height["name"], height["kind"]) == ("height", "number")
    assert height["n_cells"] > 0
    assert 0 <= height["coverage"] <= 1
    assert record["gaussian_error"] < 1  # weight tells height
    assert f"{height['error']:.3f}" == lines[1].split()[2]


def test_images_are_filled_as_arrays(cli, digits_run, tmp_path):
    from sklearn.datasets import load_digits

    X = load_digits().images[:5] / 16
    gaps = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X * 255).round()
    np.save(tmp_path / "gaps.npy", gaps)
    result = cli("impute", digits_run, tmp_path / "gaps.npy", "-o", tmp_path / "f.npy", "--n-importance", 20)
    filled = np.load(tmp_path / "f.npy")
    assert filled.shape == X.shape
    assert np.array_equal(filled[~np.isnan(gaps)], gaps[~np.isnan(gaps)])
    assert not np.isnan(filled).any()
    assert "5 rows" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a file with -o, or ask for --check"),
        (("-o", "a.csv", "--imputations", 2, "--intervals"), "give one of them"),
        (("-o", "a.npy", "--intervals"), "need columns with names"),
        (("-o", "a.txt"), "must end in .csv, .parquet, .npy or (of sequences) .npz"),
    ],
)
def test_what_does_not_go_together_is_refused(cli, table_run, gappy, words, message):
    assert message in cli("impute", table_run, gappy, *TABLE_OPTIONS, *words, exit_code=2).stderr


def test_rows_are_drawn_given_some_columns(cli, table_run, tmp_path):
    words = ("generate", table_run, "-n", 40, "-q", "--force")
    cli(*words, "-o", tmp_path / "tall.csv", "--given", "height=190", "--given", "age=40")
    tall = pd.read_csv(tmp_path / "tall.csv")
    assert (tall["height"] == 190).all()
    assert (tall["age"] == 40).all()
    assert tall["weight"].std() > 0
    result = cli(*words, "-o", tmp_path / "a.csv", "--given", "size=1", exit_code=1)
    assert "no column 'size'" in result.stderr
    assert "--given is COLUMN=VALUE" in cli(*words, "-o", tmp_path / "a.csv", "--given", "age", exit_code=2).stderr
    assert "needs a number" in cli(*words, "-o", tmp_path / "a.csv", "--given", "age=old", exit_code=1).stderr


def test_observed_cells_stay_as_they_are_written_and_others_are_of_their_kind(cli, tmp_path):
    path, filled = tmp_path / "raw.csv", tmp_path / "filled.csv"
    rows = [f"{i % 7},00{i % 9},{i % 3 == 0},2020-01-{1 + i % 28:02d},{i / 4:.2f}" for i in range(60)]
    path.write_text("\n".join(["whole,zip,truth,day,real", *rows, ",,,,1.50"]) + "\n")
    cli("train", str(path), "-o", str(tmp_path / "run"), "--max-epochs", "1", "-q")
    cli("impute", str(tmp_path / "run"), str(path), "-o", str(filled), "--n-importance", "20")
    *same, last = filled.read_text().splitlines()[1:]
    assert same == rows
    whole, code, truth, day, real = last.split(",")
    assert whole.isdigit()
    assert code.isdigit()
    assert truth in ("True", "False")
    assert len(day) == len("2020-01-01")
    assert real == "1.50"


def test_types_of_a_parquet_file_are_those_of_the_filled_one(cli, tmp_path):
    k = np.random.default_rng(0).integers(0, 30, 40).tolist()
    columns = {
        "day": pa.array([dt.date(1066, 10, 14) + dt.timedelta(i) for i in k], pa.date32()),
        "at": pa.array([dt.datetime(2500, 1, 1) + dt.timedelta(hours=i) for i in k], pa.timestamp("us", "UTC")),
        "took": pa.array([dt.timedelta(minutes=i) for i in k], pa.duration("us")),
        "clock": pa.array([dt.time(i % 24, i) for i in k], pa.time64("us")),
        "price": pa.array([Decimal(7 * i) / 100 for i in k], pa.decimal128(10, 2)),
        "small": pa.array(k, pa.uint8()),
        "word": pa.array(["pq"[i % 2] for i in k], pa.large_string()),
    }
    holes = {name: np.arange(40) % 7 == j for j, name in enumerate(columns)}
    gaps = {name: pc.if_else(holes[name], pa.scalar(None, values.type), values) for name, values in columns.items()}
    pq.write_table(pa.table(gaps), tmp_path / "a.parquet")
    cli("train", tmp_path / "a.parquet", "-o", tmp_path / "run", "--max-epochs", 1, "-q")
    words = ("impute", tmp_path / "run", tmp_path / "a.parquet", "--n-importance", 5, "-q")
    cli(*words, "-o", tmp_path / "filled.parquet")
    filled = pq.read_table(tmp_path / "filled.parquet")
    assert filled.schema.types == [values.type for values in columns.values()]
    for name, values in gaps.items():
        assert filled[name].null_count == 0
        assert filled[name].filter(values.is_valid()).to_pylist() == values.drop_null().to_pylist()
    cli(*words, "-o", tmp_path / "filled.csv")
    dates = [line.split(",")[0] for line in (tmp_path / "filled.csv").read_text().splitlines()[1:]]
    assert all(re.fullmatch(r"1066-1\d-\d\d", date) for date in dates)
    cli(*words, "-o", tmp_path / "two.parquet", "--imputations", 2)
    assert pq.read_schema(tmp_path / "two.parquet").types[:7] == filled.schema.types
