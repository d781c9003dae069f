"""Texts come back token by token, and text files byte for byte."""

import warnings

import pytest

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lowerbound
from lowerbound import BPE, NotCodableError, SequenceVAE
from lowerbound.compression import coder
from lowerbound.compression.container import DamagedError, OtherArithmeticError, WrongModelError
from lowerbound.compression.growth import Steps
from lowerbound.compression.message import Message
from lowerbound.compression.text_files import TextFile
from lowerbound.data.checks import DataError
from lowerbound.loading import reading

SHORT = {"hidden_size": 8, "max_epochs": 2, "random_state": 0, "early_stopping": False}
FIXED = 260  # bytes of header, index, heads of blocks and words that the first text takes
NAMES = ["anna", "anne", "hanna", "joanna", "otto", "ottilie", "lotte", "ann"] * 15
ASKED = [f"who is {name}?" for name in NAMES]
CASES = {
    "exact": {"latent_dim": 0},
    "z": {"latent_dim": 2},
    "bytes": {"latent_dim": 0, "tokens": "bytes"},
    "byte pairs": {"latent_dim": 1, "tokens": BPE(262)},
}
MODELS = {}


def fitted(name, context=None):
    """A model, fitted once."""
    if name not in MODELS:
        if name == "byte pairs":
            pytest.importorskip("tokenizers")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MODELS[name] = SequenceVAE(**SHORT, **CASES.get(name, {"latent_dim": 2})).fit(NAMES, context=context)
    return MODELS[name]


@pytest.mark.parametrize("name", CASES)
def test_texts_come_back_in_as_many_bits_as_log_p_says(name, tmp_path):
    file = fitted(name).compress(NAMES, tmp_path / "x.lb")
    assert lowerbound.decompress(file.path, fitted(name)) == NAMES
    assert file.n_rows * file.n_dimensions == sum(len(text) + 1 for text in NAMES)
    assert -8 < file.n_bytes - file.bound / 8 < FIXED + 0.02 * file.bound / 8
    if not fitted(name).latent_dim:
        assert file.bound == pytest.approx(-fitted(name).score_samples(NAMES).sum() / np.log(2))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("texts", [["a"], [""], ["", "anna", ""], ["日本", "xenä", "a\nb", "\r", "🙂"]])
def test_few_empty_and_strange_texts(name, texts, tmp_path):
    fitted(name).compress(texts, tmp_path / "x.lb")
    assert lowerbound.decompress(tmp_path / "x.lb", fitted(name)) == texts


