"""Tables of several kinds on the command line."""

import json

import numpy as np
import pandas as pd
import pytest

rng = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {
        "age": rng.integers(18, 90, 120),
        "city": rng.choice(["Rome", "Oslo"], 120),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 120), "D"),
        "income": np.round(np.exp(rng.normal(10, 1, 120)), 2),
    }
)


@pytest.fixture(params=["people.csv", "people.parquet"])
def people(request, tmp_path):
    path, gappy = tmp_path / request.param, PEOPLE.mask(rng.random(PEOPLE.shape) < 0.1)
    gappy.to_csv(path, index=False) if path.suffix == ".csv" else gappy.to_parquet(path, index=False)
    return path


def test_from_a_file_to_a_file_like_it(cli, people, tmp_path):
    run, drawn = tmp_path / "run", tmp_path / f"drawn{people.suffix}"
    cli("train", people, "-o", run, "--max-epochs", "2", "--hidden-layer-sizes", "8", "--random-state", "0")
    cli("generate", run, "-n", "30", "-o", drawn)
    rows = pd.read_csv(drawn) if people.suffix == ".csv" else pd.read_parquet(drawn)
    assert list(rows) == list(PEOPLE)
    assert set(rows["city"]) == {"Rome", "Oslo"}
    assert pd.to_datetime(rows["since"]).between("2020-01-01", "2022-07-01").all()
    assert rows["income"].between(PEOPLE["income"].min(), PEOPLE["income"].max()).all()
    record = json.loads(cli("evaluate", run, people, "--n-importance", "5", "--json").stdout)
    assert record["n"] == 120
    assert np.isfinite(record["log_likelihood"]["mean"])
    cli("reconstruct", run, people, "-o", tmp_path / "again.csv")
    assert set(pd.read_csv(tmp_path / "again.csv")["city"]) <= {"Rome", "Oslo"}
    cli("encode", run, people, "-o", tmp_path / "codes.csv")
    assert np.isfinite(pd.read_csv(tmp_path / "codes.csv")).all().all()
    assert "make no array" in cli("generate", run, "-o", tmp_path / "rows.npy", exit_code=1).stderr


def test_what_is_understood_can_be_printed_edited_and_given_back(cli, people, tmp_path):
    record = json.loads(cli("data", "check", people, "--json").stdout)
    assert [column["kind"] for column in record["columns"]] == ["count", "binary", "date", "positive"]
    assert record["missing"] > 0
    text = cli("data", "check", people).stdout
    assert "binary, 2 categories" in text
    assert "one for each column" in text
    record["columns"][0]["kind"] = "continuous"
    edited, run = tmp_path / "columns.json", tmp_path / "run"
    edited.write_text(json.dumps(record))
    cli("train", people, "-o", run, "--max-epochs", "1", "--columns", edited)
    saved = json.loads((run / "model" / "model.json").read_text())["schema"]["columns"]
    assert [column["kind"] for column in saved] == ["continuous", "binary", "date", "positive"]


def test_a_little_text_among_numbers_is_a_mistake(cli, tmp_path):
    path = tmp_path / "typo.csv"
    path.write_text("a,b\n" + "1,x\n2,y\n" * 20 + "tall,x\n")
    assert "'tall' is text, not a number" in cli("data", "check", path, exit_code=1).stderr


def test_a_level_that_is_a_number_is_given_as_it_is_written(cli, tmp_path):
    frame = pd.DataFrame({"age": np.repeat([20, 30, 40], 40), "job": ["cook", "clerk", "pilot"] * 40})
    frame.to_csv(tmp_path / "ages.csv", index=False)
    cli("train", tmp_path / "ages.csv", "-o", tmp_path / "run", "--max-epochs", "1", "--hidden-layer-sizes", "8")
    words = ("generate", tmp_path / "run", "-n", "5", "-o", tmp_path / "drawn.csv", "--force", "--given")
    for age in ("40", "40.0"):
        cli(*words, f"age={age}")
        assert pd.read_csv(tmp_path / "drawn.csv")["age"].tolist() == [40] * 5
    for age in ("50", "old"):
        assert f"age={age}: the column has the categories 20, 30, 40" in cli(*words, f"age={age}", exit_code=1).stderr
