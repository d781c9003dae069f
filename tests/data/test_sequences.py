"""Sequences of unequal lengths: the ways to give them, and batches that hold each of them once."""

import numpy as np
import pytest
import torch

from lowerbound import DataError, Sequences
from lowerbound.data.batches import RowsInMemory
from lowerbound.data.sequences import SequenceRows
from lowerbound.distributions.noise import make_generator

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 40, 203)
LIST = [RNG.normal(size=(length, 2)) for length in LENGTHS]


def rows(sequences=None, gaps=None):
    sequences = Sequences.of(LIST) if sequences is None else sequences
    mask, observed = torch.ones(2, dtype=torch.bool), None if gaps is None else torch.from_numpy(~gaps)
    raw = torch.from_numpy(np.ma.getdata(sequences.steps))
    steps = RowsInMemory(raw, lambda raw, noise: raw, mask, torch.device("cpu"), observed)
    return SequenceRows.of(steps, sequences)


def test_a_list_an_array_and_a_file_are_the_same(tmp_path):
    given = Sequences.of(LIST)
    padded = np.full((len(LIST), 40, 2), np.nan)
    for i, x in enumerate(LIST):
        padded[i, : len(x)] = x
    np.savez(tmp_path / "x.npz", train=np.concatenate(LIST), train_len=LENGTHS)
    for other in (Sequences.padded(padded, LENGTHS), Sequences.load(tmp_path / "x.npz", "train")):
        np.testing.assert_array_equal(other.steps, given.steps)
        np.testing.assert_array_equal(other.lengths, given.lengths)
    for mine, theirs in zip(given, LIST, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(Sequences.of(np.zeros((3, 4, 2))).lengths, [4, 4, 4])


def test_gaps_are_masked():
    x = [np.array([[0.0, np.nan], [1, 0]]), np.ma.masked_array([[1.0, 1.0]], [[True, False]])]
    np.testing.assert_array_equal(np.ma.getmaskarray(Sequences.of(x).steps), [[0, 1], [0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Sequences.of([np.zeros(3)]), r"sequence 0 has shape \(3,\); give \(steps, columns\)"),
        (
            lambda: Sequences.of([np.zeros((3, 2)), np.zeros((3, 1))]),
            r"sequence 1 has shape \(3, 1\); give \(steps, 2\)",
        ),
        (lambda: Sequences.of([np.zeros((3, 2)), np.zeros((0, 2))]), "sequence 1 has shape"),
        (lambda: Sequences.of("abc"), "a list of arrays"),
        (lambda: Sequences.of([np.array([["a"]])]), "are numbers"),
        (lambda: Sequences(np.zeros((5, 2)), [2, 2]), "add up to 4 steps, and there are 5"),
        (lambda: Sequences(np.zeros((5, 2)), [5, 0]), "at least 1"),
        (lambda: Sequences.of([np.zeros((2, 2)), np.array([[0, 0], [0, np.inf]])]), "in sequence 1, step 1, column 1"),
        (lambda: Sequences.padded(np.zeros((2, 3, 1)), [3, 4]), "at most 3"),
        (lambda: Sequences.of(np.array([[[1.0], [2]], [[1], [np.nan]]])), "end with NaN, the first is 1"),
    ],
)
def test_other_data_are_refused(make, named):
    with pytest.raises(DataError, match=named):
        make()


def test_a_file_without_the_array_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", train=np.zeros((3, 2)))
    with pytest.raises(DataError, match="no array 'train_len'; it has train"):
        Sequences.load(tmp_path / "x.npz", "train")


@pytest.mark.parametrize("shuffled", [True, False])
def test_an_epoch_has_each_sequence_once(shuffled):
    order = make_generator(0, "order") if shuffled else None
    batches = list(rows().batches(16, order=order))
    index = torch.cat([batch.index for batch in batches])
    assert sorted(index.tolist()) == list(range(len(LIST)))
    assert (index.tolist() == list(range(len(LIST)))) is not shuffled
    assert len(batches) == -(-len(LIST) // 16)
    for batch in batches:
        for x, mask, i in zip(batch.x, batch.mask, batch.index, strict=True):
            np.testing.assert_array_equal(x[: LENGTHS[i]], LIST[i])
            assert mask[: LENGTHS[i]].all()
            assert not mask[LENGTHS[i] :].any()
            assert not x[LENGTHS[i] :].any()
        assert batch.complete == batch.mask.all()


def test_sequences_of_like_lengths_are_batched():
    padded = sum(batch.mask[..., 0].numel() for batch in rows().batches(16, order=make_generator(0, "order")))
    assert padded < 1.15 * LENGTHS.sum()
    without_sorting = sum(batch.mask[..., 0].numel() for batch in rows().batches(16))
    assert without_sorting > 1.5 * LENGTHS.sum()


def test_the_same_generator_gives_the_same_batches_also_from_the_middle():
    def epoch(start):
        return [batch.index.tolist() for batch in rows().batches(16, order=make_generator(0, "order"), start=start)]

    assert epoch(0) == epoch(0)
    assert epoch(5) == epoch(0)[5:]
    two = make_generator(0, "order")
    assert [b.index.tolist() for b in rows().batches(16, order=two)] != [
        b.index.tolist() for b in rows().batches(16, order=two)
    ]


def test_gaps_are_within_the_length_only():
    gaps = np.zeros((int(LENGTHS.sum()), 2), dtype=bool)
    gaps[:7] = True  # all of the first steps, so that a length can't be told from the mask alone
    batch = next(rows(gaps=gaps).batches(8))
    within = torch.arange(batch.x.shape[1]) < torch.from_numpy(LENGTHS[:8, None])
    assert torch.equal((batch.mask | batch.missing).any(-1), within)
    assert batch.missing.sum() == 14
    assert not batch.complete


def test_a_split_holds_out_whole_sequences():
    fit, held_out = rows().split(0.2, make_generator(0, "split"))
    assert (len(fit), len(held_out)) == (162, 41)
    assert sorted(torch.cat([fit.starts, held_out.starts]).tolist()) == rows().starts.tolist()


def test_the_steps_of_some_sequences_as_rows():
    flat = rows().subset(torch.tensor([5, 0, 9])).flat()
    np.testing.assert_array_equal(flat.raw, np.concatenate([LIST[5], LIST[0], LIST[9]]))
