"""The estimator of sequences: whether it learns, units, draws, keeping, going on, refusals."""

import copy
import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tests import contract

from lowerbound import ELBO, IWAE, VAE, Adam, GaussianLikelihood, RecurrentVAE, Sequences, load
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.parameters.tables import RECURRENT_VAE_PARAMETERS
from lowerbound.storage.atomic import SavedFileError
from lowerbound.training.checkpoints import Checkpoints
from lowerbound.training.watch import Watch

RNG = np.random.default_rng(0)
BITS = [RNG.integers(2, size=(length, 2)).astype(np.uint8) for length in RNG.integers(1, 9, 60)]
REAL = [x + RNG.normal(size=x.shape) for x in BITS]


def small(latent_dim=2, **parameters):
    settings = {"hidden_size": 8, "max_epochs": 2, "random_state": 0, "objective": "elbo"}
    return RecurrentVAE(latent_dim, **(settings | parameters))


pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")  # of brief fits


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(RecurrentVAE, RECURRENT_VAE_PARAMETERS)


# learning


def test_a_markov_chain_is_learned_to_its_entropy():
    chains = np.cumsum(np.c_[RNG.integers(2, size=300), RNG.random((300, 9)) < 0.1], axis=1)[..., None] % 2
    fitted = small(0, hidden_size=16, optimizer=Adam(0.03), max_epochs=25, batch_size=40).fit(list(chains[:200]))
    found = fitted.log_likelihood(list(chains[200:]))
    entropy = -(np.log(0.5) + 9 * (0.1 * np.log(0.1) + 0.9 * np.log(0.9))) / 10
    assert found.kind == "exact"
    assert -found.per_step == pytest.approx(entropy, abs=0.06)  # of independent bits: log 2


def test_latent_variables_let_the_columns_of_a_step_depend_on_each_other():
    """A chord of four keys, all or none: one bit a step, and four under independent keys."""
    chords = [np.tile(RNG.integers(2, size=(12, 1)), (1, 4)) for _ in range(120)]
    settings = {"hidden_size": 16, "optimizer": Adam(0.03), "max_epochs": 30, "batch_size": 30}
    without, with_z = (small(D, **settings).fit(chords[:90]).log_likelihood(chords[90:]) for D in (0, 2))
    assert -without.per_step == pytest.approx(4 * np.log(2), abs=0.1)
    assert -with_z.per_step < 1.0  # of log 2 at best
    assert with_z.kind == "lower"


def test_dropout_keeps_a_model_from_learning_noise():
    x = [RNG.integers(2, size=(12, 8)) for _ in range(60)]
    settings = {"hidden_size": 32, "optimizer": Adam(0.03), "max_epochs": 30, "early_stopping": False}
    without, with_it = (small(0, dropout=rate, **settings).fit(x[:20]).log_likelihood(x[20:]) for rate in (0, 0.5))
    assert with_it.per_step > without.per_step + 0.5


def test_the_loop_knows_the_bound():
    fitted = small(max_epochs=3).fit(BITS)
    for record in fitted.history_:
        assert record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"])
    assert fitted.kl_ == pytest.approx(fitted.elbo_terms(BITS).kl.sum().item() / sum(map(len, BITS)), rel=0.2)


@pytest.mark.parametrize("length", ["given", "end"])
def test_what_a_fit_has_to_beat(length):
    """log p(x) of independent columns, and of geometric lengths where the model says them too."""
    fitted = small(0, length=length).fit(BITS)
    found = fitted._independent(fitted.fitted_.rows(BITS), fitted.fitted_.noise("judged"))
    T = np.array([len(x) for x in BITS])
    p = np.concatenate(BITS).mean(0)
    log_p = [np.where(x, np.log(p), np.log(1 - p)).sum() for x in BITS]
    ends = 1 / T.mean() if length == "end" else 1.0
    log_T = np.log(ends) + (T - 1) * np.log1p(-ends) if length == "end" else np.zeros(60)
    np.testing.assert_allclose(found, log_p + log_T, rtol=1e-5)