FILES = {
    "plain": b"anna\notto\n",
    "no end": b"anna\notto",
    "crlf": b"anna\r\notto\r\n",
    "cr": b"anna\rotto\r",
    "mixed": b"anna\r\notto\nanna\r\r\n\n\rlotte",
    "blank lines": b"\n\n  \nanna\n\t\n\notto\n\n\n ",
    "byte order mark": b"\xef\xbb\xbfanna\n\xef\xbb\xbfotto\n",
    "other characters": "änne\u2028a\u0085b\x0b\x0c\x1c🙂\ud7ff\n".encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("name", ["exact", "z"])
def test_text_files_come_back_byte_for_byte(name, content, tmp_path):
    (tmp_path / "x.txt").write_bytes(content)
    file = fitted(name).compress(tmp_path / "x.txt", tmp_path / "x.lb")
    assert lowerbound.decompress(tmp_path / "x.lb", fitted(name)) == content
    assert file.n_rows == len(lowerbound.read(tmp_path / "x.txt").X)
    assert file.n_rows * file.n_dimensions == pytest.approx(len(content))


@settings(max_examples=100, deadline=None)
@given(st.text("ab \t\n\r\ufeff\u2028ä").map(str.encode).filter(lambda content: content.strip()))
def test_lines_and_what_is_besides_are_the_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("text") / "x.txt"
    path.write_bytes(content)
    try:
        file = TextFile.read(path)
    except NotCodableError:  # blank
        return
    assert file.to_bytes() == content
    assert TextFile.of(file.texts, file.besides()).to_bytes() == content
    assert file.texts == lowerbound.read(path).X
    assert b"".join(part.to_bytes() for part in file.parts([1] * len(file))) == content


@pytest.mark.parametrize("content", [b"anna\n\xff\n", b"an\0na\n", b"", b"\n \n"])
def test_files_that_are_no_text_are_refused(content, tmp_path):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises((DataError, NotCodableError), match=r"UTF-8|zero byte|empty|no text"):
        fitted("exact").compress(tmp_path / "x.txt", tmp_path / "x.lb")
    assert not (tmp_path / "x.lb").exists()


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """A text file in several blocks, and its content."""
    from lowerbound.compression import parts

    folder, before = tmp_path_factory.mktemp("blocks"), parts.BLOCK_ENTRIES
    content = ("\n\r\n".join(NAMES) + "\n\n").encode()
    (folder / "x.txt").write_bytes(content)
    parts.BLOCK_ENTRIES = 400
    try:
        fitted("z").compress(folder / "x.txt", folder / "x.lb")
    finally:
        parts.BLOCK_ENTRIES = before
    return folder / "x.lb", content


def test_blocks_are_independent(blocks, tmp_path):
    path, content = blocks
    assert lowerbound.decompress(path, fitted("z")) == content
    first = lowerbound.decompress(path, fitted("z"), block=0)
    assert content.startswith(first)
    assert 0 < len(first) < len(content)
    with reading(path, fitted("z")) as file:
        place = file.reader.places[0][0]
    damaged = bytearray(path.read_bytes())
    damaged[place + 40] ^= 1
    (tmp_path / "x.lb").write_bytes(damaged)
    with pytest.raises(DamagedError, match="block 0"):
        lowerbound.decompress(tmp_path / "x.lb", fitted("z"))
    with pytest.warns(UserWarning, match="left out"):
        rest = lowerbound.decompress(tmp_path / "x.lb", fitted("z"), skip_damaged=True)
    assert first + rest == content


def test_another_model_and_other_arithmetic_are_refused(blocks, monkeypatch):
    with pytest.raises(WrongModelError):
        lowerbound.decompress(blocks[0], fitted("exact"))
    monkeypatch.setattr(coder, "SPLIT", 2.0**44 + 1)
    with pytest.raises(OtherArithmeticError, match="rounds otherwise"):
        lowerbound.decompress(blocks[0], fitted("z"))


@torch.no_grad()
def test_a_message_without_an_end_is_read_no_further_than_was_written(blocks):
    with reading(blocks[0], fitted("z")) as file:
        message = Message(Steps(4, 0, 0), np.zeros(1), np.zeros(1), None, b"9\n", np.zeros(0, np.uint32))
        with pytest.raises(ValueError, match="more tokens than were written"):
            file.codec.blocks.read(message, 2, None)


def test_more_threads_read_the_same(blocks):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert blocks[1].startswith(lowerbound.decompress(blocks[0], fitted("z"), block=0))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["text", "columns"])
def test_responses_are_coded_given_their_context(kind, tmp_path):
    context = ASKED if kind == "text" else np.array([[float(len(name))] for name in NAMES])
    model = fitted(kind, context)
    file = model.given(context).compress(NAMES, tmp_path / "x.lb")
    assert lowerbound.decompress(tmp_path / "x.lb", model.given(context)) == NAMES
    assert file.n_bytes - file.bound / 8 < FIXED + 0.02 * file.bound / 8
    with pytest.raises(OtherArithmeticError, match="another context"):
        lowerbound.decompress(tmp_path / "x.lb", model.given(context[::-1]))


def test_the_model_may_be_in_the_file(tmp_path):
    file = fitted("exact").compress(NAMES, tmp_path / "x.lb", with_model=True)
    assert 0 < file.model_bytes < file.n_bytes
    assert lowerbound.decompress(tmp_path / "x.lb") == NAMES
