"""The recurrent model against what is known: sums over all strings, quadrature, factor analysis, its own past."""

import itertools

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from torch import nn

from lowerbound.assembly.sequence import assemble_recurrent, objective_of_steps
from lowerbound.core import NoPosterior, ObjectiveState
from lowerbound.data.batches import RowsInMemory
from lowerbound.data.schema import infer_schema
from lowerbound.data.sequences import SequenceRows, Sequences
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms, importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.steps import step_scores
from lowerbound.inference.objectives import iwae
from lowerbound.models.sequence import SequenceModel, by_step
from lowerbound.models.vae import Decoder, LatentModel
from lowerbound.nn.inputs import Values
from lowerbound.nn.sequence import PastGRU, dropped
from lowerbound.parameters.parts import ELBO, IWAE

BITS = np.random.default_rng(0).integers(2, size=(50, 1)).astype(np.uint8)
GAPS = np.ma.masked_array(BITS, BITS < -1)
GAPS[3] = np.ma.masked


def bits_model(latent_dim, n_bits=1, ends=True):
    """A model of bits with random weights, large ones, in float64."""
    schema = infer_schema(np.ma.concatenate([GAPS] * n_bits, axis=1), layout="features")
    made = assemble_recurrent(schema, "auto", latent_dim, 5, 2.5 if ends else None, 0.0, make_generator(0, "weights"))
    with torch.no_grad():
        for i, weight in enumerate(p for part in made for p in part.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=make_generator(i, "test")) * 0.7)
    return made[0].double(), made[1].double()


def rows_of(sequences):
    sequences = Sequences.of(sequences)
    raw = torch.from_numpy(np.ma.getdata(sequences.steps)).double()
    gaps = np.ma.getmaskarray(sequences.steps)
    steps = RowsInMemory(
        raw, lambda raw, noise: raw, torch.ones(raw.shape[1], dtype=torch.bool), torch.device("cpu"),
        torch.from_numpy(~gaps) if gaps.any() else None,
    )  # fmt: skip
    return SequenceRows.of(steps, sequences)


def on(model, posterior, sequences, shared=False):
    return Evaluation(model, posterior, rows_of(sequences), Noise(make_generator(0, "test"), shared))


def by_quadrature(model, batch):
    """log p(x_t | x_<t) of one latent variable, (N,), with Gauss-Hermite nodes of p(z|d)."""
    steps = model.steps(batch)
    prior = model.step.prior_of(steps.batch)
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(80))
    z = prior.mean + prior.scale * nodes[:, None, None]
    log_p = model.step.log_px(steps.batch, z) + (weights / weights.sum()).log()[:, None]
    return log_p.logsumexp(0) + steps.log_length


def scores(model, posterior, sequences, latent_dim):
    """log p(x_t | x_<t) in float64, an array for each sequence."""
    if latent_dim == 0:
        return [s.numpy() for s in step_scores(on(model, posterior, sequences), 1).log_p.split([*map(len, sequences)])]
    with torch.no_grad():
        return [by_quadrature(model, next(rows_of([x]).batches(1))).numpy() for x in sequences]


def strings(length, n_bits=1):
    return [np.array(s, float).reshape(length, n_bits) for s in itertools.product([0, 1], repeat=length * n_bits)]


@pytest.mark.parametrize("latent_dim", [0, 1])
def test_all_strings_together_have_mass_one(latent_dim):
    """Those that end after at most three steps, and those that go on after the third."""
    model, posterior = bits_model(latent_dim)
    with torch.no_grad():
        model.ends.bias.fill_(2.0)
    ended = [s for length in (1, 2, 3) for s in strings(length)]
    longer = [np.append(s, [[0.0]], 0) for s in strings(3)]
    mass = sum(np.exp(s.sum()) for s in scores(model, posterior, ended, latent_dim))
    more = sum(np.exp(s[:3].sum()) for s in scores(model, posterior, longer, latent_dim))
    assert mass + more == pytest.approx(1, abs=1e-6)
    assert 0.05 < more < 0.95


@pytest.mark.parametrize("latent_dim", [0, 1])
def test_a_gap_is_summed_out(latent_dim):
    model, posterior = bits_model(latent_dim, 2, ends=False)
    past = np.array([[0.0, 1], [1, 1], [0, 0]])

    def last(x):
        return scores(model, posterior, [np.append(past, [x], 0)], latent_dim)[0][-1]

    assert last([1, np.nan]) == pytest.approx(np.logaddexp(last([1, 0]), last([1, 1])), abs=1e-9)
    assert last([np.nan, np.nan]) == pytest.approx(0, abs=1e-9)


def test_a_step_of_which_nothing_is_seen_has_the_prior():
    model, posterior = bits_model(2, ends=False)
    x = [np.array([[0.0], [np.nan], [1]])]
    steps = model.steps(next(rows_of(x).batches(1)))
    q, p = posterior(steps.batch), model.step.prior_of(steps.batch)
    same = (q.mean == p.mean).all(1) & (q.log_scale == p.log_scale).all(1)
    assert same.tolist() == [False, True, False]
    assert step_scores(on(model, posterior, x), 3).log_p[1].item() == pytest.approx(0, abs=1e-12)


