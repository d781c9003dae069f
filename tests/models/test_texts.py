"""The model of texts: probabilities add up to 1, tokens are given those before them, padding changes nothing."""

import itertools
import math

import numpy as np
import pytest
import torch

from lowerbound.assembly.texts import assemble_texts
from lowerbound.core import Objective
from lowerbound.data.context import ContextSchema
from lowerbound.data.texts import TextContext, TextSchema
from lowerbound.data.tokens import CODE_POINTS
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.tasks.writing import Choice, latents, written

CPU = torch.device("cpu")
SCHEMA = TextSchema.infer(["ab", "ba", "a", "abc", "abc"], "characters")
K = SCHEMA.vocabulary.n_tokens  # 3; 3 is the end, 4 is unknown
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def made(latent_dim, context=None, dropout=0.0):
    """A model whose probabilities depend on all that they may depend on, and its posterior."""
    model, posterior = assemble_texts(SCHEMA, context, latent_dim, 8, dropout, make_generator(0, "weights"))
    with torch.no_grad():
        for weight in (*model.parameters(), *posterior.parameters()):
            weight += 0.3 * torch.randn(weight.shape, generator=make_generator(len(weight), "test"))
    return model.double().eval(), posterior.double().eval()


def rows_of(tokens, *, ends=True, context=None):
    return SCHEMA.rows_of(tokens, CPU, context, ends=ends)


def batch_of(tokens, *, ends=True, context=None):
    return next(rows_of(tokens, ends=ends, context=context).batches(1000))


def quadrature(model, batch):
    """p(x) = ∫ N(z; 0, 1) p(x|z) dz for one latent variable."""
    z = torch.from_numpy(NODES)[:, None, None].expand(-1, len(batch.x), 1)
    with torch.no_grad():
        p = model.log_px(batch, z).exp()
    return (torch.from_numpy(WEIGHTS / WEIGHTS.sum())[:, None] * p).sum(0)


def probabilities(model, batch):
    with torch.no_grad():
        return quadrature(model, batch) if model.latent_dim else model.log_prob(batch).exp()


@pytest.mark.parametrize("latent_dim", [0, 1])
def test_all_strings_together_have_probability_1(latent_dim):
    model, _ = made(latent_dim)
    assert model.log_known < 0
    symbols = [*range(K), K + 1]
    n_of_kind = {K + 1: float(CODE_POINTS - K)}
    total = 0.0
    for length, ends in ((0, True), (1, True), (2, True), (3, True), (4, False)):
        strings = [list(each) for each in itertools.product(symbols, repeat=length)]
        count = torch.tensor(
            [math.prod(n_of_kind.get(s, 1.0) for s in string) for string in strings], dtype=torch.float64
        )
        total += float((count * probabilities(model, batch_of(strings, ends=ends))).sum())
    assert total == pytest.approx(1, abs=1e-9)


def test_importance_weights_agree_with_quadrature():
    model, posterior = made(1)
    with torch.no_grad():
        posterior.posterior.encoder.network.bias.zero_()  # a q that is wide enough for few samples
    tokens = [[0], [1, 0, 2], [], [0, 0, 0, 1]]
    on = Evaluation(model, posterior, rows_of(tokens), Noise(make_generator(0, "test")))
    log_p, _ = importance_weighted(on, 4000)
    torch.testing.assert_close(log_p, quadrature(model, batch_of(tokens)).log(), rtol=0, atol=0.03)


@pytest.mark.parametrize("latent_dim", [0, 2])
def test_padding_and_neighbors_change_nothing(latent_dim):
    model, posterior = made(latent_dim)
    tokens = [[0], [1, 0, 2, 1, 1, 0, 2], [], [0, 4, 0, 1]]
    z = torch.ones(1, 4, latent_dim, dtype=torch.float64)
    with torch.no_grad():
        together, q = model.log_px(batch_of(tokens), z)[0], posterior(batch_of(tokens))
        for i, each in enumerate(tokens):
            alone = batch_of([each])
            torch.testing.assert_close(model.log_px(alone, z[:, :1])[0], together[i : i + 1], rtol=0, atol=1e-12)
            torch.testing.assert_close(posterior(alone).mean[0], q.mean[i], rtol=0, atol=1e-12, check_dtype=False)


def test_a_token_moves_no_conditional_at_or_before_it():
    model, _ = made(2)
    z = torch.zeros(1, 1, 2, dtype=torch.float64)
    first, second = ([0, 1, 0, 1], [0, 1, 2, 1])
    with torch.no_grad():
        a, b = (model.log_p_of_tokens(batch_of([tokens]), z)[0, 0] for tokens in (first, second))
    torch.testing.assert_close(a[:2], b[:2], rtol=0, atol=0)
    assert (a[3:] != b[3:]).all()