def test_a_posterior_that_says_nothing_is_warned_of():
    with pytest.warns(CollapsedPosteriorWarning, match="or take latent_dim=0"):
        small(objective=ELBO(kl_weight=100.0), optimizer=Adam(0.02)).fit(BITS)


# scores


@pytest.mark.parametrize("latent_dim", [0, 2])
@pytest.mark.parametrize("length", ["given", "end"])
def test_scores_agree(latent_dim, length):
    fitted = small(latent_dim, length=length).fit(BITS)
    scores, steps = fitted.score_samples(BITS), fitted.score_steps(BITS)
    assert [len(each) for each in steps] == [len(each) for each in BITS]
    np.testing.assert_allclose([each.sum() for each in steps], scores)
    np.testing.assert_allclose(fitted.score_samples(BITS[7:8]), scores[7:8], atol=1e-9)
    found = fitted.log_likelihood(BITS, 200)
    assert (found.n_rows, found.n_steps, found.length) == (60, sum(map(len, BITS)), length)
    assert found.value == pytest.approx(scores.mean(), abs=0.1)
    assert found.value * found.n_rows == pytest.approx(found.per_step * found.n_steps)
    assert str(found).startswith(("=" if latent_dim == 0 else "≥") + " -")
    assert ("lengths given" if length == "given" else "ends included") in str(found)
    assert fitted.score(BITS) == pytest.approx(scores.mean(), abs=0.1)
    assert found.to_dict()["per_step"] == found.per_step


def test_the_error_of_a_step_counts_sequences_not_steps():
    found = small(0).fit(BITS).log_likelihood(BITS)
    log_p = small(0).fit(BITS).score_samples(BITS)
    T = np.array([len(x) for x in BITS])
    mean = log_p.sum() / T.sum()
    rng = np.random.default_rng(1)
    again = [rng.integers(60, size=60) for _ in range(2000)]
    bootstrap = np.std([log_p[i].sum() / T[i].sum() for i in again])
    assert found.per_step == pytest.approx(mean)
    assert found.per_step_error == pytest.approx(bootstrap, rel=0.15)


def test_units():
    """log p(x) falls by log 1000 for each value measured in thousandths, wherever zero is put."""
    other = [1000 * x + 5 for x in REAL]
    first, second = (small(0).fit(x).score_samples(x) for x in (REAL, other))
    n_values = np.array([x.size for x in REAL])
    np.testing.assert_allclose(second, first - n_values * np.log(1000), atol=1e-3)


def test_gaps_and_constant_columns():
    x = [np.c_[each, np.full(len(each), 7.25)] for each in REAL]
    x[3] = x[3].copy()
    x[3][0] = np.nan
    x[5][-1, 1] = np.nan
    with pytest.warns(UserWarning, match=r"1 constant feature\(s\) kept out of the density: 2"):
        fitted = small().fit(x)
    scores = fitted.score_steps(x)
    assert np.isfinite(np.concatenate(scores)).all()
    assert scores[3][0] == pytest.approx(0, abs=1e-12)
    assert all((drawn[:, 2] == 7.25).all() for drawn in fitted.sample(3, lengths=4))
    assert fitted.transform(x)[3].shape == (len(x[3]), 2)


@pytest.mark.parametrize(
    "likelihood", ["gaussian", "categorical", "discretized_logistic", GaussianLikelihood("decoder")]
)
def test_other_likelihoods(likelihood):
    x = REAL if likelihood == "gaussian" or not isinstance(likelihood, str) else BITS
    fitted = small(likelihood=likelihood).fit(x)
    assert np.isfinite(fitted.score_samples(x)).all()
    assert [each.shape for each in fitted.sample(2, lengths=3)] == [(3, 2)] * 2


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float16, np.float64])
def test_types_come_back(dtype):
    fitted = small(0).fit([x.astype(dtype) for x in BITS])
    assert fitted.sample(1, lengths=2)[0].dtype == (np.float32 if dtype is np.float16 else dtype)
    np.testing.assert_array_equal(fitted.score_samples(BITS), small(0).fit(BITS).score_samples(BITS))


