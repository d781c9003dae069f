"""Evaluating: one model, and the paired difference of two."""

import json
import math
import os
import signal

import numpy as np
import pandas as pd
import pytest
from tests.cli.conftest import TABLE_OPTIONS, TINY

import lowerbound
from lowerbound.cli import scoring
from lowerbound.cli.output import INTERRUPTED, information

FEW = ("--n-importance", 20)


def evaluated(cli, *words):
    result = cli("evaluate", *words, *FEW, "--json")
    return json.loads(result.stdout)


def test_discrete_data(cli, digits_run, images):
    record = evaluated(cli, digits_run, images, "--key", "x")
    assert record["n"] == 40
    assert {"mean", "standard_error"} <= set(record["elbo"])
    assert {"mean", "standard_error", "n_importance"} <= set(record["log_likelihood"])
    assert record["log_likelihood"]["n_importance"] == 20
    assert record["elbo"]["mean"] < record["log_likelihood"]["mean"] + 3 * record["elbo"]["standard_error"]
    assert record["bits_per_dim"] == pytest.approx(-record["log_likelihood"]["mean"] / (64 * math.log(2)))
    assert record["kl"] == pytest.approx(sum(record["kl_per_dimension"]))
    assert len(record["kl_per_dimension"]) == 3
    assert 0 <= record["active_units"] <= 3
    assert record["elbo"]["mean"] == pytest.approx(record["reconstruction"] - record["kl"])
    assert "total_correlation" not in record


def test_real_data_have_no_bits(cli, table_run, other_table):
    record = evaluated(cli, table_run, other_table, *TABLE_OPTIONS)
    assert "bits_per_dim" not in record
    X = pd.read_csv(other_table)[["height", "weight", "age"]]
    wanted = lowerbound.load(table_run).log_likelihood(X, 20)
    assert record["log_likelihood"]["mean"] == pytest.approx(wanted.value)
    assert record["log_likelihood"]["standard_error"] == pytest.approx(wanted.standard_error)


def test_a_full_covariance_has_a_total_correlation(cli, table, other_table, tmp_path):
    words = ("--max-epochs", 2, *TINY, "--covariance", "full", "-q")
    cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / "run", *words)
    record = evaluated(cli, tmp_path / "run", other_table, *TABLE_OPTIONS)
    assert len(record["kl_per_dimension"]) == 3
    assert record["total_correlation"] >= 0
    assert record["kl"] == pytest.approx(sum(record["kl_per_dimension"]) + record["total_correlation"])


def test_words_for_people(cli, table_run, other_table):
    result = cli("evaluate", table_run, other_table, *TABLE_OPTIONS, *FEW)
    assert "log p(x)" in result.stdout
    assert "20 importance samples" in result.stdout
    assert " ± " in result.stdout
    last = result.stderr.splitlines()[-1]
    assert last == f"next: lowerbound generate {table_run} -o {table_run / 'samples.csv'}"


def test_the_rows_trained_on_are_noticed(cli, table_run, table, other_table):
    warning = "was trained on these rows"
    assert warning in cli("evaluate", table_run, table, *TABLE_OPTIONS, *FEW, "-q").stderr
    assert warning not in cli("evaluate", table_run, other_table, *TABLE_OPTIONS, *FEW, "-q").stderr


