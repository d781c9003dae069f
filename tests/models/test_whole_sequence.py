"""Sequences with one z each: an exact Gaussian model, sums over all strings, and whatever they are batched with."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from tests.models.test_sequence import GAPS, rows_of
from torch import nn

from lowerbound.assembly.sequence import assemble_recurrent
from lowerbound.data.schema import infer_schema
from lowerbound.distributions.gaussians import FullGaussian
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.steps import sequence_estimate, step_expectations, step_means, step_scores
from lowerbound.models.vae import Decoder, LatentModel
from lowerbound.models.whole_sequence import WholeSequenceModel
from lowerbound.nn.inputs import Values
from lowerbound.nn.sequence import PastGRU
from lowerbound.tasks.continuing import continued
from lowerbound.tasks.filling import filled

H, D, F, SIGMA = 3, 2, 2, 0.7
LOADINGS, OFFSET = np.array([[1.0, 0.4], [-0.6, 0.9]]), np.array([0.3, -0.2])
COUNTED = torch.ones(F, dtype=torch.bool)


class LinearDecoder(nn.Module):
    """z and d → Cz + b."""

    def forward(self, z):
        return (z[:, :D] @ torch.from_numpy(LOADINGS).T + torch.from_numpy(OFFSET))[:, None]


class Exact(nn.Module):
    """p(z|x), or one whose mean is off by so many standard deviations."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def of_prefixes(self, batch, n):
        time, T = torch.arange(batch.x.shape[1]), batch.mask.any(-1).sum(1, keepdim=True)
        first = ((time < (T / 2**j).ceil())[..., None] for j in range(1, n + 1))
        return [self(replace(batch, mask=batch.mask & each)) for each in first]

    def forward(self, batch, noise=None):
        C, means, factors = LOADINGS, [], []
        for x, mask in zip(batch.x.numpy(), batch.mask.numpy(), strict=True):
            seen = [C[row] for row in mask]
            precision = np.eye(D) + sum(c.T @ c for c in seen) / SIGMA**2
            pull = sum(c.T @ (v[row] - OFFSET[row]) for c, v, row in zip(seen, x, mask, strict=True)) / SIGMA**2
            covariance = np.linalg.inv(precision)
            factors.append(np.linalg.cholesky(covariance))
            means.append(covariance @ pull + factors[-1] @ np.full(D, self.shift))
        return FullGaussian(torch.from_numpy(np.array(means)), torch.from_numpy(np.array(factors)))


def gaussian_model():
    scale = Scale("fixed", torch.tensor(SIGMA, dtype=torch.float64), torch.zeros(()))
    step = LatentModel(Decoder(LinearDecoder(), NormalHead(scale)), D, n_context=H)
    return WholeSequenceModel(PastGRU(Values(), F, H, make_generator(0, "weights")), step).double()


def joint(length):
    """All x_1, …, x_T together are Gaussian."""
    C = np.tile(LOADINGS, (length, 1))
    return multivariate_normal(np.tile(OFFSET, length), C @ C.T + SIGMA**2 * np.eye(F * length))


def drawn(length, seed):
    rng = np.random.default_rng(seed)
    return LOADINGS @ rng.normal(size=D) + OFFSET + SIGMA * rng.normal(size=(length, F))


def given_others(x, at):
    """Mean and covariance of the entries ``at`` of x, flat, given the others."""
    p, rest = joint(len(x)), np.setdiff1d(np.arange(x.size), at)
    S, r = p.cov_object.covariance, x.ravel() - p.mean
    gain = S[np.ix_(at, rest)] @ np.linalg.inv(S[np.ix_(rest, rest)])
    return p.mean[at] + gain @ r[rest], S[np.ix_(at, at)] - gain @ S[np.ix_(rest, at)]


def on(model, posterior, sequences, seed=0, shared=False):
    return Evaluation(model, posterior, rows_of(sequences), Noise(make_generator(seed, "test"), shared))


SEQUENCES = [drawn(length, length) for length in (1, 9, 4, 30)]
EXACT = [joint(len(x)).logpdf(x.ravel()) for x in SEQUENCES]


def test_with_the_exact_posterior_every_weight_is_log_p():
    terms = elbo_terms(on(gaussian_model(), Exact(), SEQUENCES), 3000)
    np.testing.assert_allclose(terms.elbo, EXACT, atol=0.1)  # a mean over 3,000 draws of log p(x|z)
    np.testing.assert_allclose(step_scores(on(gaussian_model(), Exact(), SEQUENCES), 9).of_sequences(), EXACT)


def test_bounds_are_below_log_p_and_near_it():
    where = on(gaussian_model(), Exact(0.8), SEQUENCES)
    found = step_scores(where, 20_000)
    np.testing.assert_allclose(found.of_sequences(), EXACT, atol=0.05)
    assert (elbo_terms(where, 200).elbo.numpy() < np.array(EXACT) - 0.1).all()


def test_log_p_of_every_step():
    """Given those before it, from few draws of z, which serve long beginnings and short ones."""
    x = SEQUENCES[3]
    exact = [joint(t).logpdf(x[:t].ravel()) for t in range(1, 31)]
    found = [step_scores(on(gaussian_model(), Exact(), [x], seed), 64) for seed in range(5)]
    errors = np.stack([each.log_p.cumsum(0) for each in found]) - exact
    np.testing.assert_allclose(errors.mean(0), 0, atol=0.15)
    assert (found[0].ess > 5).all()  # with draws of q(z|x) and p(z) alone, 1 or 2


