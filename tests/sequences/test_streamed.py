"""Sequences whose steps stay in a file: the same fit and the same numbers as in memory, where every batch has gaps."""

import copy

import numpy as np
import pandas as pd
import pytest
from tests.sequences.test_recurrent import small

import lowerbound
from lowerbound import Sequences
from lowerbound.data import streamed_sequences
from lowerbound.data.checks import DataError

pytestmark = pytest.mark.filterwarnings(  # of brief fits
    "ignore::lowerbound.CollapsedPosteriorWarning", "ignore:.*effective sample size"
)

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 9, 60)
STEPS = {
    "bits": RNG.integers(2, size=(LENGTHS.sum(), 3)).astype(np.uint8),
    "numbers": RNG.normal(3, 2, size=(LENGTHS.sum(), 3)).astype(np.float32),
    "gaps": np.where(RNG.random((LENGTHS.sum(), 3)) < 0.1, np.nan, RNG.normal(size=(LENGTHS.sum(), 3))),
}


@pytest.fixture(params=STEPS)
def both(request, tmp_path):
    """The same sequences in a file and in memory."""
    path = tmp_path / "steps.npy"
    np.save(path, STEPS[request.param])
    return Sequences(lowerbound.stream(path), LENGTHS), Sequences(STEPS[request.param], LENGTHS)


@pytest.mark.parametrize("parameters", [{}, {"window": 3}, {"latents": "sequence"}, {"chain": True, "length": "end"}])
def test_the_fit_is_that_of_sequences_in_memory(both, parameters):
    streamed, held = both
    assert (streamed.is_streamed, held.is_streamed) == (True, False)
    a, b = (small(early_stopping=True, **parameters).fit(X) for X in both)
    assert [each["elbo"] for each in a.history_] == [each["elbo"] for each in b.history_]
    np.testing.assert_array_equal(a.score_samples(streamed), b.score_samples(held))
    np.testing.assert_array_equal(np.concatenate(a.score_steps(streamed)), np.concatenate(b.score_steps(held)))
    np.testing.assert_array_equal(a.log_likelihood(streamed, 5).value, b.log_likelihood(held, 5).value)
    for x, y in zip(a.transform(streamed), b.transform(held), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.p_values(streamed, held), b.p_values(held, held))


def test_a_checkpoint_is_of_its_sequences(both, tmp_path):
    streamed, _ = both
    small().fit(streamed, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="a run that differs in X"):
        small().fit(Sequences(streamed.steps, LENGTHS[::-1]), checkpoint=tmp_path / "c")


def test_some_of_them_are_read_into_memory(both):
    streamed, held = both
    places = np.array([7, 0, 59])
    np.testing.assert_array_equal(streamed.subset(places).steps, held.subset(places).steps)
    for x, y in zip(streamed, held, strict=True):
        np.testing.assert_array_equal(np.ma.masked_invalid(x), y)


def test_what_needs_them_in_memory_says_so(both):
    streamed, held = both
    model = small().fit(held)
    for use in (model.impute, model.explain, lambda X: model.forecast(X, 2)):
        with pytest.raises(ValueError, match=r"needs its sequences in memory: give some of them, X.subset\(places\)"):
            use(streamed)


def test_streamed_sequences_are_compressed_block_by_block(tmp_path, monkeypatch):
    from lowerbound.compression import parts

    np.save(tmp_path / "steps.npy", STEPS["bits"])
    streamed, held = Sequences(lowerbound.stream(tmp_path / "steps.npy"), LENGTHS), Sequences(STEPS["bits"], LENGTHS)
    model = small().fit(held)
    monkeypatch.setattr(parts, "BLOCK_ENTRIES", 400)
    model.compress(streamed, tmp_path / "x.lb")
    again = lowerbound.decompress(tmp_path / "x.lb", model)
    np.testing.assert_array_equal(again.steps, held.steps)
    np.testing.assert_array_equal(again.lengths, LENGTHS)


def test_rare_gaps_and_mixed_columns_of_a_slow_file(tmp_path):
    """Batches without a gap go another way through the networks, so that numbers are the same but for rounding."""
    steps = STEPS["numbers"].copy()
    steps[3, 1] = np.nan
    np.save(tmp_path / "steps.npy", steps)
    streamed, held = Sequences(lowerbound.stream(tmp_path / "steps.npy"), LENGTHS), Sequences(steps, LENGTHS)
    a, b = (small().fit(X) for X in (streamed, held))
    np.testing.assert_allclose(a.score_samples(streamed), b.score_samples(held), rtol=1e-3)
    frame = pd.DataFrame({"level": steps[:, 0].astype(float), "at": RNG.choice(["home", "out"], len(steps))})
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=50)
    with pytest.warns(UserWarning, match=r"write its numbers to an \.npy file"):
        mixed = small().fit(Sequences(lowerbound.stream(tmp_path / "x.parquet"), LENGTHS))
    other = small().fit(Sequences(frame, LENGTHS))
    np.testing.assert_allclose(
        mixed.score_samples(Sequences(frame, LENGTHS)), other.score_samples(Sequences(frame, LENGTHS))
    )


def test_few_and_parts_are_bounded_by_their_steps(monkeypatch, both):
    monkeypatch.setattr(streamed_sequences, "MOST_STEPS", 40)
    streamed, held = both
    rows = small().fit(held).fitted_.rows(streamed)
    assert len(rows.few(60)) == 40 // LENGTHS.max()
    parts = list(rows.parts(60))
    assert sum(map(len, parts)) == 60
    assert max(int(part.lengths.sum()) for part in parts) <= 40


def test_wrong_sources_are_refused(tmp_path):
    np.save(tmp_path / "steps.npy", STEPS["numbers"])
    source = lowerbound.stream(tmp_path / "steps.npy")
    with pytest.raises(DataError, match="the lengths add up to 5 steps"):
        Sequences(source, [2, 3])
    infinite = STEPS["numbers"].copy()
    infinite[4, 1] = np.inf
    np.save(tmp_path / "bad.npy", infinite)
    with pytest.raises(DataError, match="infinite"):
        small().fit(Sequences(lowerbound.stream(tmp_path / "bad.npy"), LENGTHS))
    copied = copy.copy(Sequences(source, LENGTHS))
    assert copied.is_streamed
