"""Texts as tokens and as rows: there and back, what is unknown, batches of like lengths, dialogues."""

import copy

import numpy as np
import pytest
import torch

from lowerbound import BPE, DataError, dialogue_pairs
from lowerbound.data.texts import TextContext, Texts, TextSchema
from lowerbound.data.tokens import CODE_POINTS, Bytes, Characters, choose_vocabulary, vocabulary_from
from lowerbound.distributions.noise import make_generator

TEXTS = ["anna", "Zoë ☃", "", "a\nb\t\x00", "日本語 🎼"]
ASKED = ["characters", "bytes", pytest.param(BPE(270), id="bpe")]


def vocabulary(asked):
    if isinstance(asked, BPE):
        pytest.importorskip("tokenizers")
    return choose_vocabulary(TEXTS, asked)


@pytest.mark.parametrize("asked", ASKED)
def test_texts_come_back_as_they_were(asked):
    tokens = vocabulary(asked)
    again = vocabulary_from(tokens.metadata())
    for each in (tokens, again, copy.deepcopy(tokens)):
        assert [each.decode(found) for found in each.encode(TEXTS)] == TEXTS
        assert max(max(found, default=0) for found in each.encode(TEXTS)) < each.n_tokens
    assert again.metadata() == tokens.metadata()


def test_byte_pairs_are_the_same_each_time():
    pytest.importorskip("tokenizers")
    lines = [f"the {i} cats and the {i % 7} dogs" for i in range(300)]
    first, second = (choose_vocabulary(lines, BPE(300)) for _ in range(2))
    assert first.metadata() == second.metadata()
    assert len(first.encode(["the cats"])[0]) < 8
    assert first.decode(first.encode(["Größe: 5 €"])[0]) == "Größe: 5 €"


def test_characters_below_a_megabyte():
    assert isinstance(choose_vocabulary(["ab"], "auto"), Characters)
    assert isinstance(choose_vocabulary(["ab"], "bytes"), Bytes)


def test_unseen_characters_share_the_probability_of_those_that_occurred_once():
    tokens = choose_vocabulary(["aab", "aac"], "characters")  # b and c occurred once
    assert tokens.unseen == 3 / 8
    assert tokens.encode(["ax"]) == [[0, tokens.n_tokens + 1]]
    mass = np.exp(tokens.log_known) + (CODE_POINTS - 3) * np.exp(tokens.log_unknown)
    assert mass == pytest.approx(1)


@pytest.mark.parametrize("record", [None, {}, {"kind": "bpe", "json": "{}"}, {"kind": "bpe"},
                                    {"kind": "characters", "symbols": "aa", "unseen": 0.1},
                                    {"kind": "characters", "symbols": "ab", "unseen": 1.0}])  # fmt: skip
def test_records_that_are_no_vocabulary(record):
    if record and "json" in record:
        pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="tokens"):
        vocabulary_from(record)


@pytest.mark.parametrize(
    ("X", "message"),
    [("anna", "one text"), (["a", 3], "entry 1 is int"), (3, "list of texts, got int"), ([], "no texts"),
     (["a", "\ud800"], "text 1 of X has half of a surrogate")],
)  # fmt: skip
def test_what_is_no_list_of_texts(X, message):
    with pytest.raises(DataError, match=message):
        Texts.of(X)


def test_the_digest_knows_where_texts_end():
    assert Texts.of(["ab", "c"]).digest() != Texts.of(["a", "bc"]).digest()
    assert Texts.of(np.array(["ab", "c"])).digest() == Texts.of(["ab", "c"]).digest()


def test_batches_are_padded_and_of_like_lengths():
    texts = ["a" * (i % 40) for i in range(4000)]
    schema = TextSchema.infer(texts, "characters")
    rows = schema.rows(texts, torch.device("cpu"))
    seen, padding = [], 0
    for batch in rows.batches(50, order=make_generator(0, "order")):
        lengths = batch.mask.sum(1)
        assert (batch.x[~batch.mask] == schema.vocabulary.n_tokens).all()
        assert (batch.x.gather(1, lengths[:, None] - 1) == schema.vocabulary.n_tokens).all()
        assert (lengths == torch.tensor([len(texts[i]) + 1 for i in batch.index])).all()
        seen += batch.index.tolist()
        padding += int((~batch.mask).sum())
    assert sorted(seen) == list(range(4000))
    assert padding < 0.1 * len(rows.tokens)
    few = rows.subset(torch.tensor([5, 0]))
    assert next(few.batches(9)).x.tolist() == [[0] * 5 + [1], [1] * 6]
    assert few.digest() != rows.subset(torch.tensor([0, 5])).digest()


def test_frequencies_count_the_end():
    schema = TextSchema.infer(["aab", ""], "characters")
    np.testing.assert_allclose(schema.frequencies, np.array([3, 2, 3]) / 8)
    again = TextSchema.from_saved(schema.metadata(), schema.arrays())
    np.testing.assert_array_equal(again.frequencies, schema.frequencies)
    with pytest.raises(ValueError, match="frequencies"):
        TextSchema.from_saved(schema.metadata(), {"frequencies": torch.ones(2)})


def test_a_context_of_texts():
    context = TextContext.infer(["ab", "", "abab"], "characters")
    assert context.encode(["ab", ""], 2).tolist() == [[0, 1, 2], [2, -1, -1]]
    assert context.encode("a", 3).tolist() == [[0, 2]] * 3
    with pytest.raises(ValueError, match="2 texts, and there are 3"):
        context.encode(["a", "b"], 3)


def test_pairs_of_a_dialogue():
    turns = [["U", "Hi"], ["S", "Hello"], ["U", "A table"], ["S", "For whom?"]]
    assert dialogue_pairs(turns) == [("Hi", "Hello"), ("Hi\nHello", "A table"), ("Hi\nHello\nA table", "For whom?")]
    assert dialogue_pairs(turns, 1, "S") == [("Hi", "Hello"), ("A table", "For whom?")]
    with pytest.raises(DataError, match="nobody"):
        dialogue_pairs(turns, speaker="X")
