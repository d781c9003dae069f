"""``lowerbound compare``: the table, the JSON, the picture."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import TABLE_OPTIONS

from lowerbound.comparison import comparison

QUICK = ("--models", "vae,factorized,mixture,autoencoder,ppca", "--budget", "0.03")


def test_table_of_people(cli, table, tmp_path):
    picture = tmp_path / "draws.png"
    result = cli("compare", table, *TABLE_OPTIONS, *QUICK, "-o", picture)
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "log"]
    names = [line[:6] for line in lines[1:6]]
    assert names == ["indepe", "mixtur", "PPCA-1", "autoen", "VAE-2 "]  # from simple to flexible
    assert [line[len("mixture of 2 Gaussians") :].split()[0] for line in lines[1:4]] == ["=", "=", "="]
    assert "not applicable: it has no p(x)" in lines[4]
    assert "≥ " in lines[5]
    assert "18 others to score" in result.stderr
    with Image.open(picture) as image:
        assert min(image.size) > 300
    cli("compare", table, *TABLE_OPTIONS, *QUICK, "-o", picture, exit_code=1)  # it exists


def test_json_of_binarized_digits(cli, images, tmp_path):
    picture = tmp_path / "draws.png"
    words = ("--key", "x", "--binarize", "sample", "--models", "factorized,ppca,mixture", "--json", "-o", picture)
    record = json.loads(cli("compare", images, *words).stdout)
    assert (record["kind"], record["rows"]) == ("binary", {"fitted": 32, "scored": 8})
    factorized, mixture, ppca = record["models"]
    assert factorized["log_likelihood"]["kind"] == "exact"
    assert factorized["bits_per_dim"] == pytest.approx(-factorized["log_likelihood"]["mean"] / (64 * np.log(2)))
    assert factorized["n_parameters"] == 64
    assert mixture["fit_seconds"] > 0
    assert mixture["sample_seconds"] > 0
    assert ppca["log_likelihood"] is None
    assert "real values" in ppca["reason"]
    with Image.open(picture) as image:
        assert image.width > image.height


def test_what_is_refused(cli, table, tmp_path):
    assert "did you mean 'mixture'" in cli("compare", table, "--models", "mixtur", exit_code=2).output
    assert "is a .png" in cli("compare", table, "-o", tmp_path / "a.jpg", exit_code=2).output
    said = cli("compare", table, *TABLE_OPTIONS, "--binarize", "sample", exit_code=1).output
    assert "binarize needs" in said
    one = tmp_path / "one.csv"
    one.write_text("a\n" + "\n".join(map(str, range(20))))
    assert "two columns" in cli("compare", one, "-o", tmp_path / "a.png", exit_code=1).output


def test_no_number_is_a_failure_only_where_models_failed(cli, images, monkeypatch):

    words = ("compare", images, "--key", "x", "--models", "autoencoder")
    assert "not applicable" in cli(*words).stdout

    def broken(case):
        raise RuntimeError("out of order")

    monkeypatch.setitem(comparison.MODELS, "autoencoder", comparison.Contender("autoencoder", broken))
    assert "failed: out of order" in cli(*words, exit_code=1).stdout


def test_tables_of_several_kinds(cli, table, tmp_path):
    words = ("compare", table, "--drop", "id", "--models", "factorized,vae,ppca", "--budget", "0.03", "--json")
    record = json.loads(cli(*words).stdout)  # with the class, which is text
    factorized, ppca, vae = record["models"]
    assert record["kind"] == "mixed"
    assert [model["log_likelihood"] and model["log_likelihood"]["kind"] for model in (factorized, vae)] == [
        "exact",
        "lower",
    ]
    assert "of several kinds" in ppca["reason"]
    assert not ppca["failed"]
    assert factorized["bits_per_dim"] is None
    said = cli(*words, "-o", tmp_path / "a.png", exit_code=1).output
    assert "columns of numbers alone" in said
    assert not (tmp_path / "a.png").exists()


def test_truth_values_among_numbers_are_numbers(cli, tmp_path):
    path = tmp_path / "flags.csv"
    path.write_text("a,b\n" + "\n".join(f"{i % 7}.5,{i % 3 == 0}" for i in range(60)))
    record = json.loads(cli("compare", path, "--models", "factorized", "--json").stdout)
    assert record["models"][0]["log_likelihood"]["kind"] == "exact"


def test_an_interruption_keeps_the_models_that_are_fitted(cli, table, monkeypatch):
    measure = comparison._measure

    def stopped(result, *arguments):
        if result.name == "ppca":
            raise KeyboardInterrupt
        measure(result, *arguments)

    monkeypatch.setattr(comparison, "_measure", stopped)
    result = cli("compare", table, *TABLE_OPTIONS, "--models", "factorized,ppca", exit_code=130)
    assert "independent features  =" in result.stdout
    assert result.stderr.endswith("interrupted\n")


def test_names_with_z_and_without(cli, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["anna", "otto", "lina", "mara"] * 6))
    result = cli("compare", names, "--budget", "0.02")
    lines = result.stdout.splitlines()
    assert lines[0].split()[:6] == ["model", "log", "p(x)", "a", "text", "bits"]
    assert [line.split()[0] for line in lines[1:3]] == ["GRU", "SequenceVAE"]
    assert any(line.startswith("z brings ≥ ") for line in lines)
    assert "5 others to score" in result.stderr
    record = json.loads(cli("compare", names, "--budget", "0.02", "--models", "gru", "--json").stdout)
    assert (record["kind"], record["z_brings"], len(record["models"])) == ("text", None, 1)
    assert "recurrent_vae takes no texts" in cli("compare", names, "--models", "recurrent_vae", exit_code=1).output
    assert "--binarize is for rows" in cli("compare", names, "--binarize", "mean", exit_code=2).output
    names.write_text("anna\notto")
    assert "2 texts are too few" in cli("compare", names, exit_code=1).output


def test_models_of_sequences_take_no_rows(cli, table):
    said = cli("compare", table, *TABLE_OPTIONS, "--models", "gru", exit_code=1).output
    assert "gru takes sequences or texts, and the data are rows" in said