def test_contexts_of_text_are_read_within_their_length():
    context = TextContext.infer(["ab", "b"], "characters")
    model, posterior = made(2, context)
    coded = torch.from_numpy(context.encode(["b", "abab"], 2))
    alone = torch.from_numpy(context.encode(["b"], 1))
    z = torch.ones(1, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        both, one = batch_of([[0, 1], [0, 1]], context=coded), batch_of([[0, 1]], context=alone)
        log_p = model.log_px(both, z)[0]
        torch.testing.assert_close(model.log_px(one, z[:, :1])[0], log_p[:1], rtol=0, atol=1e-12)
        torch.testing.assert_close(posterior(one).mean[0], posterior(both).mean[0], rtol=0, atol=1e-12)
    assert abs(log_p[0] - log_p[1]) > 1e-3
    assert (posterior(both).mean[0] != posterior(both).mean[1]).all()
    assert (model.prior_of(both).mean[0] != model.prior_of(both).mean[1]).all()


def test_contexts_of_numbers_are_features():
    context = ContextSchema.infer(np.array([0, 1, 1]))
    model, _ = made(1, context)
    numbers = torch.from_numpy(context.encode(np.array([0, 1]), 2)).double()
    batch = batch_of([[0, 1], [0, 1]], context=numbers)
    with torch.no_grad():
        log_p = model.log_px(batch, torch.ones(1, 2, 1, dtype=torch.float64))[0]
    assert abs(log_p[0] - log_p[1]) > 1e-3


def test_tokens_are_hidden_in_training_alone():
    model, posterior = made(2, dropout=1.0)
    objective = Objective(lambda draw, state: -draw.log_px.mean(0))

    def log_p(tokens):
        noise = Noise(make_generator(0, "test"))
        with torch.no_grad():
            return model.draw(batch_of([tokens]), lambda *_: q, objective, noise).log_px

    q = posterior(batch_of([[0, 1, 2]]))
    assert log_p([0, 1, 2]) == model.log_px(batch_of([[0, 1, 2]]), q.rsample((1,), Noise(make_generator(0, "test"))))
    model.train()
    unread = model.log_px(batch_of([[4, 4, 2]]), q.rsample((1,), Noise(make_generator(0, "test"))))
    hidden = log_p([0, 1, 2])
    assert hidden != unread  # the tokens themselves are scored
    z = q.rsample((1,), Noise(make_generator(0, "test")))
    last = model.log_p_of_tokens(batch_of([[4, 4, 4]]), z)[0, 0, 3]
    model.hidden = torch.ones(1, 4, dtype=torch.bool)
    assert model.log_p_of_tokens(batch_of([[0, 1, 2]]), z)[0, 0, 3] == last


@pytest.mark.parametrize("latent_dim", [0, 1])
@pytest.mark.parametrize("beginning", [[], [1, 0]])
def test_draws_have_the_probabilities_of_the_model(latent_dim, beginning):
    model, posterior = made(latent_dim)
    noise = Noise(make_generator(1, "test"))
    begun = batch_of([beginning], ends=False) if beginning else None
    n = 6000
    z = latents(model, posterior, None, begun, noise)(n)
    drawn, _ = written(model, z, None, beginning, 30, Choice(), noise)
    strings = [[], [0], [1], [0, 1], [2, 2]]
    p = probabilities(model, batch_of([[*beginning, *each] for each in strings])).numpy()
    p = p / (probabilities(model, begun).numpy() if beginning else 1)
    p = p * np.exp(-model.log_known * np.array([len(each) + 1 for each in strings]))  # unknown ones aren't drawn
    found = np.array([drawn.count(each) for each in strings]) / n
    error = np.sqrt(p * (1 - p) / n)
    assert (abs(found - p) < 4 * error + 0.01 * bool(beginning and latent_dim)).all()


def test_ways_to_choose_a_token():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(4000, -1)
    noise = Noise(make_generator(0, "test"))

    def shares(choice):
        return torch.bincount(choice(logits, noise), minlength=4) / 4000

    torch.testing.assert_close(shares(Choice()), torch.tensor([0.5, 0.3, 0.15, 0.05]), rtol=0, atol=0.03)
    torch.testing.assert_close(shares(Choice(top_p=0.8)), torch.tensor([0.625, 0.375, 0, 0]), rtol=0, atol=0.03)
    cold = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    torch.testing.assert_close(shares(Choice(0.5)), cold / cold.sum(), rtol=0, atol=0.03)
    assert shares(Choice(0)).tolist() == [1, 0, 0, 0]