def test_the_posterior_is_relative_to_the_prior():
    """μ_q = μ_p + σ_p Δ and σ_q = σ_p ρ, so that moving and stretching the prior moves and stretches q."""
    model, posterior = bits_model(2, 2)
    batch = model.steps(next(rows_of([np.array([[0.0, 1], [1, 1]])]).batches(1))).batch
    p, before = model.step.prior_of(batch), posterior(batch)
    with torch.no_grad():
        bias = model.step.learned_prior.layers[-1].bias
        bias += torch.tensor([3, -2, np.log(5), np.log(0.1)])
    after, scale = posterior(batch), torch.tensor([5, 0.1])
    delta = (before.mean - p.mean) / p.scale
    torch.testing.assert_close(after.mean, p.mean + torch.tensor([3, -2]) + scale * p.scale * delta)
    torch.testing.assert_close(after.scale, scale * before.scale)


def test_a_gap_is_no_zero():
    model, posterior = bits_model(0, ends=False)
    zero, gap = (step_scores(on(model, posterior, [np.array([[0.0], [x], [1]])]), 1).log_p for x in (0.0, np.nan))
    assert zero[0] == gap[0]
    assert not torch.isclose(zero[2], gap[2])


def test_ends_are_told_from_going_on():
    """A bias that says "goes on" makes what ends improbable."""
    model, posterior = bits_model(0)
    x = [np.zeros((3, 1))]
    before = step_scores(on(model, posterior, x), 1).log_p
    with torch.no_grad():
        model.ends.bias += 20
    after = step_scores(on(model, posterior, x), 1).log_p
    assert (after[:2] > before[:2]).all()
    assert after[2] < before[2] - 10


def test_bound_below_weighted_estimate_below_log_p():
    model, posterior = bits_model(1, 3)
    x = [np.tile(s, (1, 3)) for s in strings(4)]
    exact = np.array([s.sum() for s in scores(model, posterior, x, 1)])
    elbo = elbo_terms(on(model, posterior, x), 50).elbo.numpy()
    few, many = (step_scores(on(model, posterior, x), K).of_sequences().numpy() for K in (20, 4000))
    assert elbo.mean() < few.mean() - 0.05
    assert few.mean() < exact.mean() - 0.01
    assert many == pytest.approx(exact, abs=0.2)
    assert many.mean() == pytest.approx(exact.mean(), abs=0.03)


@pytest.mark.parametrize("latent_dim", [0, 2])
def test_a_sequence_has_one_score_whatever_it_is_batched_with(latent_dim):
    model, posterior = bits_model(latent_dim, 2)
    rng = np.random.default_rng(1)
    x = [rng.integers(2, size=(length, 2)).astype(float) for length in (1, 9, 4, 2, 7)]
    x[2][1, 0] = np.nan
    together = step_scores(on(model, posterior, x, shared=True), 20).of_sequences()
    alone = [step_scores(on(model, posterior, [each], shared=True), 20).of_sequences()[0].item() for each in x]
    assert together.tolist() == pytest.approx(alone, abs=1e-10)


@pytest.mark.parametrize("latent_dim", [0, 2])
def test_a_step_changes_nothing_at_or_before_the_steps_before_it(latent_dim):
    model, posterior = bits_model(latent_dim, 2)
    x = np.random.default_rng(1).integers(2, size=(8, 2)).astype(float)
    other = x.copy()
    other[5] = 1 - other[5]
    first, second = (step_scores(on(model, posterior, [each], shared=True), 20).log_p for each in (x, other))
    assert torch.equal(first[:5], second[:5])
    assert not torch.isclose(first[5:], second[5:]).any()
    d, e = (model.past(b) for b in (next(rows_of([each]).batches(1)) for each in (x, other)))
    assert torch.equal(d[:, :6], e[:, :6])
    assert not torch.isclose(d[:, 6:], e[:, 6:]).all()


# with the recurrence switched off every step is a draw of factor analysis


class IgnoringContext(nn.Module):
    """z and d → Wz + b."""

    def __init__(self):
        super().__init__()
        affine = toy.model().decoder.network
        self.weight, self.bias = affine.weight, affine.bias

    def forward(self, z):
        return (z[:, : toy.D] @ self.weight.T + self.bias)[:, None]


def factor_analysis():
    scale = Scale("fixed", torch.tensor(toy.SIGMA, dtype=torch.float64), torch.zeros(()))
    step = LatentModel(Decoder(IgnoringContext(), NormalHead(scale)), toy.D, n_context=4)
    return SequenceModel(PastGRU(Values(), toy.F, 4, make_generator(0, "weights")), step).double()


