"""Models of sequences and texts compared: one split, as many passes for all, and what z brings."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import RecurrentVAE, Sequences
from lowerbound.comparison import sequences as comparison
from lowerbound.comparison.comparison import NotApplicable
from lowerbound.comparison.sequences import brought_by_z, compare_sequences, split_sequences

NAMES = [a + b for a in ("an", "ot", "li", "ma", "jo") for b in ("na", "to", "", "ra")] * 2


def notes(n=20, seed=0):
    rng = np.random.default_rng(seed)
    return Sequences.of([(rng.random((int(rng.integers(3, 9)), 4)) < 0.4).astype(float) for _ in range(n)])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for kind, models in comparison.MODELS.items():
        for name, (title, make) in models.items():
            smaller = lambda case, make=make: make(case).set_params(hidden_size=8)  # noqa: E731
            monkeypatch.setitem(comparison.MODELS[kind], name, (title, smaller))


def test_whole_sequences_are_held_out():
    frame = pd.DataFrame({"a": np.arange(60.0), "b": 0.5})
    X = Sequences(frame, [4, 8] * 5, ids=np.arange(10))
    case = split_sequences(X, seed=1)
    assert (len(case.train), len(case.test)) == (8, 2)
    kept = {int(i): x["a"].tolist() for i, x in zip(X.ids, X, strict=True)}
    for part in (case.train, case.test):
        assert [x["a"].tolist() for x in part] == [kept[int(i)] for i in part.ids]
    assert sorted([*case.train.ids, *case.test.ids]) == list(range(10))
    contexts = [name[::-1] for name in NAMES]
    case = split_sequences(NAMES, contexts)
    assert case.test_context == [name[::-1] for name in case.test]
    assert case.train_context == [name[::-1] for name in case.train]
    with pytest.raises(ValueError, match="9 texts are too few"):
        split_sequences(NAMES[:9])
    with pytest.raises(ValueError, match="1 sequence is too few"):
        split_sequences(notes(1))


def test_notes_with_z_and_without():
    case = split_sequences(notes())
    said = []
    gru, masked, vae = compare_sequences(case, ("recurrent_vae", "gru", "masked"), seconds=2, say=said.append)
    assert said == ["fitting GRU without z", "fitting GRU, columns one by one", "fitting RecurrentVAE"]
    assert [each.failed for each in (gru, masked, vae)] == [False] * 3
    assert [each.log_p.kind for each in (gru, masked, vae)] == ["exact", "exact", "lower"]
    for each in (gru, masked, vae):
        assert each.log_p.value == pytest.approx(each.scores.mean())  # noise of each sequence's own in both
    assert (gru.kl, vae.latent_dim) == (None, 32)
    assert vae.kl.value >= 0
    found = brought_by_z([gru, masked, vae])
    difference = vae.scores - gru.scores
    assert found.value == pytest.approx(difference.mean())
    assert found.standard_error == pytest.approx(difference.std(ddof=1) / 2)  # of four sequences
    assert brought_by_z([masked, vae]) is None


def test_all_make_as_many_passes(monkeypatch):
    """A model that takes longer would have fewer, and seem worse."""
    fits, honest = [], RecurrentVAE.fit

    def fit(self, X, **options):
        fits.append((self.latent_dim, self.max_epochs))
        return honest(self, X, **options)

    monkeypatch.setattr(RecurrentVAE, "fit", fit)
    results = list(compare_sequences(split_sequences(notes(200)), ("gru", "recurrent_vae"), seconds=2))
    (_, a), (_, b) = fits[2:]  # after the trials
    assert a == b < 200
    assert all(any("the budget allowed" in note for note in each.notes) for each in results)


def test_texts_given_what_was_said_before():
    case = split_sequences(NAMES, [name[:1] for name in NAMES])
    gru, vae = compare_sequences(case, ("gru", "sequence_vae"), seconds=2)
    assert brought_by_z([gru, vae]).value == pytest.approx(vae.log_p.value - gru.log_p.value)
    assert vae.information.n_importance == 500  # I(x; z|c)
    assert vae.to_dict()["information"]["n_rows"] == len(case.test)
    assert "scores" not in vae.to_dict()


@pytest.mark.parametrize(
    "steps",
    [
        np.ma.masked_equal([[0, 1], [2, 1]], 2),
        pd.DataFrame({"a": [0, None], "b": [1, 1]}, dtype="Int64"),
        pd.DataFrame({"a": [True, None], "b": [1, 1]}).astype("boolean"),
        pd.DataFrame({"a": ["0", "1"], "b": ["1", "0"]}, dtype="category"),
        pd.DataFrame({"a": [0, 1], "b": [1, 0]}, dtype="category"),
    ],
)
def test_columns_that_are_not_0_and_1_are_not_taken_one_by_one(steps):
    case = split_sequences(Sequences.of([steps] * 10))
    with pytest.raises(NotApplicable):
        comparison.MODELS["sequences"]["masked"][1](case)


@pytest.mark.parametrize("dtype", [bool, "int8", "Int64", "boolean"])
def test_columns_of_0_and_1_are_taken_one_by_one(dtype):
    case = split_sequences(Sequences.of([pd.DataFrame({"a": [0, 1], "b": [1, 0]}).astype(dtype)] * 10))
    assert comparison.MODELS["sequences"]["masked"][1](case).head == "masked"


def test_a_model_that_fails_fails_alone(monkeypatch):
    def broken(case):
        raise ZeroDivisionError("no\nmore")

    monkeypatch.setitem(comparison.MODELS["sequences"], "recurrent_vae", ("RecurrentVAE", broken))
    gappy = notes()
    gappy.steps[0, 0] = np.nan
    gru, masked, vae = compare_sequences(split_sequences(gappy), ("gru", "masked", "recurrent_vae"), seconds=1)
    assert gru.log_p is not None
    assert (masked.failed, vae.failed, vae.reason) == (False, True, "no more")
    assert "without gaps" in masked.reason
    assert brought_by_z([gru, masked, vae]) is None
