"""``lowerbound synthesize``: the table that is written, the report, and what is refused."""

import json

import pandas as pd
import pytest
from tests.cli.conftest import write_table

import lowerbound
from lowerbound import MLP, VAE

pytestmark = pytest.mark.filterwarnings("ignore")  # of collapsed posteriors


@pytest.fixture
def people(tmp_path, monkeypatch):
    """A table, of which a small model is fitted."""
    small = VAE(2, columns="auto", network=MLP((8,)), max_epochs=3, early_stopping=False, random_state=0)
    monkeypatch.setattr("lowerbound.synthesis.synthesize.recommended", lambda rows, seed: small)
    return write_table(tmp_path / "people.csv", 200, seed=0)


def test_the_table_is_written_and_reported(cli, people, tmp_path):
    out = tmp_path / "drawn.csv"
    words = ["--where", "weight < height", "--unique", "id", "--target", "class", "-n", 50]
    done = cli("synthesize", people, "-o", out, *words, "--save", tmp_path / "model")
    assert "told apart" in done.stdout
    assert "teaches" in done.stdout
    drawn = pd.read_csv(out)
    assert list(drawn) == ["id", "height", "weight", "age", "class"]
    assert drawn["id"].tolist() == [f"p{i}" for i in range(200, 250)]
    assert lowerbound.load(tmp_path / "model").sample(3).shape == (3, 4)
    record = json.loads(cli("synthesize", people, "-o", out, "--force", "--no-check", "--json").stdout)
    assert (record["rows"], record["quality"]) == (200, None)


def test_values_that_are_given_stay(cli, people, tmp_path):
    words = ["--given", "class=b", "--given", "age=40", "--drop", "id", "--no-check", "-n", 20]
    cli("synthesize", people, "-o", tmp_path / "drawn.parquet", *words)
    drawn = pd.read_parquet(tmp_path / "drawn.parquet")
    assert set(drawn["class"]) == {"b"}
    assert set(drawn["age"]) == {40}


@pytest.mark.parametrize(
    ("words", "message", "exit_code"),
    [
        (["--given", "class"], "COLUMN=VALUE", 2),
        (["--given", "class=never"], "no row of the table has this value", 1),
        (["--given", "nothing=1"], "no column 'nothing'", 1),
        (["--where", "age <"], "can't be evaluated", 1),
        (["--target", "nothing"], "no column 'nothing'", 1),
    ],
)
def test_what_is_wrong_is_said(words, message, exit_code, cli, people, tmp_path):
    done = cli("synthesize", people, "-o", tmp_path / "drawn.csv", *words, exit_code=exit_code)
    assert message in done.output
    assert not (tmp_path / "drawn.csv").exists()


def test_images_are_no_table(cli, tmp_path):
    assert "is no table" in cli("synthesize", "digits", "-o", tmp_path / "x.csv", exit_code=1).output