# draws


def test_draws_are_from_the_model_that_is_scored():
    fitted = small(0, length="end", optimizer=Adam(0.05), max_epochs=10).fit([x[:, :1] for x in BITS])
    drawn = fitted.sample(4000)
    for x in ([0], [1], [1, 0], [0, 1, 1]):
        p = np.exp(fitted.score_samples([np.array(x, np.uint8)[:, None]]))[0]
        share = np.mean([len(each) == len(x) and (each[:, 0] == x).all() for each in drawn])
        assert share == pytest.approx(p, abs=4.5 * np.sqrt(p / 4000))


def test_continuations_follow_their_prompt():
    stay = [np.full((6, 1), i % 2, np.uint8) for i in range(80)]
    fitted = small(0, hidden_size=16, optimizer=Adam(0.03), max_epochs=15).fit(stay)
    for value in (0, 1):
        drawn = fitted.sample(50, lengths=3, prompt=np.full((3, 1), value))
        assert np.mean(drawn) == pytest.approx(value, abs=0.1)


def test_draws_have_the_lengths_that_are_asked_for():
    fitted = small().fit(BITS)
    assert [x.shape for x in fitted.sample(3, lengths=[4, 1, 2])] == [(4, 2), (1, 2), (2, 2)]
    np.testing.assert_array_equal(fitted.sample(2, lengths=5), fitted.sample(2, lengths=5))
    assert not np.array_equal(fitted.sample(2, lengths=9), fitted.sample(2, lengths=9, random_state=1))
    assert fitted.sample(1, lengths=2)[0].dtype == np.uint8


def test_draws_without_an_end_are_cut_off():
    fitted = small(0, length="end").fit(BITS)
    with torch.no_grad():
        fitted.model_.ends.bias.fill_(50.0)
    with pytest.warns(UserWarning, match="2 sequences had no end after 80 steps"):
        assert [len(x) for x in fitted.sample(2)] == [80, 80]


# keeping and going on


@pytest.mark.parametrize("parameters", [{"latent_dim": 0}, {"length": "end", "objective": IWAE(3)}])
def test_what_is_saved_comes_back(tmp_path, parameters):
    fitted = small(**parameters).fit(REAL)
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert type(loaded) is RecurrentVAE
    assert loaded.get_params() == {**fitted.get_params(), "device": loaded.device}
    np.testing.assert_array_equal(loaded.score_samples(REAL), fitted.score_samples(REAL))
    asked = {} if fitted.length == "end" else {"lengths": 4}
    for mine, theirs in zip(loaded.sample(3, **asked), fitted.sample(3, **asked), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_same_seed_gives_the_same_result():
    first, second, other = (small(random_state=seed).fit(BITS).score_samples(BITS) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_list_and_an_array_give_the_same_result():
    x = RNG.normal(size=(30, 5, 2))
    np.testing.assert_array_equal(*(small().fit(each).score_samples(each) for each in (x, list(x))))
    np.testing.assert_array_equal(*(small().fit(each).score_samples(each) for each in (x, Sequences.of(x))))


class PowerCut(Watch):
    def __init__(self, step):
        self.step = step

    def on_step(self, training):
        if training.progress.objective.step == self.step:
            raise RuntimeError("power cut")


def test_a_fit_goes_on_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr("lowerbound.training.checkpoints.PART", float("inf"))
    whole = small(max_epochs=4).fit(BITS)
    for step in (2, 7):
        with pytest.raises(RuntimeError, match="power cut"):
            small(max_epochs=4).fit(BITS, checkpoint=tmp_path / "run", watch=PowerCut(step))
    rest = small(max_epochs=4).fit(BITS, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(rest.score_samples(BITS), whole.score_samples(BITS))
    assert [r["elbo"] for r in rest.history_] == [r["elbo"] for r in whole.history_]
    others = [np.concatenate(BITS[:2]), *BITS[2:], BITS[0]]
    with pytest.raises(ValueError, match="a run that differs in X:"):
        small(max_epochs=4).fit(others, checkpoint=tmp_path / "run")


def test_more_passes_go_on_from_the_weights():
    fitted = small().fit(BITS)
    before = fitted.score_samples(BITS)
    fitted.partial_fit(BITS)
    assert not np.array_equal(fitted.score_samples(BITS), before)
    assert clone(fitted).get_params() == fitted.get_params()


# refusals


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"latent_dim": -1}, "latent_dim must be"),
        ({"length": "known"}, "length must be 'given' or 'end'"),
        ({"latent_dim": 0, "objective": "iwae"}, "leave objective='auto'"),
        ({"optimizer": Adam(compile=True)}, "leave compile=False"),
        ({"likelihood": GaussianLikelihood(missingness="self_masking")}, "leave missingness=None"),
    ],
)
def test_other_parameters_are_refused(parameters, named):
    with pytest.raises(ValueError, match=named):
        small(**parameters).fit(REAL)


