"""A model given a column: trained, drawn from, scored, and refused without it."""

import json
import tomllib

import numpy as np
import pandas as pd
import pytest

FEW = ("--max-epochs", "60", "--hidden-layer-sizes", "16", "--lr", "0.01", "--seed", "0", "-q")


@pytest.fixture(scope="module")
def table_with_kind(tmp_path_factory):
    rng = np.random.default_rng(0)
    kind = rng.choice(["x", "y"], 200)
    place = np.where(kind == "y", 5.0, -5.0)
    path = tmp_path_factory.mktemp("context") / "table.csv"
    pd.DataFrame({"a": place + rng.normal(size=200), "b": rng.normal(size=200), "kind": kind}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def given_run(cli, table_with_kind, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    cli("train", table_with_kind, "--given", "kind", "-o", run, *FEW)
    return run


def test_a_model_is_given_a_column(cli, given_run, table_with_kind, tmp_path):
    assert tomllib.loads((given_run / "config.toml").read_text())["data"]["given"] == "kind"
    cli("generate", given_run, "-n", "50", "--given", "kind=y", "-o", tmp_path / "y.csv")
    drawn = pd.read_csv(tmp_path / "y.csv")
    assert list(drawn) == ["a", "b"]
    assert drawn["a"].mean() > 2
    words = ("--given", "kind", "--n-importance", "20", "--json", "-q")
    record = json.loads(cli("evaluate", given_run, table_with_kind, *words).stdout)
    assert np.isfinite(record["log_likelihood"]["mean"])
    for command in ("encode", "reconstruct"):
        cli(command, given_run, table_with_kind, "--given", "kind", "-o", tmp_path / f"{command}.csv")
        assert len(pd.read_csv(tmp_path / f"{command}.csv")) == 200
    cli("train", "-o", given_run, "--resume")


def test_a_run_continues_with_its_own_context_alone(cli, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(80, 3)), "a": rng.integers(0, 2, 80), "b": rng.integers(0, 2, 80)}
    np.savez(tmp_path / "x.npz", **arrays)
    words = ("train", tmp_path / "x.npz", "--key", "x", "-o", tmp_path / "run")
    cli(*words, "--given", "a", *FEW, "--max-epochs", "1")
    (tmp_path / "run" / "model" / "model.json").unlink()  # so that it isn't finished
    assert "given another context" in cli(*words, "--given", "b", "--resume", exit_code=1).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generate", "RUN", "-o", "new.csv"), "add --given kind=VALUE"),
        (("generate", "RUN", "--given", "kind=w", "-o", "new.csv"), "has the categories"),
        (("generate", "RUN", "--given", "kin=x", "-o", "new.csv"), "the model is given kind"),
        (("evaluate", "RUN", "DATA", "--drop", "kind"), "say which column or array has it"),
        (("impute", "RUN", "DATA", "-o", "new.csv"), "`lowerbound impute` can't use it"),
        (
            ("train", "DATA", "--given", "kind", "--model", "ppca", "-o", "other"),
            "can't be given a context: a vae or a detector can",
        ),
        (("train", "DATA", "--given", "kid", "-o", "other"), "did you mean 'kind'"),
    ],
)
def test_what_is_missing_is_said(cli, given_run, table_with_kind, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    named = {"RUN": given_run, "DATA": table_with_kind}
    assert message in cli(*(named.get(word, word) for word in words), exit_code=1).stderr


@pytest.mark.parametrize("model", ["vae", "detector"])
def test_rows_that_are_unusual_given_their_context_are_ranked(cli, tmp_path, model):
    rng, kind = np.random.default_rng(0), np.arange(200) % 2
    X = np.where(kind == 0, -3.0, 3.0)[:, None] + rng.normal(size=(200, 3))
    kind[7] = 1 - kind[7]
    pd.DataFrame(X, columns=list("abc")).assign(kind=np.array(["x", "y"])[kind]).to_csv(tmp_path / "t.csv", index=False)
    own = ("--max-epochs", "40") if model == "vae" else ()
    cli("train", tmp_path / "t.csv", "--model", model, "--given", "kind", *own, "-o", tmp_path / "run")
    words = ("outliers", tmp_path / "run", tmp_path / "t.csv", "-o", tmp_path / "out.csv")
    assert "--given NAME" in cli(*words, exit_code=1).stderr
    cli(*words, "--given", "kind", "--explain")
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["row"][0] == 7
    assert list(found["kind"][:1]) == [["x", "y"][kind[7]]]


def test_the_next_command_has_the_context(cli, given_run, table_with_kind, tmp_path):
    said = cli("evaluate", given_run, table_with_kind, "--given", "kind", "--n-importance", "5").stderr
    assert "--given kind=VALUE" in said
    said = cli("generate", given_run, "--given", "kind=x", "-n", "2", "-o", tmp_path / "two.csv").stderr
    assert "evaluate" in said
    assert said.rstrip().endswith("--given kind")
