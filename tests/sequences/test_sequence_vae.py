"""The estimator of texts: scores, draws, codes, contexts, saving, going on, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from lowerbound import (
    Adam,
    CollapsedPosteriorWarning,
    Continuation,
    SequenceVAE,
    UnreliableEstimateWarning,
    load,
)
from lowerbound.models.texts import TextModel
from lowerbound.sequences import sequence_vae
from lowerbound.training.watch import Watch

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.UnreliableEstimateWarning")

NAMES = ["anna", "anne", "hanna", "otto", "ottilie", ""] * 20
FIRST = [name[:1] for name in NAMES]
OPTIONS = {"hidden_size": 16, "max_epochs": 12, "optimizer": Adam(0.02), "random_state": 0}


@pytest.fixture(scope="module")
def vae():
    return SequenceVAE(2, **OPTIONS).fit(NAMES)


@pytest.fixture(scope="module")
def exact():
    return SequenceVAE(0, **OPTIONS).fit(NAMES)


@pytest.fixture(scope="module")
def given():
    return SequenceVAE(2, **OPTIONS).fit(NAMES, context=FIRST)


def test_estimates_agree_with_each_other(vae, exact):
    for model in (vae, exact):
        found = model.log_likelihood(NAMES, 200)
        assert found.value == pytest.approx(model.score_samples(NAMES, 200).mean(), abs=0.2)
        assert found.n_tokens == found.n_characters == found.n_bytes == sum(map(len, NAMES)) + len(NAMES)
        assert found.per_token == pytest.approx(found.value * found.n_rows / found.n_tokens)
        assert found.perplexity == pytest.approx(np.exp(-found.per_token))
        assert found.bits_per_byte == pytest.approx(-found.per_token / np.log(2))
        assert found.to_dict()["perplexity"] == found.perplexity
    assert (vae.log_likelihood(NAMES, 100).kind, exact.log_likelihood(NAMES).kind) == ("lower", "exact")
    assert "ends included" in str(exact.log_likelihood(NAMES))
    assert vae.elbo_terms(NAMES).elbo.mean() < vae.score(NAMES) + 0.1
    assert exact.log_likelihood(NAMES).standard_error > 0


def test_few_weights_are_told(vae):
    with pytest.warns(UnreliableEstimateWarning, match="of 20 importance samples a text only"):
        vae.log_likelihood(NAMES, 20)


def test_bytes_count_bytes():
    model = SequenceVAE(0, tokens="bytes", **{**OPTIONS, "max_epochs": 1}).fit(["é", "日本"] * 5)
    found = model.log_likelihood(["日本", "e"])
    assert (found.n_tokens, found.n_characters, found.n_bytes) == (9, 5, 9)


def test_steps_add_up(exact, vae):
    steps = exact.score_steps(NAMES[:6])
    assert [len(each) for each in steps] == [len(name) + 1 for name in NAMES[:6]]
    np.testing.assert_allclose([each.sum() for each in steps], exact.score_samples(NAMES[:6]), rtol=1e-12)
    with pytest.raises(ValueError, match="latent_dim=0 for score_steps"):
        vae.score_steps(NAMES)


def test_a_score_depends_on_its_text_alone(vae):
    alone = [vae.score_samples([name])[0] for name in NAMES[:6]]
    np.testing.assert_allclose(vae.score_samples([*NAMES[:6], "a" * 40])[:6], alone, rtol=1e-9)


def test_an_unseen_character_has_a_small_probability(exact):
    scores = exact.score_samples(["anna", "anña", "an☃a"])
    assert scores[1] == scores[2] > -100
    assert scores[1] < scores[0]


def test_draws_are_the_same_with_the_same_seed(vae):
    assert vae.sample(5) == vae.sample(5)
    assert vae.sample(5, random_state=1) != vae.sample(5)
    assert all(isinstance(text, str) for text in vae.sample(5))


def test_different_continuations_with_their_probabilities(exact, vae):
    found = exact.sample(3, prompt="ann", distinct=True)
    assert len({each.text for each in found}) == 3
    assert all(isinstance(each, Continuation) for each in found)
    beginning = exact.score_steps(["ann"])[0][:3].sum()
    for each in found:
        assert each.log_p == pytest.approx(exact.score_samples(["ann" + each.text])[0] - beginning)
    assert [each.log_p for each in found] == sorted((each.log_p for each in found), reverse=True)
    assert sorted(each.n_draws for each in found)[0] == 1
    with_z = vae.sample(3, prompt="ann", distinct=True, random_state=1)
    assert sum(np.exp(each.log_p) for each in with_z) < 1.05
    cold = {each.text: each.log_p for each in exact.sample(2, distinct=True, temperature=0.5, top_p=0.9)}
    np.testing.assert_allclose(list(cold.values()), exact.score_samples(list(cold)), rtol=1e-9)


def test_fewer_than_asked_for_with_a_warning(exact):
    with pytest.warns(UserWarning, match="200 draws had only 1 different"):
        assert len(exact.sample(2, distinct=True, temperature=0)) == 1


@pytest.mark.filterwarnings("ignore:.*had no end")
def test_codes_and_texts(vae):
    codes = vae.transform(["anna", "otto"])
    assert codes.shape == (2, 2)
    assert vae.reconstruct(["anna", "otto"]) == vae.decode(codes)
    between = vae.interpolate("anna", "otto", 4)
    assert (between[0], between[-1], len(between)) == (*vae.decode(codes), 4)
    assert vae.decode(codes, mode="sample", random_state=1) == vae.decode(codes, mode="sample", random_state=1)
    information = vae.mutual_information(NAMES)
    assert information.value <= np.log(len(NAMES))


def test_what_needs_latent_variables(exact):
    for use in (exact.transform, exact.reconstruct, exact.mutual_information):
        with pytest.raises(ValueError, match="latent_dim=0 has no latent variables"):
            use(NAMES)


def test_information_given_a_context_of_a_model_that_writes_no_end(monkeypatch):
    """Its texts are cut off at the longest that was fitted: time and memory are bounded."""
    model = SequenceVAE(2, **{**OPTIONS, "max_epochs": 1}).fit(NAMES, context=FIRST)
    with torch.no_grad():
        model.model_.decoder.output.bias[-1] = -100.0
    widths, honest = [], TextModel.log_px
    monkeypatch.setattr(TextModel, "log_px", lambda self, x, z: widths.append(x.x.shape[1]) or honest(self, x, z))
    found = model.mutual_information(NAMES, 20, context=FIRST)
    assert max(widths) == len("ottilie") + 1
    assert np.isfinite(found.value)


def test_given_a_context(given, vae):
    assert given.given(FIRST).log_likelihood(NAMES, 64).value > vae.log_likelihood(NAMES, 64).value + 0.3
    starts = [text[:1] for text in given.given("o").sample(40)]
    assert starts.count("o") > 2 * starts.count("a")
    np.testing.assert_array_equal(given.score_samples(NAMES, context=FIRST), given.given(FIRST).score_samples(NAMES))
    assert given.score_samples(["anna"], context="a")[0] > given.score_samples(["anna"], context="o")[0]
    assert len(given.sample(2, prompt="a", context="a", distinct=True)) == 2
    information, kl = given.mutual_information(NAMES, context=FIRST), given.elbo_terms(NAMES, context=FIRST).kl
    assert information.n_rows == min(100, len(NAMES))
    assert abs(information.value) < kl.sum(-1).mean().item() + 4 * information.standard_error
    assert information == given.mutual_information(NAMES, context=FIRST)
    with pytest.raises(ValueError, match="use given"):
        given.sample(2)
    with pytest.raises(ValueError, match="without a context"):
        vae.given("a")


def test_given_columns():
    frame = pd.DataFrame({"length": [float(len(name)) for name in NAMES], "kind": [name[:1] for name in NAMES]})
    model = SequenceVAE(0, **OPTIONS).fit(NAMES, context=frame)
    one = frame[:1]
    assert len(model.given(one).sample(3)) == 3
    assert model.score_samples(["anna"], context=one)[0] > model.score_samples(["otto"], context=one)[0]


@pytest.mark.parametrize("name", ["vae", "exact", "given"])
def test_saved_and_loaded(name, request, tmp_path):
    model = request.getfixturevalue(name)
    context = "a" if name == "given" else None
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.score_samples(NAMES[:6], context=context), model.score_samples(NAMES[:6], context=context)
    )
    assert again.sample(3, context=context) == model.sample(3, context=context)
    assert again.get_params()["latent_dim"] == model.latent_dim


def test_same_seed_same_result(vae):
    again = clone(vae).fit(NAMES)
    np.testing.assert_array_equal(again.score_samples(NAMES[:6]), vae.score_samples(NAMES[:6]))


class Stop(Watch):
    """Stop after some steps."""

    def __init__(self, n):
        self.n = n

    def on_step(self, training):
        self.n -= 1

    def should_stop(self):
        return self.n <= 0


def test_a_fit_that_was_cut_short_goes_on_as_if_it_had_not_been(vae, tmp_path):
    clone(vae).fit(NAMES, checkpoint=tmp_path, watch=Stop(17))
    again = clone(vae).fit(NAMES, checkpoint=tmp_path)
    np.testing.assert_array_equal(again.score_samples(NAMES[:6]), vae.score_samples(NAMES[:6]))
    with pytest.raises(ValueError, match="X"):
        clone(vae).fit([*NAMES[1:], "new"], checkpoint=tmp_path)


def test_warm_start_goes_on_from_the_weights(vae):
    again = clone(vae).set_params(warm_start=True).fit(NAMES)
    before = again.score(NAMES)
    assert again.fit(NAMES).score(NAMES) > before
    with pytest.raises(ValueError, match="hidden_size"):
        again.set_params(hidden_size=8).fit(NAMES)


def test_collapse_is_told(monkeypatch):
    monkeypatch.setattr(sequence_vae, "LEAST_KL", 1000.0)
    with pytest.warns(CollapsedPosteriorWarning, match="of a text carry"):
        SequenceVAE(2, **{**OPTIONS, "max_epochs": 1}).fit(NAMES)


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({}, ["one"], "there is one text"),
        ({}, ["", ""], "all texts are empty"),
        ({"latent_dim": 0, "objective": "iwae"}, NAMES, "latent_dim=0 has no latent variables and no bound"),
        ({"optimizer": Adam(compile=True)}, NAMES, "compile=False"),
        ({"tokens": "words"}, NAMES, "tokens must be"),
    ],
)
def test_what_cannot_be_fitted(options, X, message):
    with pytest.raises(ValueError, match=message):
        SequenceVAE(**options).fit(X)


def test_arguments_out_of_range(vae):
    for arguments in ({"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match="temperature must be"):
            vae.sample(2, **arguments)
    with pytest.raises(ValueError, match="mode must be"):
        vae.decode([[0.0, 0.0]], mode="beam")
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        vae.decode([[0.0]])


def test_byte_pairs(tmp_path):
    pytest.importorskip("tokenizers")
    model = SequenceVAE(0, tokens="bpe", **{**OPTIONS, "max_epochs": 2}).fit(NAMES)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(["anna", "☃"]), model.score_samples(["anna", "☃"]))
    found = model.log_likelihood(["anna", "☃"])
    assert (found.n_characters, found.n_bytes) == (7, 9)