def test_a_longer_sequence_beside_it_leaves_a_score_as_it_is():
    """However many draws go through the decoder at once."""
    model, posterior = random_model()
    short, long = STRINGS[1], RNG.integers(2, size=(3000, 2)).astype(float)
    alone, beside = (step_scores(on(model, posterior, x, shared=True), 300) for x in ([short], [short, long]))
    np.testing.assert_allclose(beside.log_p[: len(short)], alone.log_p, atol=1e-10)


def test_what_follows_on_a_sequence():
    x, n = SEQUENCES[2], 20_000
    model, noise = gaussian_model(), Noise(make_generator(1, "test"))
    more = continued(model, n, torch.ones(n, dtype=torch.long), COUNTED, noise, on(model, Exact(), [x]))[0]
    mean, covariance = given_others(np.concatenate([x, np.zeros((1, F))]), np.arange(8, 10))
    np.testing.assert_allclose(more[:, 0].mean(0), mean, atol=0.1)  # of 1,000 weighted draws of z
    np.testing.assert_allclose(np.cov(more[:, 0].T), covariance, atol=0.08)


def test_new_sequences_have_the_covariance_over_time_of_the_model():
    n = 20_000
    x = continued(gaussian_model(), n, torch.full((n,), 3), COUNTED, Noise(make_generator(1, "test")))[0]
    np.testing.assert_allclose(np.cov(x.flatten(1).T), joint(3).cov_object.covariance, atol=0.06)


def test_sequences_of_codes_have_the_mean_of_the_codes():
    z = torch.tensor([[1.0, -2.0]] * 4000)
    noise, n_steps = Noise(make_generator(1, "test")), torch.full((4000,), 2)
    x = continued(gaussian_model(), 4000, n_steps, COUNTED, noise, z=z)[0]
    np.testing.assert_allclose(x.mean((0, 1)), LOADINGS @ [1, -2] + OFFSET, atol=5 * SIGMA / np.sqrt(8000))


@pytest.mark.parametrize(("shift", "length"), [(0.0, 12), (0.5, 12), (0.0, 150)])
def test_gaps_are_filled_given_all_that_was_observed(shift, length):
    x, n = drawn(length, 5), 2000
    gappy = x.copy()
    gappy[0], gappy[7, 1] = np.nan, np.nan
    gappy = np.ma.masked_invalid(gappy)
    found = filled(on(gaussian_model(), Exact(shift), [gappy]), n, 32).x.numpy()
    drawn_values = np.column_stack([found[:, 0, 0], found[:, 0, 1], found[:, 1, 1]])
    mean, covariance = given_others(x, np.array([0, 1, 15]))
    np.testing.assert_allclose(drawn_values.mean(0), mean, atol=4.5 * np.sqrt(covariance.max() / n))
    np.testing.assert_allclose(np.cov(drawn_values.T), covariance, atol=0.15 * covariance.max())


# the networks, with random weights


def random_model(latent_dim=2, n_bits=2, ends=False, head="independent", gaps=True):
    bits = GAPS if gaps else GAPS[4:]
    schema = infer_schema(np.ma.concatenate([bits] * n_bits, axis=1), layout="features")
    made = assemble_recurrent(
        schema, "auto", latent_dim, 5, 2.5 if ends else None, 0.0, make_generator(0, "weights"), latents="sequence",
        head=head,
    )  # fmt: skip
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
    for numbers in (step_means, step_expectations):
        means = torch.cat([numbers(on(model, posterior, [each])) for each in STRINGS])
        torch.testing.assert_close(numbers(on(model, posterior, STRINGS)), means)


def test_z_is_read_at_every_step():
    model, _ = random_model()
    batch = next(rows_of(STRINGS[1:2]).batches(1))
    z = torch.tensor([[[0.0, 0.0]], [[1.0, -1.0]]], dtype=torch.float64)
    a, b = model.log_p_of_steps(model.steps(batch), z)
    assert not torch.isclose(a, b).any()


def test_nothing_observed_has_the_prior_as_its_posterior():
    model, posterior = random_model()
    terms = elbo_terms(on(model, posterior, [np.full((3, 2), np.nan), STRINGS[1]]))
    assert terms.elbo[0] == 0
    assert terms.kl[0].sum() == 0
    assert terms.kl[1].sum() > 0


@pytest.mark.parametrize("head", ["independent", "masked"])
def test_all_strings_together_have_mass_one(head):
    model, posterior = random_model(1, 1, ends=True, head=head, gaps=False)
    with torch.no_grad():
        model.ends.bias.fill_(2.0)
    ended = [np.array(s, float)[:, None] for length in (1, 2, 3) for s in itertools.product([0, 1], repeat=length)]
    longer = [np.append(s, [[0.0]], 0) for s in ended if len(s) == 3]

    def scores(x):
        return step_scores(replace(on(model, posterior, x), noise=Noise(make_generator(0, "mass"))), 20_000)

    rest = scores(longer).log_p.reshape(8, 4)[:, :3].sum(1).exp().sum()
    assert float(scores(ended).of_sequences().exp().sum() + rest) == pytest.approx(1, abs=5e-3)


def test_the_estimate_is_of_sequences():
    found = sequence_estimate(on(gaussian_model(), Exact(), SEQUENCES), 100)
    assert (found.kind, found.n_importance, found.n_rows, found.n_steps) == ("lower", 100, 4, 44)
    assert 50 < found.ess < 90  # half of the draws are of q
    assert found.value == pytest.approx(np.mean(EXACT), abs=0.05)
