"""Texts and dialogues on the command line: from a file to a model, its scores, draws, codes and answers."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lowerbound
from lowerbound.cli import main

SMALL = ("--model", "sequence", "--hidden-size", "8", "--batch-size", "16", "--lr", "0.02", "--random-state", "0")
pytestmark = pytest.mark.filterwarnings(  # models are fitted briefly, and few samples are drawn
    "ignore:.*had no end after", "ignore::lowerbound.UnreliableEstimateWarning", "ignore:.*draws had only"
)
NAMES = ["anna", "anne", "hanna", "joanna", "otto", "ottilie", "lotte", "ann"] * 8


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory):
    path = tmp_path_factory.mktemp("said") / "said.jsonl"
    turns = [["U", "hi"], ["S", "hello"], ["U", "bye"], ["S", "ciao"]]
    path.write_text((json.dumps({"turns": turns}) + "\n") * 30)
    return path


@pytest.fixture(scope="module")
def run(cli, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "names"
    cli("train", names, *SMALL, "--latent-dim", 2, "--max-epochs", 4, "-o", folder)
    return folder


@pytest.fixture(scope="module")
def answering(cli, dialogues, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "said"
    how = ("--turns", 1, "--speaker", "S", "--latent-dim", 2, "--max-epochs", 25)
    cli("train", dialogues, *SMALL, *how, "-o", folder)
    return folder


def test_evaluate_gives_nats_a_text_and_bits_a_character(cli, names, run, tmp_path):
    words = ("evaluate", run, names, "--n-importance", 10)
    record = json.loads(cli(*words, "--rows", tmp_path / "rows.csv", "--json").stdout)
    found = lowerbound.load(run).log_likelihood(NAMES, 10)
    assert record["log_likelihood"]["mean"] == pytest.approx(found.value)
    assert record["log_likelihood"]["bits_per_character"] == pytest.approx(found.bits_per_character)
    assert record["kl"]["mean"] > 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows["text"].tolist() == NAMES
    np.testing.assert_allclose(rows["log_p"], lowerbound.load(run).score_samples(NAMES, 10))
    told = cli(*words)
    assert "a character" in told.stdout
    assert "was trained on these rows" in told.stderr


def test_two_models_are_compared_on_the_same_texts(cli, names, run, tmp_path):
    cli("train", names, *SMALL, "--latent-dim", 0, "--max-epochs", 2, "-o", tmp_path / "exact")
    words = ("evaluate", run, tmp_path / "exact", names, "--n-importance", 10)
    record = json.loads(cli(*words, "--json").stdout)
    a, b = (found["mean"] for found in record["log_likelihood"])
    assert record["difference"]["mean"] == record["z_brings"]["mean"] == pytest.approx(a - b)
    shown = cli(*words).stdout
    for words in ("bits a byte", f"I(x; z) of {run}", "the same decoder without z"):
        assert words in shown


def test_texts_are_shown_or_written(cli, run, tmp_path):
    shown = cli("generate", run, "-n", 4, "--seed", 1).stdout.splitlines()
    assert shown == lowerbound.load(run).sample(4, random_state=1)
    cli("generate", run, "-n", 4, "--seed", 1, "-o", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text().splitlines() == shown
    distinct = ("generate", run, "-n", 3, "--prompt", "an", "--distinct", "--seed", 1)
    cli(*distinct, "-o", tmp_path / "a.jsonl")
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    wanted = lowerbound.load(run).sample(3, prompt="an", distinct=True, random_state=1)
    assert [each["text"] for each in records] == ["an" + each.text for each in wanted]
    assert [each["log_p"] for each in records] == [each.log_p for each in wanted]
    assert cli(*distinct).stdout.splitlines()[0].endswith(records[0]["text"])
    assert [each["text"] for each in records] == lowerbound.read(tmp_path / "a.jsonl").X


def test_codes_and_reconstructions(cli, names, run, tmp_path):
    cli("encode", run, names, "-o", tmp_path / "codes.csv")
    table = pd.read_csv(tmp_path / "codes.csv")
    np.testing.assert_allclose(table[["z0", "z1"]], lowerbound.load(run).transform(NAMES), rtol=1e-5, atol=1e-6)
    assert table["text"].tolist() == NAMES
    cli("reconstruct", run, names, "-o", tmp_path / "again.jsonl")
    again = [json.loads(line)["text"] for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert again == lowerbound.load(run).reconstruct(NAMES)


def test_responses_are_given_what_was_said(cli, dialogues, answering, tmp_path):
    read = lowerbound.read(dialogues, turns=1, speaker="S")
    model = lowerbound.load(answering)
    record = json.loads(cli("evaluate", answering, dialogues, "--n-importance", 10, "--json").stdout)
    assert record["log_likelihood"]["mean"] == pytest.approx(
        model.log_likelihood(read.X, 10, context=read.context).value
    )
    cli("generate", answering, "--given", "hi", "-n", 2, "--distinct", "-o", tmp_path / "a.jsonl")
    found = lowerbound.read(tmp_path / "a.jsonl")
    assert found.context == ["hi", "hi"]
    assert "answers to what was said before" in cli("generate", answering, exit_code=2).stderr


def test_chat_gives_different_answers_with_their_probabilities(answering, run):
    def chatted(folder, lines, *words):
        result = CliRunner().invoke(main, ["chat", str(folder), "-n", "2", "--seed", "3", *words], input=lines)
        assert result.exit_code == 0, result.output
        return result.stdout

    model = lowerbound.load(answering)
    first = model.sample(2, context="hi", distinct=True, random_state=3)
    lines = chatted(answering, "hi\n2\n\n/new\nbye\n").splitlines()
    assert [line.split(maxsplit=2)[0] for line in lines] == ["1", "2"] * 2
    assert [line.split(maxsplit=2)[2] for line in lines[:2]] == [each.text for each in first]
    records = [json.loads(line) for line in chatted(answering, "hi\nbye\n", "--json").splitlines()]
    assert [each["log_p"] for each in records[0]["answers"]] == [each.log_p for each in first]
    continued = json.loads(chatted(run, "ann\n", "--json"))
    wanted = lowerbound.load(run).sample(2, prompt="ann", distinct=True, random_state=3)
    assert [each["text"] for each in continued["answers"]] == [each.text for each in wanted]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("train", "{names}", "-o", "{new}"), 1, "add --model sequence"),
        (("train", "{names}", "--model", "recurrent", "-o", "{new}"), 1, "add --model sequence"),
        (("evaluate", "{said}", "{names}"), 1, "has no context"),
        (("generate", "{run}", "--steps", "3"), 2, "--steps: that is for models of sequences"),
        (("generate", "{run}", "--given", "hi"), 2, "is not given what was said before"),
        (("generate", "{run}", "-o", "{new}.png"), 2, "must end in .txt, .jsonl, .csv or .parquet"),
        (("impute", "{run}", "{names}", "-o", "{new}.csv"), 1, "can't use"),
        (("evaluate", "{run}", "digits"), 1, "takes text"),
    ],
)
def test_what_does_not_fit_is_a_sentence(cli, names, run, answering, tmp_path, words, code, message):
    words = [word.format(names=names, run=run, said=answering, new=tmp_path / "new") for word in words]
    assert message in " ".join(cli(*words, exit_code=code).stderr.split())