def test_steps_of_factor_analysis_are_exact_with_the_exact_posterior():
    model = factor_analysis()
    x = [toy.numbers(length, toy.F, seed=length).numpy() for length in (3, 250)]
    found = step_scores(on(model, toy.ExactPosterior(model.step), x), 1)
    exact = toy.marginal(model.step).log_prob(torch.from_numpy(np.concatenate(x))).detach()
    np.testing.assert_allclose(found.log_p, exact)
    np.testing.assert_allclose(found.of_sequences(), [found.log_p[:3].sum(), found.log_p[3:].sum()])


def test_weights_of_steps_estimate_what_weights_of_sequences_cannot():
    model, K = factor_analysis(), 500
    x = toy.numbers(250, toy.D, seed=5) @ toy.parameters(model.step)[0].T + toy.parameters(model.step)[1]
    x = (x + toy.SIGMA * toy.numbers(250, toy.F, seed=6)).detach()
    exact = toy.marginal(model.step).log_prob(x).detach()
    posterior = toy.ExactPosterior(model.step, shift=0.2, widen=1.3)
    found = step_scores(on(model, posterior, [x.numpy()]), K)
    error = (1 / found.ess - 1 / K).sqrt()  # of log p, by the spread of the weights
    assert ((found.log_p - exact) / error).abs().max() < 4.5
    assert (found.log_p.sum() - exact.sum()).abs() < 4 * error.square().sum().sqrt()
    assert 0.6 < ((found.log_p - exact) / error).square().mean() < 1.6
    whole = importance_weighted(on(model, posterior, [x.numpy()]).under(Whole(posterior, model)), 9)[0]
    assert exact.sum() - whole > 10


class Whole(nn.Module):
    """q(z_1, …, z_T | x), for weights of whole sequences."""

    def __init__(self, of_steps, model):
        super().__init__()
        self.of_steps, self.model = of_steps, model

    def forward(self, batch, noise=None):
        return self.of_steps(self.model.steps(batch).batch if batch.x.ndim == 3 else batch)


# dropout


def test_numbers_are_dropped_at_the_rate_and_their_mean_stays():
    values = torch.full((400, 50), 3.0)
    found = dropped(values, 0.3, Noise(make_generator(0, "test")))
    assert (found == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert found.mean().item() == pytest.approx(3, abs=0.05)
    assert found.unique().tolist() == pytest.approx([0, 3 / 0.7])
    assert dropped(values, 0.3, None) is values


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_only_training_drops(rate):
    model, posterior = bits_model(2, 2)
    model.dropout = rate
    batch = next(rows_of([np.tile(s, (1, 2)) for s in strings(3)]).batches(50))

    def loss():
        objective = objective_of_steps(ELBO())
        return objective.loss(model.draw(batch, posterior, objective, Noise(make_generator(3, "t"))), ObjectiveState())

    in_training = loss()
    model.eval()
    assert torch.equal(in_training, loss()) == (rate == 0)
    model.dropout = 0.0
    assert torch.equal(loss(), loss())


# the objective


def draw_of(objective, latent_dim=2):
    model, posterior = bits_model(latent_dim, 2)
    batch = next(rows_of([np.tile(s, (1, 2)) for s in strings(3)] + strings(1, 2)).batches(50))
    return model.draw(batch, posterior, objective, Noise(make_generator(3, "test")))


def test_the_terms_of_sequences_are_sums_over_their_steps():
    draw = draw_of(objective_of_steps(ELBO()))
    assert draw.steps.sums(torch.ones(draw.z.shape[1])).tolist() == [3] * 8 + [1] * 4
    log_w = draw.steps.sums(draw.each.log_w + draw.steps.log_length)
    assert torch.allclose(draw.log_w, log_w)
    elbo = draw.log_px.mean(0) - draw.kl.sum(-1)
    assert torch.allclose(objective_of_steps(ELBO()).loss(draw, ObjectiveState()), -elbo)


def test_the_importance_weights_are_those_of_steps():
    K = 7
    draw = draw_of(objective_of_steps(IWAE(K)))
    by_hand = draw.steps.sums(draw.each.log_w.logsumexp(0) - np.log(K) + draw.steps.log_length)
    assert torch.allclose(-objective_of_steps(IWAE(K)).loss(draw, ObjectiveState()), by_hand)
    assert torch.allclose(-by_step(iwae(K)).loss(draw, ObjectiveState()), by_hand)
    assert by_hand.mean() > (draw.log_w.logsumexp(0) - np.log(K)).mean()  # on average tighter


def test_trimming_leaves_whole_sequences_out():
    draw = draw_of(objective_of_steps(ELBO(trim_fraction=0.25)))
    loss, whole = (objective_of_steps(ELBO(trim_fraction=f)).loss(draw, ObjectiveState()) for f in (0.25, 0.0))
    kept = loss != 0
    assert kept.sum() == 9
    assert torch.equal(loss[kept], whole[kept])
    assert whole[~kept].min() > whole[kept].max()


def test_without_latent_variables_nothing_is_drawn():
    posterior = bits_model(0, 2)[1]
    assert isinstance(posterior, NoPosterior)
    draw = draw_of(objective_of_steps(ELBO()), 0)
    assert draw.kl.shape == (12, 0)
    assert torch.equal(draw.log_pz, torch.zeros(1, 12))