@pytest.fixture(scope="module")
def longer_run(cli, table, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "longer"
    cli("train", table, *TABLE_OPTIONS, "-o", run, "--max-epochs", 60, *TINY, "--lr", 0.02, "-q")
    return run


def test_the_difference_is_paired(cli, longer_run, table_run, other_table):
    words = (other_table, *TABLE_OPTIONS)
    record = evaluated(cli, longer_run, table_run, *words)
    X = pd.read_csv(other_table)[["height", "weight", "age"]]
    rows = [lowerbound.load(run).log_likelihood_rows(X, 20)[0] for run in (longer_run, table_run)]
    difference = rows[0] - rows[1]
    assert record["difference"]["mean"] == pytest.approx(difference.mean())
    assert record["difference"]["standard_error"] == pytest.approx(difference.std(ddof=1) / math.sqrt(40))
    assert record["runs"] == [str(longer_run), str(table_run)]
    assert record["better"] == str(longer_run)
    swapped = evaluated(cli, table_run, longer_run, *words)
    assert swapped["difference"]["mean"] == pytest.approx(-difference.mean())
    assert swapped["better"] == str(longer_run)


def test_the_difference_in_words(cli, longer_run, table_run, other_table):
    result = cli("evaluate", longer_run, table_run, other_table, *TABLE_OPTIONS, *FEW)
    assert f"{longer_run} is better" in result.stdout
    assert result.stderr.splitlines()[-1].startswith(f"next: lowerbound evaluate {longer_run} {other_table}")


def test_two_models_of_binarized_data_see_the_same_zeros_and_ones(cli, images, tmp_path):
    for seed in (0, 1):
        words = ("--binarize", "sample", "--max-epochs", 1, *TINY, "--random-state", seed, "-q")
        cli("train", images, "--key", "x", "-o", tmp_path / str(seed), *words)
    record = evaluated(cli, tmp_path / "0", tmp_path / "1", images, "--key", "x")
    # untrained models differ by little; were the binarizations drawn apart, rows would differ by several nats
    assert record["difference"]["standard_error"] < 0.5 * record["log_likelihood"][0]["standard_error"]


def test_an_exact_model_beside_a_vae(cli, table_run, table, other_table, tmp_path):
    X = pd.read_csv(table)[["height", "weight", "age"]]
    lowerbound.Factorized().fit(X).save(tmp_path / "baseline")
    alone = evaluated(cli, tmp_path / "baseline", other_table, *TABLE_OPTIONS)
    assert alone["log_likelihood"]["kind"] == "exact"
    assert "exact" in cli("evaluate", tmp_path / "baseline", other_table, *TABLE_OPTIONS).stdout
    record = evaluated(cli, table_run, tmp_path / "baseline", other_table, *TABLE_OPTIONS)
    assert record["log_likelihood"][1] == alone["log_likelihood"]


def test_what_cannot_be_compared_is_refused(cli, digits_run, table_run, images, tmp_path):
    words = ("evaluate", digits_run, table_run, images, "--key", "x")
    assert f"rows of {digits_run} have shape (8, 8), and of {table_run} (3,)" in cli(*words, exit_code=1).stderr
    assert "the two runs are the same" in cli("evaluate", digits_run, digits_run, images, exit_code=2).stderr
    for wrong in ([digits_run], [digits_run, digits_run, table_run, images]):
        assert "name one or two runs" in cli("evaluate", *wrong, exit_code=2).stderr
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["height", "weight", "age"])
    frame.assign(age=1.0).to_csv(tmp_path / "constant.csv", index=False)
    cli("train", tmp_path / "constant.csv", "-o", tmp_path / "run", "--max-epochs", 1, *TINY, "-q")
    result = cli("evaluate", table_run, tmp_path / "run", tmp_path / "constant.csv", *FEW, exit_code=1)
    assert (
        f"in column 'age' log p(x) of {table_run} is a density, and that of {tmp_path / 'run'} leaves it out"
        in result.stderr
    )


def test_every_method_and_the_closer_looks(cli, table_run, other_table):
    words = (table_run, other_table, *TABLE_OPTIONS, "--n-chains", 4, "--n-temperatures", 20)
    by = {method: evaluated(cli, *words, "--method", method) for method in ("importance", "naive", "ais")}
    assert {r["log_likelihood"]["method"] for r in by.values()} == set(by)
    assert by["ais"]["log_likelihood"]["n_importance"] == 4
    record = evaluated(cli, *words, "--bidirectional-bounds", 10, "--inference-gap", 5)
    assert record["bidirectional_bounds"]["lower"]["n_rows"] == 10
    parts = {name: record["inference_gap"][name]["mean"] for name in ("total", "approximation", "amortization")}
    assert parts["total"] == pytest.approx(parts["approximation"] + parts["amortization"])
    text = cli("evaluate", *words, *FEW, "--bidirectional-bounds", 10, "--inference-gap", 5, "--method", "ais").stdout
    assert "4 annealed chains" in text
    assert "= approximation" in text
    assert "≤ log p(x) ≤" in text


def test_the_bound_as_a_message(cli, digits_run, images):
    record = evaluated(cli, digits_run, images, "--key", "x")
    bits = record["bits"]
    assert bits["total"] == pytest.approx(-record["elbo"]["mean"] / math.log(2))
    assert bits["total"] == pytest.approx(bits["z"] + bits["x"] - bits["back"])
    assert record["mutual_information"]["mean"] <= math.log(40)


def test_a_mutual_information_at_its_ceiling_says_so():
    assert information({"mean": 3.5, "n_rows": 40}, "3.50") == "≥ 3.50; 40 rows can't show more than 3.69"
    assert information({"mean": 1.5, "n_rows": 40}, "1.50") == "≥ 1.50"
    given = {"mean": 6.2, "n_rows": 40, "n_importance": 500}
    assert information(given, "6.20") == "≥ 6.20; 500 draws of z can't show more than 6.21"
    assert information({**given, "mean": 3.5}, "3.50") == "≥ 3.50"


