"""A file that isn't as it was written gives the right one of five errors, and never other rows."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

import lowerbound
from lowerbound import MLP, VAE
from lowerbound.compression import blocks, codec, files, parts
from lowerbound.compression.container import (
    VERSION,
    CompressedFileError,
    DamagedError,
    NewerFormatError,
    NotCompressedError,
    OtherArithmeticError,
    WrongModelError,
    opened,
)

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
X = (np.random.default_rng(0).random((90, 12)) < 0.3).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    return VAE(2, network=MLP((8,)), max_epochs=2, random_state=0, early_stopping=False).fit(X)


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    """The bytes of a file of three blocks."""
    path, before = tmp_path_factory.mktemp("file") / "x.lb", parts.BLOCK_ENTRIES
    parts.BLOCK_ENTRIES = 30 * X.shape[1]
    try:
        lowerbound.compress(model, X, path)
    finally:
        parts.BLOCK_ENTRIES = before
    return path.read_bytes()


def read(content, model, path, **options):
    path.write_bytes(content)
    return lowerbound.decompress(path, model, **options)


def places_of(content, path):
    path.write_bytes(content)
    with opened(path) as reader:
        return [place for place, _ in reader.places]


def test_the_file_is_whole(content, model, tmp_path):
    np.testing.assert_array_equal(read(content, model, tmp_path / "x.lb"), X)


def test_a_flipped_bit_anywhere_gives_the_error_of_its_place(content, model, tmp_path):
    places, rng = places_of(content, tmp_path / "x.lb"), np.random.default_rng(1)
    end = content.rindex(b"ENDS")
    for place in rng.integers(0, len(content), 100):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(CompressedFileError) as raised:
            read(bytes(changed), model, tmp_path / "x.lb")
        if place < 8:
            assert isinstance(raised.value, NotCompressedError)
        elif place < 10:
            assert isinstance(raised.value, (NewerFormatError, DamagedError))
        else:
            assert isinstance(raised.value, DamagedError)
            inside = places[0] <= place < end
            assert raised.value.block == (int(np.searchsorted(places, place, "right")) - 1 if inside else None)


def test_a_file_that_is_cut_anywhere_is_damaged(content, model, tmp_path):
    for length in np.random.default_rng(2).integers(1, len(content), 100):
        with pytest.raises(DamagedError) if length > 8 else pytest.raises(CompressedFileError):
            read(content[:length], model, tmp_path / "x.lb")


def test_a_damaged_block_is_lost_alone_and_named(content, model, tmp_path):
    changed = bytearray(content)
    changed[places_of(content, tmp_path / "x.lb")[1] + 40] ^= 1
    with pytest.raises(DamagedError, match="block 1 of"):
        read(bytes(changed), model, tmp_path / "x.lb")
    with pytest.warns(UserWarning, match=r"block 1 of .* its rows are left out"):
        rest = read(bytes(changed), model, tmp_path / "x.lb", skip_damaged=True)
    np.testing.assert_array_equal(rest, np.delete(X, slice(30, 60), 0))
    np.testing.assert_array_equal(read(bytes(changed), model, tmp_path / "x.lb", block=2), X[60:])


def test_a_file_without_any_intact_block_says_so(content, model, tmp_path):
    changed = bytearray(content)
    for place in places_of(content, tmp_path / "x.lb"):
        changed[place + 40] ^= 1
    with pytest.warns(UserWarning, match="left out"), pytest.raises(DamagedError, match="no block of"):
        read(bytes(changed), model, tmp_path / "x.lb", skip_damaged=True)


def test_places_and_models_that_nobody_wrote_are_damage_even_with_right_checksums(content, model, tmp_path):
    end = content.rindex(b"ENDS")
    index = content[end : end + 4] + b"\xff" * 8 + content[end + 12 : -12]
    with pytest.raises(DamagedError, match="block 0 of"):
        read(content[:end] + index + crc(index) + content[-8:], model, tmp_path / "x.lb")
    lowerbound.compress(model, X, tmp_path / "y.lb", with_model=True)
    whole = (tmp_path / "y.lb").read_bytes()
    header_end = 14 + int.from_bytes(whole[10:14], "little")
    for place in (header_end - 30, header_end - 1000, whole.index(b"\xfd7zXZ")):
        start = whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 : header_end]
        with pytest.raises(CompressedFileError, match="the model in the file is damaged"):
            read(start + crc(start) + whole[header_end + 4 :], None, tmp_path / "z.lb")


def crc(content):
    return zlib.crc32(content).to_bytes(4, "little")


def test_other_files_are_not_ours(model, tmp_path):
    for other in (b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"rows,of,text\n" * 9):
        with pytest.raises(NotCompressedError, match="no file of compressed rows"):
            read(other, model, tmp_path / "x.lb")


def test_a_newer_format_asks_for_an_update(content, model, tmp_path):
    newer = content[:8] + (VERSION + 1).to_bytes(2, "little") + content[10:]
    with pytest.raises(NewerFormatError, match="update it"):
        read(newer, model, tmp_path / "x.lb")


def test_a_model_that_was_moved_a_little_is_another(content, model, tmp_path):
    moved = lowerbound.load(saved(model, tmp_path))
    with torch.no_grad():
        next(p for name, p in moved.model_.named_parameters() if "bias" in name)[..., 0] += 1e-3
    with pytest.raises(WrongModelError) as raised:
        read(content, moved, tmp_path / "x.lb")
    digests = [codec_digest(each)[:16] for each in (model, moved)]
    assert all(digest in str(raised.value) for digest in digests)


def codec_digest(model):
    from lowerbound.compression.models import digest_of

    return digest_of(model.fitted_).hex()


def saved(model, folder):
    model.save(folder / "model")
    return folder / "model"


def test_other_arithmetic_is_refused_before_anything_is_decoded(content, model, tmp_path, monkeypatch):
    from lowerbound.compression import coder

    monkeypatch.setattr(coder, "SPLIT", 2.0**44 + 1)
    decoded = []
    monkeypatch.setattr(codec.Codec, "read", lambda *arguments: decoded.append(1))
    with pytest.raises(OtherArithmeticError, match="rounds otherwise"):
        read(content, model, tmp_path / "x.lb")
    assert not decoded


def test_other_arithmetic_that_the_probe_misses_gives_no_rows(content, model, tmp_path, monkeypatch):
    from lowerbound.compression import coder

    with files.reading(write(content, tmp_path / "x.lb"), model) as file:
        monkeypatch.setattr(coder, "SPLIT", 2.0**44 + 1)
        with pytest.raises(OtherArithmeticError, match=r"block 0 of .* other rows"):
            list(file.rows([0]))


def write(content, path):
    path.write_bytes(content)
    return path


def test_a_file_without_its_model_says_so(content, tmp_path):
    with pytest.raises(CompressedFileError, match="doesn't hold its model"):
        read(content, None, tmp_path / "x.lb")


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_steps_of_another_size_are_read_as_the_file_says(rows, model, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "rows_of_a_step", lambda *arguments: rows)
    lowerbound.compress(model, X, tmp_path / "x.lb")
    monkeypatch.undo()
    np.testing.assert_array_equal(lowerbound.decompress(tmp_path / "x.lb", model), X)


def test_nothing_is_left_of_a_file_that_does_not_decode(model, tmp_path, monkeypatch):
    monkeypatch.setattr(codec.Codec, "read", lambda *arguments: None)
    with pytest.raises(lowerbound.NotCodableError, match="doesn't give the same rows"):
        lowerbound.compress(model, X, tmp_path / "x.lb")
    assert not list(tmp_path.iterdir())
    lowerbound.compress(model, X, tmp_path / "x.lb", verify=False)
    assert (tmp_path / "x.lb").exists()


def test_a_block_that_is_not_there_is_refused():
    folder = Path(__file__).parents[1] / "fixtures" / "compressed-v1"
    for block in (1, -1):
        with pytest.raises(ValueError, match=rf"no block {block} in .*: it has 1, counted from 0"):
            lowerbound.decompress(folder / "x.lb", lowerbound.load(folder / "model"), block=block)


@pytest.mark.parametrize("finer", [[5], [1.5, 2.5], [-4], [10**30] * 3, [1] * 2000, ["a"], 5, {"a": 1}])
def test_a_schedule_that_no_message_has_is_no_message(finer, tmp_path):
    for model in (lowerbound.Factorized().fit(X), VAE(2, network=MLP((8,)), max_epochs=1, random_state=0).fit(X)):
        model.compress(X, tmp_path / "x.lb")
        with files.reading(tmp_path / "x.lb", model) as reading:
            block = reading.reader.block(0)
            n = 4 + int.from_bytes(block.payload[:4], "little")
            plain, _, apart = zlib.decompress(block.payload[4:n]).partition(b"\0")
            about = zlib.compress(json.dumps([*json.loads(plain), finer]).encode() + b"\0" + apart)
            payload = len(about).to_bytes(4, "little") + about + block.payload[n:]
            assert reading.codec.read(replace(block, payload=payload), None) is None
