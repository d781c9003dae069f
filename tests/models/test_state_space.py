"""The chain of latent variables against a Kalman filter, whatever it is batched with, and its own past."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.test_sequence import rows_of
from torch import nn

from lowerbound.assembly.sequence import assemble_recurrent, objective_of_steps
from lowerbound.core import Objective, ObjectiveState
from lowerbound.data.schema import infer_schema
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.smc import _resampled, particle_scores, states_after
from lowerbound.evaluation.steps import ParticleEstimate, sequence_estimate, step_means, step_scores
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.vae import Decoder, LatentModel
from lowerbound.nn.inputs import Values
from lowerbound.nn.sequence import PastGRU
from lowerbound.parameters.parts import ELBO
from lowerbound.tasks.continuing import continued
from lowerbound.tasks.filling import filled

H, F, SIGMA = 3, 2, 0.7
TRANSITION = {1: np.array([[0.9]]), 2: np.array([[0.8, 0.5], [-0.3, 0.7]])}
NOISE = {1: np.array([0.5]), 2: np.array([0.5, 0.8])}  # standard deviations
LOADINGS = {1: np.array([[1.0], [-0.6]]), 2: np.array([[1.0, 0.4], [-0.6, 0.9]])}
OFFSET = np.array([0.3, -0.2])


class LinearTransition(nn.Module):
    """z_{t−1} → Az_{t−1} and log s, whatever the past was."""

    def __init__(self, D):
        super().__init__()
        self.A, self.log_scale = torch.from_numpy(TRANSITION[D]), torch.from_numpy(np.log(NOISE[D]))

    def read(self, context):
        return context

    def forward(self, read, before):
        return before @ self.A.T, self.log_scale.expand_as(before)


class LinearDecoder(nn.Module):
    """z and d → Cz + b."""

    def __init__(self, D):
        super().__init__()
        self.D = D

    def forward(self, z):
        return (z[:, : self.D] @ torch.from_numpy(LOADINGS[self.D]).T + torch.from_numpy(OFFSET))[:, None]


def linear_gaussian(D):
    scale = Scale("fixed", torch.tensor(SIGMA, dtype=torch.float64), torch.zeros(()))
    step = LatentModel(Decoder(LinearDecoder(D), NormalHead(scale)), D, n_context=H)
    past = PastGRU(Values(), F, H, make_generator(0, "weights"))
    return StateSpaceModel(past, step, LinearTransition(D)).double()


class MeanField(nn.Module):
    """p(z_t|z_{t−1}, x_t, …, x_T), exact for D = 1, else with the best independent scales; or moved and widened."""

    def __init__(self, D, shift=0.0, widen=1.0):
        super().__init__()
        self.D, self.shift, self.widen = D, shift, widen

    def forward(self, batch, noise=None):
        A, C, Qi = TRANSITION[self.D], LOADINGS[self.D], np.diag(NOISE[self.D] ** -2.0)
        x = (batch.x.numpy() - OFFSET) * batch.mask.numpy()
        information, vector = np.zeros((len(x), self.D, self.D)), np.zeros((len(x), self.D))
        self.messages = []
        for t in reversed(range(x.shape[1])):
            inside = batch.mask.numpy()[:, t].any(-1)
            information = information + inside[:, None, None] * C.T @ C / SIGMA**2  # of log p(x_t, …, x_T|z_t)
            vector = vector + x[:, t] @ C / SIGMA**2
            precision = Qi + information
            self.messages.insert(0, (precision, vector))
            gain = Qi @ np.linalg.inv(precision)
            vector = np.einsum("ij,bj->bi", A.T, np.einsum("bij,bj->bi", gain, vector))
            information = A.T @ (Qi - gain @ Qi) @ A
        return self

    def at(self, time, before, prior):
        precision, vector = map(torch.from_numpy, self.messages[time])
        pull = prior.mean / prior.scale**2 + vector
        mean = torch.einsum("bij,sbj->sbi", torch.linalg.inv(precision), pull)
        scale = self.widen * precision.diagonal(dim1=-2, dim2=-1).rsqrt()
        return DiagonalGaussian(mean + self.shift * scale, scale.log().expand_as(mean))


def drawn(D, length, seed):
    rng = np.random.default_rng(seed)
    z, x = np.zeros(D), []
    for _ in range(length):
        z = TRANSITION[D] @ z + NOISE[D] * rng.normal(size=D)
        x.append(LOADINGS[D] @ z + OFFSET + SIGMA * rng.normal(size=F))
    return np.array(x)


def kalman(D, x):
    """log p(x_t|x_<t) of every step, and mean and covariance of x_{T+1} given all."""
    A, C, Q = TRANSITION[D], LOADINGS[D], np.diag(NOISE[D] ** 2)
    m, P, log_p = np.zeros(D), Q, []
    for value in [*x, None]:
        mean, S = C @ m + OFFSET, C @ P @ C.T + SIGMA**2 * np.eye(F)
        if value is None:
            return np.array(log_p), mean, S
        r = value - mean
        log_p.append(-0.5 * (r @ np.linalg.solve(S, r) + np.linalg.slogdet(2 * np.pi * S)[1]))
        K = P @ C.T @ np.linalg.inv(S)
        m, P = A @ (m + K @ r), A @ (P - K @ C @ P) @ A.T + Q
    raise AssertionError


def on(model, posterior, sequences, shared=False):
    return Evaluation(model, posterior, rows_of(sequences), Noise(make_generator(0, "test"), shared))


SEQUENCES = [drawn(2, 250, seed) for seed in range(6)]
EXACT = np.array([kalman(2, x)[0].sum() for x in SEQUENCES])


@pytest.mark.parametrize("posterior", [MeanField(2), MeanField(2, 0.1, 1.1)])
def test_every_bound_is_below_a_kalman_filter_and_particles_are_near_it(posterior):
    where = on(linear_gaussian(2), posterior, SEQUENCES)
    particles = step_scores(where, 128).of_sequences().numpy()
    assert np.abs((particles - EXACT).mean()) < 0.7  # one differs by 0.7
    assert np.abs(particles - EXACT).max() < 2.5
    for bound in (particles, elbo_terms(where, 4).elbo.numpy()):
        short = EXACT - bound
        assert short.mean() > -3 * short.std(ddof=1) / np.sqrt(len(short))
    assert (EXACT - elbo_terms(where, 4).elbo.numpy()).mean() > 2


def test_the_weight_of_a_path_of_the_exact_posterior_is_log_p():
    x = [drawn(1, length, length) for length in (1, 7, 60)]
    draw = linear_gaussian(1).draw(
        next(rows_of(x).batches(3)), MeanField(1), Objective(None, 3), Noise(make_generator(0, "test"))
    )
    np.testing.assert_allclose(draw.log_w.detach(), np.tile([kalman(1, each)[0].sum() for each in x], (3, 1)))


def test_particles_estimate_every_step():
    x = drawn(2, 40, 9)
    found = step_scores(on(linear_gaussian(2), MeanField(2), [x]), 20_000)
    np.testing.assert_allclose(found.log_p.cumsum(0), np.cumsum(kalman(2, x)[0]), atol=0.15)
    assert (found.ess > 500).all()


def test_weights_of_whole_sequences_are_far_off_and_refused():
    short = [x[:50] for x in SEQUENCES]
    exact = np.array([kalman(2, x)[0].sum() for x in short])
    where = on(linear_gaussian(2), MeanField(2, 0.5, 1.4), short)
    whole = torch.cat([steps.sums(log_p) for steps, log_p, _ in particle_scores(where, 128, 0)]).numpy()
    drawn_anew = step_scores(where, 128).of_sequences().numpy()
    assert (exact - whole).mean() > 3 * np.abs(exact - drawn_anew).mean()
    with pytest.raises(ValueError, match=r"the longest sequence has 250 \(at most 50\): let particles be drawn anew"):
        next(particle_scores(on(linear_gaussian(2), MeanField(2), SEQUENCES), 128, 0))


def test_the_estimate_says_what_it_is():
    found = sequence_estimate(on(linear_gaussian(2), MeanField(2), SEQUENCES), 128)
    assert isinstance(found, ParticleEstimate)
    assert (found.kind, found.n_importance, found.n_steps) == ("lower", 128, 1500)
    assert found.standard_error == pytest.approx(EXACT.std(ddof=1) / np.sqrt(6), rel=0.1)
    assert str(found).startswith("≥ ")
    assert str(found).endswith("nats a step (1500 steps); 128 particles")


def test_particles_are_kept_in_proportion_to_their_weights():
    K, generator = 10, Noise(make_generator(0, "test"))
    W = torch.tensor([[0.55, 0.05], [0.45, 0.05]] + [[0.0, 0.9 / 8]] * 8, dtype=torch.float64)
    z = torch.arange(K, dtype=torch.float64)[:, None, None].expand(K, 2, 1)
    counts = np.zeros(K)
    for _ in range(400):
        kept, log_W = _resampled(z, W.log(), generator, 5)
        n = torch.bincount(kept[:, 0, 0].long(), minlength=K)
        assert 5 <= n[0] <= 6
        assert n[2:].sum() == 0
        counts += n.numpy() / 400
        assert torch.equal(kept[:, 1], z[:, 1])  # 9.2 of them count
    np.testing.assert_allclose(counts[:2], [5.5, 4.5], atol=0.1)
    np.testing.assert_allclose(log_W[:, 0], -np.log(K))
    np.testing.assert_allclose(log_W[:, 1], W[:, 1].log())


# draws


def test_what_follows_on_a_sequence_is_what_a_kalman_filter_predicts():
    x, n = drawn(2, 30, 4), 20_000
    model, noise = linear_gaussian(2), Noise(make_generator(1, "test"))
    where = on(model, MeanField(2), [x])
    more = continued(model, n, torch.ones(n, dtype=torch.long), torch.ones(F, dtype=torch.bool), noise, where)[0]
    _, mean, covariance = kalman(2, x)
    np.testing.assert_allclose(more[:, 0].mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(more[:, 0].T), covariance, atol=0.06)
    assert states_after(where, 5, 50).shape == (5, H + 2)


def test_a_gap_at_the_end_is_filled_by_what_a_kalman_filter_predicts():
    x, n = drawn(2, 12, 5), 1500
    _, mean, covariance = kalman(2, x)
    gappy = np.ma.masked_invalid(np.concatenate([x, np.full((1, F), np.nan)]))
    where = on(linear_gaussian(2), MeanField(2), [gappy])
    found = filled(where, n, 64).x[:, 0].numpy()
    np.testing.assert_allclose(found.mean(0), mean, atol=4.5 * np.sqrt(covariance.diagonal().max() / n))
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=0.15 * covariance.diagonal().max())


def test_new_sequences_have_the_covariance_over_time_of_the_model():
    n, model = 20_000, linear_gaussian(1)
    x = continued(
        model, n, torch.full((n,), 3), torch.ones(F, dtype=torch.bool), Noise(make_generator(1, "test"))
    )[0].numpy()  # fmt: skip
    a, s = 0.9, 0.25
    z = np.array([[s, a * s, a**2 * s], [0, s * (1 + a**2), a * s * (1 + a**2)], [0, 0, s * (1 + a**2 + a**4)]])
    z += np.triu(z, 1).T
    np.testing.assert_allclose(np.cov(x[..., 0].T), z + SIGMA**2 * np.eye(3), atol=0.05)


# the networks, with random weights


GAPS = np.ma.masked_array(np.random.default_rng(0).integers(2, size=(50, 2)).astype(np.uint8))
GAPS[3] = np.ma.masked


def random_model(latent_dim=2, n_bits=2, ends=False):
    schema = infer_schema(GAPS[:, :n_bits], layout="features")
    ends = 2.5 if ends else None
    made = assemble_recurrent(schema, "auto", latent_dim, 5, ends, 0.0, make_generator(0, "weights"), chain=True)
    with torch.no_grad():
        for i, weight in enumerate(p for part in made for p in part.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=make_generator(i, "test")) * 0.4)
    return made[0].double(), made[1].double()


RNG = np.random.default_rng(1)
STRINGS = [RNG.integers(2, size=(length, 2)).astype(float) for length in (1, 9, 4, 2, 7)]
STRINGS[2][1, 0] = np.nan
STRINGS[4][2] = np.nan


def test_a_sequence_has_one_score_whatever_it_is_batched_with():
    model, posterior = random_model(ends=True)

    def scores(x):
        where = on(model, posterior, x, shared=True)
        return step_scores(where, 20).of_sequences().tolist() + elbo_terms(where, 3).elbo.tolist()

    alone = np.array([scores([each]) for each in STRINGS])
    assert scores(STRINGS) == pytest.approx(alone.T.ravel(), abs=1e-10)
    means = torch.cat([step_means(on(model, posterior, [each])) for each in STRINGS])
    torch.testing.assert_close(step_means(on(model, posterior, STRINGS)), means)


def test_a_step_moves_no_conditional_at_or_before_it_and_every_posterior_there():
    model, posterior = random_model()
    x = np.random.default_rng(1).integers(2, size=(8, 2)).astype(float)
    other = x.copy()
    other[5] = 1 - other[5]
    z = torch.randn(1, 8, 2, generator=make_generator(0, "z"), dtype=torch.float64)
    found = []
    for each in (x, other):
        batch = next(rows_of([each]).batches(1))
        steps = model.steps(batch)
        given = model.with_past(batch, steps)
        p = model.prior_at(model.transition.read(steps.batch.context), z)
        x_mean = model.step.given(steps.batch.context).mean_x(z)
        found.append((p.mean[0], p.log_scale[0], x_mean[0], posterior(given).read[0]))
    for first, second in zip(*(each[:3] for each in found), strict=True):
        assert torch.equal(first[:6], second[:6])
        assert not torch.isclose(first[6:], second[6:]).any()
    assert torch.equal(found[0][3][6:], found[1][3][6:]) is False  # d_t is read there
    assert not torch.isclose(found[0][3][:6], found[1][3][:6]).all(-1).any()


def test_the_terms_of_many_sequences_are_those_of_each():
    model, posterior = random_model()
    x = [STRINGS[i % 5][:2] for i in range(502)]  # more than are held together
    found = elbo_terms(on(model, posterior, x), 2)
    assert found.mean.shape == (sum(map(len, x)), 2)
    assert found.kl.shape == (502, 2)


def test_all_strings_together_have_mass_one():
    model, posterior = random_model(1, 1, ends=True)
    with torch.no_grad():
        model.ends.bias.fill_(2.0)
    ended = [np.array(s, float)[:, None] for length in (1, 2, 3) for s in itertools.product([0, 1], repeat=length)]
    longer = [np.append(s, [[0.0]], 0) for s in ended if len(s) == 3]

    def scores(x, seed):
        return step_scores(replace(on(model, posterior, x), noise=Noise(make_generator(seed, "mass"))), 4000)

    masses = []
    for seed in range(8):  # each differs from 1 by 0.008
        rest = scores(longer, seed).log_p.reshape(8, 4)[:, :3].sum(1).exp().sum()
        masses.append(float(scores(ended, seed).of_sequences().exp().sum() + rest))
    assert np.mean(masses) == pytest.approx(1, abs=0.01)


def test_the_bound_of_sequences_is_the_sum_over_their_steps():
    model, posterior = random_model(ends=True)
    objective = objective_of_steps(ELBO())
    draw = model.draw(next(rows_of(STRINGS).batches(9)), posterior, objective, Noise(make_generator(3, "test")))
    bound = draw.log_px.mean(0) - draw.kl.sum(-1)
    torch.testing.assert_close(objective.loss(draw, ObjectiveState()), -bound)
    many = model.draw(
        next(rows_of(STRINGS).batches(9)), posterior, Objective(None, 5000), Noise(make_generator(3, "test"))
    )
    difference = many.kl.sum(-1) - (many.log_qz - many.log_pz).mean(0)
    error = (many.log_qz - many.log_pz).std(0) / np.sqrt(5000)
    assert (difference.abs() < 4 * error).all()