def test_an_interrupted_estimate_goes_on_where_it_was(cli, table_run, other_table, monkeypatch):
    from lowerbound.estimators.vae import VAE

    monkeypatch.setattr(scoring, "ROWS_IN_A_PART", {"importance": 7})
    words = (table_run, other_table, *TABLE_OPTIONS)
    whole = evaluated(cli, *words)
    scored, honest = [], VAE.log_likelihood_rows

    def interrupted(self, X, *args, first_row=0, **options):
        scored.append(first_row)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return honest(self, X, *args, first_row=first_row, **options)

    monkeypatch.setattr(VAE, "log_likelihood_rows", interrupted)
    cli("evaluate", *words, *FEW, exit_code=INTERRUPTED)
    [partial] = table_run.glob("evaluation-*.npz")
    result = cli("evaluate", *words, *FEW, "--json")
    assert scored[3] == 14
    assert json.loads(result.stdout)["log_likelihood"] == whole["log_likelihood"]
    assert not partial.exists()


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_an_estimate_is_shown_though_nothing_can_be_written_to_the_run(cli, table_run, other_table, monkeypatch):
    words = (table_run, other_table, *TABLE_OPTIONS)
    expected = evaluated(cli, *words)
    monkeypatch.setattr(scoring, "ROWS_IN_A_PART", {"importance": 7})
    monkeypatch.setattr(scoring, "SAVE_SECONDS", 0)
    monkeypatch.setattr(scoring, "SAVE_COST", 0)
    in_parts = evaluated(cli, *words)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    result = cli("evaluate", *words, *FEW, "--json")
    assert json.loads(result.stdout) == in_parts
    assert in_parts["elbo"] == expected["elbo"]
    assert result.stderr.count("can't be written (Permission denied), so an interrupted estimate starts again") == 1


def test_an_estimate_is_shown_before_its_parts_are_deleted(cli, table_run, other_table, monkeypatch):
    words = (table_run, other_table, *TABLE_OPTIONS)
    expected = evaluated(cli, *words)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    result = cli("evaluate", *words, *FEW, "--json")
    assert json.loads(result.stdout) == expected
    assert "can't be deleted (Permission denied)" in result.stderr


def test_an_error_after_the_estimate_keeps_it(cli, table_run, other_table, monkeypatch):
    """The closer look, the other model, or the terminal may fail."""
    monkeypatch.setattr(scoring, "ROWS_IN_A_PART", {"importance": 20})
    monkeypatch.setattr(scoring, "SAVE_SECONDS", 0)
    monkeypatch.setattr(scoring, "SAVE_COST", 0)
    words = ("evaluate", table_run, other_table, *TABLE_OPTIONS, *FEW, "--inference-gap", 5)
    with monkeypatch.context() as patched:
        patched.setattr("lowerbound.VAE.inference_gap", refuse)
        cli(*words, exit_code=1)
    assert "continuing after 40 of 40 rows" in cli(*words).stderr
    assert not list(table_run.glob("evaluation-*"))


def test_termination_keeps_what_was_scored(cli, table_run, other_table, monkeypatch):
    monkeypatch.setattr(scoring, "ROWS_IN_A_PART", {"importance": 20})
    honest, scored = lowerbound.VAE.log_likelihood_rows, []

    def stopped(self, X, *args, **options):
        if scored:
            os.kill(os.getpid(), signal.SIGTERM)
        scored.append(len(X))
        return honest(self, X, *args, **options)

    words = ("evaluate", table_run, other_table, *TABLE_OPTIONS, *FEW)
    with monkeypatch.context() as patched:
        patched.setattr("lowerbound.VAE.log_likelihood_rows", stopped)
        assert cli(*words, exit_code=INTERRUPTED).stderr.endswith("interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert "continuing after 20 of 40 rows" in cli(*words).stderr


def test_a_learned_prior_has_one_kl_and_levels_one_each(cli, table, other_table, tmp_path):
    for name, words in (("vamp", (*TINY, "--prior", "vamp")), ("levels", ("--n-levels", 2, "--width", 8))):
        cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / name, "--max-epochs", 2, *words, "--seed", 0, "-q")
        record = evaluated(cli, tmp_path / name, other_table, *TABLE_OPTIONS)
        assert "kl_per_dimension" not in record
        assert ("kl_per_level" in record) == (name == "levels")
        assert "active" in cli("evaluate", tmp_path / name, other_table, *TABLE_OPTIONS, *FEW).stdout


def test_a_kl_without_a_closed_form_is_called_an_estimate(cli, table, other_table, table_run, tmp_path):
    words = ("--max-epochs", 1, *TINY, "--prior", "mixture", "-q")
    cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / "run", *words)
    record = evaluated(cli, tmp_path / "run", other_table, *TABLE_OPTIONS)
    terms = lowerbound.load(tmp_path / "run").elbo_terms(pd.read_csv(other_table)[["height", "weight", "age"]], 16)
    kl = terms.kl.sum(-1)
    assert record["kl"] == pytest.approx(float(kl.mean()))
    assert record["kl_standard_error"] == pytest.approx(float(kl.std()) / math.sqrt(40))
    assert record["kl_kind"] == "estimate"
    [line] = [
        line
        for line in cli("evaluate", tmp_path / "run", other_table, *TABLE_OPTIONS, *FEW).stdout.splitlines()
        if line.startswith("KL ")
    ]
    assert "≈ " in line
    assert " ± " in line
    assert line.endswith("estimated from draws of z")
    exact = evaluated(cli, table_run, other_table, *TABLE_OPTIONS)
    assert exact["kl_kind"] == "exact"
    assert "estimated" not in cli("evaluate", table_run, other_table, *TABLE_OPTIONS, *FEW).stdout
