"""Sequences come back step by step, in as many bits as the model's log p says."""

import warnings

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

import lowerbound
from lowerbound import NotCodableError, RecurrentVAE, Sequences
from lowerbound.compression.coder import Stack
from lowerbound.compression.container import OtherArithmeticError
from lowerbound.compression.files import estimate
from lowerbound.compression.lengths import Lengths
from lowerbound.loading import reading

rng = np.random.default_rng(0)
SHORT = {"hidden_size": 8, "max_epochs": 2, "random_state": 0, "early_stopping": False}
FIXED = 300  # bytes of header, index, heads of blocks and words that the first sequence takes
SONGS = [
    np.tile((np.arange(n)[:, None] + rng.integers(2)) % 2 == rng.integers(0, 2, (1, 3)), 2).astype(np.uint8)
    for n in rng.integers(1, 15, 40)
]
CASES = {
    "exact": {"latent_dim": 0},
    "exact, with ends": {"latent_dim": 0, "length": "end"},
    "z": {"latent_dim": 2},
    "z, with ends": {"latent_dim": 2, "length": "end"},
    "masked": {"latent_dim": 0, "head": "masked"},
    "masked, z": {"latent_dim": 1, "head": "masked", "length": "end"},
    "chain": {"latent_dim": 2, "chain": True},
    "one z": {"latent_dim": 2, "latents": "sequence"},
    "one z, with ends": {"latent_dim": 2, "latents": "sequence", "length": "end"},
    "one z, masked": {"latent_dim": 1, "latents": "sequence", "head": "masked"},
}
MODELS = {}


def fitted(name, data=None, **options):
    """A model, fitted once."""
    if name not in MODELS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MODELS[name] = RecurrentVAE(**SHORT, **CASES.get(name, {}), **options).fit(SONGS if data is None else data)
    return MODELS[name]


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
        assert (x.dtype, type(x)) == (y.dtype, type(y))


@pytest.mark.parametrize("name", CASES)
def test_songs_come_back_in_as_many_bits_as_log_p_says(name, tmp_path):
    file = fitted(name).compress(SONGS, tmp_path / "x.lb")
    same(lowerbound.decompress(file.path, fitted(name)), SONGS)
    assert (file.n_rows, file.n_bytes) == (len(SONGS), file.path.stat().st_size)
    assert file.n_rows * file.n_dimensions == sum(song.size for song in SONGS)
    assert -8 < file.n_bytes - file.bound / 8 < FIXED + 0.02 * file.bound / 8


def test_the_bound_is_exact_without_latent_variables(tmp_path):
    lengths = Lengths.of(np.array(list(map(len, SONGS)))).bits
    for name, besides in (("exact", lengths), ("exact, with ends", 0.0)):
        file = fitted(name).compress(SONGS, tmp_path / "x.lb")
        assert file.bound == pytest.approx(-fitted(name).score_samples(SONGS).sum() / np.log(2) + besides)
        assert estimate(fitted(name), SONGS) == (pytest.approx(file.bound), 0)


@pytest.mark.parametrize("name", ["exact, with ends", "z", "masked, z", "chain", "one z, with ends"])
def test_one_sequence_and_one_step(name, tmp_path):
    for songs in ([SONGS[0]], [SONGS[3][:1]], [SONGS[1][:1], SONGS[0]]):
        fitted(name).compress(songs, tmp_path / "x.lb")
        same(lowerbound.decompress(tmp_path / "x.lb", fitted(name)), songs)