def test_one_sequence_has_no_standard_error():
    assert str(small(0).fit(BITS).log_likelihood(BITS[:1])).count("±") == 0
    assert "(1 sequence, so no standard error, lengths given)" in str(small(0).fit(BITS).log_likelihood(BITS[:1]))


def test_refusals_of_a_fitted_model_give_no_advice_for_a_fit():
    with pytest.raises(ValueError, match="from 7 to 7; the model was fitted to such data, so give others like them"):
        small(0).fit(BITS).score_samples([np.full((4, 2), 7)])


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="sequence 1: step 1 has 1 value, and step 0 has 2"):
        small().fit([[[0, 1]], [[0, 1], [0]]])
    with pytest.raises(ValueError, match="sequence 0: step 2 has 3 values, and step 0 has 2"):
        small(0).fit(BITS).sample(1, lengths=2, prompt=[[0, 1], [1, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match="row 1 has 1 value, and row 0 has 2"):
        VAE().fit([[0, 1], [0]])
    with pytest.raises(ValueError, match="there are no sequences: the list is empty"):
        small().fit([])
    with pytest.raises(ValueError, match="there are no rows: the list is empty"):
        VAE().fit([])


def test_other_data_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        small().fit(BITS[:1])
    with pytest.raises(ValueError, match="nothing to fit"):
        small().fit([np.full((3, 1), np.nan)] * 3)
    fitted = small().fit(BITS)
    with pytest.raises(ValueError, match="steps have 3 columns, and the model was fitted to steps of 2"):
        fitted.score_samples([np.zeros((4, 3))])
    with pytest.raises(ValueError, match="needs the number of steps to draw"):
        fitted.sample(2)
    with pytest.raises(ValueError, match="one for each of 2"):
        fitted.sample(2, lengths=[1, 2, 3])
    with pytest.raises(ValueError, match="leave lengths=None"):
        small(length="end").fit(BITS).sample(2, lengths=3)
    with pytest.raises(ValueError, match="can't be given a context"):
        small().fit(BITS, context=np.arange(60))


def test_p_values_compare_values_and_not_ends():
    """At a place where one sequence ends and another goes on, log p of either would be an offset between them."""
    fitted = small(0, length="end").fit(BITS)
    without = copy.deepcopy(fitted)
    without.model_.ends = None
    np.testing.assert_allclose(fitted.p_values(BITS[:5], BITS), without.p_values(BITS[:5], BITS))
    for found, exact in zip(fitted._sums(BITS, 1), without.score_steps(BITS), strict=True):
        np.testing.assert_allclose(found, np.cumsum(exact))
    assert not np.allclose(fitted.score_samples(BITS), without.score_samples(BITS))


def test_models_of_numbers_of_an_earlier_version_say_that_they_must_be_fitted_again(tmp_path):
    small().fit(REAL).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    record = json.loads(path.read_text())
    assert record["fitted"].pop("reads_last_") is True
    path.write_text(json.dumps(record))
    with pytest.raises(SavedFileError, match="fit it again"):
        load(tmp_path / "model")