def test_sequences_come_back_as_they_were_given(tmp_path):
    array = np.stack([song[:1] for song in SONGS[:7]]).astype(np.int64)
    fitted("exact").compress(array, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", fitted("exact"))
    np.testing.assert_array_equal(again, array)
    assert again.dtype == np.int64
    named = Sequences(np.concatenate(SONGS[:3]), [len(song) for song in SONGS[:3]], ids=["a", "bc", "d"])
    fitted("z").compress(named, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", fitted("z"))
    same(list(again), list(named))
    assert again.ids.tolist() == ["a", "bc", "d"]


def test_blocks_are_independent(tmp_path, monkeypatch):
    from lowerbound.compression import parts

    name = "exact, with ends"

    monkeypatch.setattr(parts, "BLOCK_ENTRIES", 80 * 8)
    fitted(name).compress(SONGS, tmp_path / "x.lb")
    monkeypatch.undo()
    with reading(tmp_path / "x.lb", fitted(name)) as file:
        assert len(file) > 2
        places = [place for place, _ in file.reader.places]
        n = file.reader.places[0][1]
    same(lowerbound.decompress(tmp_path / "x.lb", fitted(name)), SONGS)
    same(lowerbound.decompress(tmp_path / "x.lb", fitted(name), block=0), SONGS[:n])
    content = bytearray((tmp_path / "x.lb").read_bytes())
    content[places[0] + 40] ^= 1
    (tmp_path / "x.lb").write_bytes(content)
    with pytest.warns(UserWarning, match="block 0 of .* its rows are left out"):
        same(lowerbound.decompress(tmp_path / "x.lb", fitted(name), skip_damaged=True), SONGS[n:])


def test_other_arithmetic_that_the_probe_misses_ends_and_gives_no_rows(tmp_path, monkeypatch):
    from lowerbound.compression import coder

    model = fitted("z, with ends")
    model.compress(SONGS, tmp_path / "x.lb")
    with reading(tmp_path / "x.lb", model) as file:
        monkeypatch.setattr(coder, "SPLIT", 2.0**50 + 1)
        monkeypatch.setattr(coder, "SHIFT", 3 * 2.0**15)
        with pytest.raises(OtherArithmeticError, match="other rows"):
            list(file.rows([0]))


def series(n=8):
    """Frames of numbers, words and counts with gaps, whose index is the time."""
    each = []
    for T in rng.integers(2, 12, n):
        times = pd.date_range("2024-01-01", periods=T, freq="h", tz="Europe/Berlin", name="time")
        frame = pd.DataFrame({"t": np.round(20 + rng.normal(size=T).cumsum(), 1), "n": rng.poisson(3, T)}, index=times)
        frame["state"] = rng.choice(["on", "off", "idle"], T).astype(object)
        frame.loc[rng.random(T) < 0.1, "state"] = np.nan
        each.append(frame.assign(t=frame["t"].mask(rng.random(T) < 0.2)))
    return each


SERIES = series()


@pytest.mark.filterwarnings("ignore::lowerbound.UnseenCategoryWarning")
@pytest.mark.parametrize("options", [{"latent_dim": 0}, {"latent_dim": 2, "length": "end"}])
def test_series_of_several_kinds_come_back_with_gaps_times_and_new_values(options, tmp_path):
    model = fitted(f"series {options}", SERIES, **options)
    frames = [frame.copy() for frame in SERIES]
    frames[0].iloc[1, 2], frames[1].iloc[0, 0] = "never seen", 1.23456
    model.compress(frames, tmp_path / "x.lb")
    for a, b in zip(lowerbound.decompress(tmp_path / "x.lb", model), frames, strict=True):
        pd.testing.assert_frame_equal(a, b, check_freq=False)


def test_sequences_of_a_long_table_have_their_names_and_times(tmp_path):
    model = fitted("long", SERIES, latent_dim=1)
    long = pd.concat([frame.assign(sensor=f"s{i}") for i, frame in enumerate(SERIES)]).reset_index()
    named = Sequences.from_frame(long, id="sensor", time="time")
    model.compress(named, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", model)
    pd.testing.assert_frame_equal(again.steps, named.steps, check_freq=False)
    np.testing.assert_array_equal(again.ids, named.ids)


@pytest.mark.parametrize("masked", [False, True])
def test_real_arrays_come_back_with_their_gaps(masked, tmp_path):
    numbers = [np.round(rng.normal(size=(n, 2)).cumsum(0), 2) for n in rng.integers(1, 12, 15)]
    gaps = [rng.random(x.shape) < 0.2 for x in numbers]
    given = [np.ma.masked_array(x, m) if masked else np.where(m, np.nan, x) for x, m in zip(numbers, gaps, strict=True)]
    model = fitted("numbers", given, latent_dim=1)
    with pytest.raises(NotCodableError, match="decimals"):
        model.compress(given, tmp_path / "x.lb")
    file = model.compress(given, tmp_path / "x.lb", decimals=2)
    assert file.n_bytes - file.bound / 8 < FIXED + 0.02 * file.bound / 8
    same(lowerbound.decompress(tmp_path / "x.lb", model), given)


def test_a_frame_of_numbers_has_its_columns_and_its_index(tmp_path):
    frames = [pd.DataFrame(song, columns=list("abcdef")) for song in SONGS[:20]]
    frames[3].index = [5, 7, 8, *range(20, 17 + len(frames[3]))][: len(frames[3])]
    model = fitted("frames", frames, latent_dim=0)
    model.compress(frames, tmp_path / "x.lb")
    for a, b in zip(lowerbound.decompress(tmp_path / "x.lb", model), frames, strict=True):
        pd.testing.assert_frame_equal(a, b)


def test_gaps_in_columns_that_depend_on_each_other_are_refused(tmp_path):
    songs = [np.ma.masked_array(SONGS[0], np.eye(*SONGS[0].shape)), SONGS[1]]
    with pytest.raises(NotCodableError, match="have to be observed"):
        fitted("masked").compress(songs, tmp_path / "x.lb")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lengths", [[1], [5, 5, 5], [1, 2, 1000, 3], [7, 8, 15, 16, 100_000]])
def test_lengths_take_the_bits_that_they_say(lengths):
    lengths, stack = np.array(lengths * 50), Stack()
    known = Lengths.of(lengths)
    known.push(stack, lengths)
    assert stack.n_bits == pytest.approx(known.bits, rel=0.01, abs=40)
    np.testing.assert_array_equal(known.pop(Stack(stack.words), len(lengths)), lengths)
