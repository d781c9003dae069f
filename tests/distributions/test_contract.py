"""What every likelihood promises: all of the table are taken through the same tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal as TorchNormal

from lowerbound import MLP, VAE, LikelihoodError, VAEImputer
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.distributions.likelihoods.discretized_logistic import DiscretizedLogistic
from lowerbound.distributions.likelihoods.likelihood import CodedLikelihood
from lowerbound.distributions.likelihoods.table import kind_of
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.parameters.likelihoods import LIKELIHOODS

S, B, F = 2, 20, 2
rng = np.random.default_rng(0)


@dataclass
class Case:
    """One likelihood, or one way of it.

    Attributes
    ----------
    data : ndarray, shape (n, F)
        That it describes.
    refused : list of (ndarray, str)
        What it doesn't, and a part of the sentence that says so.
    values : Tensor, shape (K,)
        All values of the data, or so many that the others have no probability to speak of.
    log_p : callable
        From the distribution p and values (K,) to their log-probabilities or densities by another library,
        (S, B, F, K).
    options : dict
        Of the head.
    auto : bool
        What "auto" takes for ``data``.
    """

    name: str
    data: np.ndarray
    refused: list[tuple[np.ndarray, str]]
    values: Tensor
    log_p: Callable[[Any, Tensor], Tensor]
    options: dict = field(default_factory=dict)
    auto: bool = True

    @property
    def schema(self) -> Schema:
        return infer_schema(self.data, likelihood=self.name)

    def p(self, dtype: torch.dtype = torch.float64, size: float = 1.0) -> CodedLikelihood:
        """For numbers of a network that lie around its start."""
        schema = self.schema
        head = schema.kind.head(schema, **self.options).to(dtype)
        start = schema.kind.start(schema, head.n_parameters).to(dtype)
        raw = torch.randn(S, B, head.n_parameters, F, dtype=dtype, generator=make_generator(0, "raw"))
        return head((start + size * raw).requires_grad_())


def logistic_masses(p: DiscretizedLogistic, values: Tensor) -> Tensor:
    """Differences of the cumulative distribution function."""
    edges = torch.cat([values[:1] - torch.inf, (values[1:] - 0.5) * 2 / 255 - 1, values[-1:] + torch.inf])
    scale = p.scale.expand_as(p.mean_parameter)
    return torch.special.expit((edges - p.mean_parameter[..., None]) / scale[..., None]).diff(dim=-1).log()


def mixed_masses(p: Any, values: Tensor) -> Tensor:
    return (logistic_masses(p.components, values).exp() * p.log_weight.exp()[..., None]).sum(2).log()


def masses_of(case: Case, p: Any) -> Tensor:
    """Probabilities of all values, or of the bins around real ones, the outermost reaching to infinity."""
    values = case.values
    edges = values[:-1] if case.schema.is_discrete else 0.5 * (values[1:] + values[:-1])
    below = [p.cumulative(edge.expand(B, F)) for edge in (edges[:1] - torch.inf, *edges, edges[:1] + torch.inf)]
    return torch.stack(below, -1).diff(dim=-1)


def levels(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64)


fractions, zeros_and_ones = rng.normal(3, 2, (60, F)), rng.integers(0, 2, (60, F))
grey = rng.integers(30, 200, (60, F)).astype(np.uint8)
REALS = torch.linspace(-30, 30, 601, dtype=torch.float64)
CASES = [
    Case("gaussian", fractions, [], REALS, lambda p, v: TorchNormal(p.mean[..., None], p.scale[..., None]).log_prob(v)),
    Case(
        "gaussian", fractions, [], REALS, lambda p, v: TorchNormal(p.mean[..., None], p.scale[..., None]).log_prob(v),
        {"scale": "decoder"},
    ),
    Case(
        "bernoulli", zeros_and_ones, [(fractions, "0/1 data"), (grey, "'discretized_logistic'")], levels(2),
        lambda p, v: TorchBernoulli(logits=p.logits[..., None]).log_prob(v),
    ),
    Case(
        "categorical", rng.integers(0, 5, (60, F)), [(np.abs(fractions), "fractions"), (grey - 40.0, "recode")],
        levels(5), lambda p, v: TorchCategorical(logits=p.logits[..., None, :]).log_prob(v), auto=False,
    ),
    Case(
        "discretized_logistic", grey, [(fractions, "fractions"), (grey * 2.0, "0 to 255")], levels(256),
        logistic_masses, {"scale": 2.0},
    ),
    Case("discretized_logistic", grey, [], levels(256), logistic_masses),
    Case("discretized_logistic", grey, [], levels(256), mixed_masses, {"n_components": 3}),
]  # fmt: skip
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case.name, *case.options]))


def test_every_likelihood_of_the_table_is_here():
    assert {case.name for case in CASES} == set(LIKELIHOODS)
    assert all(kind_of(name).name == name for name in LIKELIHOODS)


@EACH
def test_log_prob_is_that_of_another_library(case):
    p = case.p()
    ours = torch.stack([p.log_prob(value.expand(B, F)) for value in case.values], -1)
    theirs = case.log_p(p, case.values)
    likely = theirs > -20  # differences of a distribution function have no more digits
    torch.testing.assert_close(ours[likely], theirs[likely], rtol=0, atol=1e-6)


@EACH
def test_masses_sum_to_one_and_are_those_of_log_prob(case):
    p = case.p()
    masses = masses_of(case, p)
    assert masses.shape == (S, B, F, len(case.values))
    torch.testing.assert_close(masses.sum(-1), torch.ones(S, B, F, dtype=torch.float64))
    if case.schema.is_discrete:
        expected = torch.stack([p.log_prob(value.expand(B, F)).exp() for value in case.values], -1)
    else:
        expected = integrals(p, case.values)
        masses = masses[..., 1:-1]  # the outermost bins reach to infinity
    torch.testing.assert_close(masses, expected, rtol=1e-9, atol=1e-13)


def integrals(p: Any, values: Tensor) -> Tensor:
    """∫ p(x) dx over the inner bins, by Gauss and Legendre."""
    edges = 0.5 * (values[1:] + values[:-1])
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half, middle = 0.5 * edges.diff(), 0.5 * (edges[1:] + edges[:-1])
    parts = [w * p.log_prob((m + h * x).expand(B, F)).exp() * h for m, h in zip(middle, half, strict=True)
             for x, w in zip(nodes, weights, strict=True)]  # fmt: skip
    return torch.stack(parts, -1).unflatten(-1, (len(middle), len(nodes))).sum(-1)


def center(case: Case, masses: Tensor) -> Tensor:
    """Mean, or mode where categories have none."""
    return masses.argmax(-1).double() if case.schema.kind.is_nominal else (masses * case.values).sum(-1)


@EACH
def test_the_mean_is_that_of_the_masses(case):
    p = case.p()
    torch.testing.assert_close(p.mean, center(case, masses_of(case, p)), rtol=0, atol=1e-6)


@EACH
def test_draws_have_the_masses(case):
    p, n = case.p(), 4000
    noise = Noise(make_generator(1, "draws"))
    draws = torch.stack([p.sample(noise) for _ in range(n)])
    assert draws.shape == (n, S, B, F)
    coarse = case.values[:: max(1, len(case.values) // 40)]  # the cumulative probabilities of some values
    between = 0.5 * (case.values[1] - case.values[0])
    measured = (draws.unsqueeze(-1) < coarse + between).double().mean(0)
    masses = masses_of(case, p).cumsum(-1)[..., :: max(1, len(case.values) // 40)]
    error = (masses * (1 - masses)).clamp_min(0).sqrt() / math.sqrt(n)
    assert (measured - masses).abs().le(4.5 * error + 1 / n).all()


@EACH
def test_averages_over_z_are_the_mean_or_mode_of_the_mixture(case):
    size = 3.0 if case.schema.kind.is_nominal else 1.0  # probabilities far apart: logits can't be averaged instead
    p, w = case.p(size=size), torch.tensor([0.4, 0.6], dtype=torch.float64)
    averages = [(w.view(2, *[1] * (part.ndim - 1)) * part).sum(0) for part in p.averages()]
    mixture = (w[:, None, None, None] * masses_of(case, p)).sum(0)
    torch.testing.assert_close(p.from_averages(averages).double(), center(case, mixture), rtol=0, atol=1e-6)


@EACH
def test_gradients_are_finite_in_float32_far_from_the_start(case):
    schema = case.schema
    head = schema.kind.head(schema, **case.options)
    raw = 30 * torch.randn(S, 50, head.n_parameters, F, generator=make_generator(2, "raw"))
    raw.requires_grad_()
    for value in (*case.values[::50], case.values[-1]):
        log_p = head(raw).log_prob(value.float().expand(50, F))
        (gradient,) = torch.autograd.grad(log_p.sum(), raw)
        assert log_p.isfinite().all()
        assert gradient.isfinite().all()


@EACH
def test_it_starts_at_the_features_own_distributions(case):
    schema = case.schema
    head = schema.kind.head(schema, **case.options)
    p: Any = head(schema.output_bias(head.n_parameters).expand(1, 1, -1, F))
    if schema.kind.is_nominal:
        frequencies = torch.from_numpy(schema.frequencies).float().movedim(0, -1)
        return torch.testing.assert_close(
            torch.stack([p.log_prob(v.expand(F))[0, 0].exp() for v in case.values], -1).float(), frequencies
        )
    mean = schema.restore(p.mean[0], expected=True)[0]
    assert (np.abs(mean - case.data.mean(0)) < 0.1 * case.data.std(0)).all()


@EACH
def test_data_are_kept_and_draws_come_back_as_such_data(case):
    schema = case.schema
    stored = schema.prepare(schema.store(case.data), None, torch.float64)
    np.testing.assert_allclose(schema.restore(stored, expected=False), case.data, atol=1e-6)
    drawn = schema.restore(case.p().sample(Noise(make_generator(3, "draws")))[0], expected=False)
    assert drawn.dtype == case.data.dtype
    schema.check(drawn)
    assert schema.kind.view(stored).shape == stored.shape


@EACH
def test_what_it_does_not_describe_is_refused_with_a_sentence(case):
    for data, words in case.refused:
        with pytest.raises(LikelihoodError, match=words):
            infer_schema(data, likelihood=case.name)


@EACH
def test_auto_takes_it(case):
    assert (infer_schema(case.data).likelihood == case.name) == case.auto
    assert infer_schema(case.data, likelihood=case.name).kind is kind_of(case.name)


@EACH
def test_options_without_a_meaning_are_refused(case):
    schema = case.schema
    if not schema.kind.has_scale:
        with pytest.raises(ValueError, match="has no scale"):
            schema.kind.head(schema, scale="feature")
    if not schema.kind.has_components:
        with pytest.raises(ValueError, match="n_components=2 is for bytes"):
            schema.kind.head(schema, n_components=2)
    if not schema.kind.can_standardize:
        with pytest.raises(LikelihoodError, match="standardize=True is for real values"):
            infer_schema(case.data, likelihood=case.name, standardize=True)
    if case.name != "bernoulli":
        with pytest.raises(LikelihoodError, match=r"0/1 data.*'bernoulli'"):
            infer_schema(case.data, likelihood=case.name, binarize="sample")


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
@EACH
def test_a_vae_is_fitted_samples_and_fills_gaps_with_it(case):
    vae = VAE(
        1, network=MLP((4,)), likelihood=LIKELIHOODS[case.name](**case.options), early_stopping=False, max_epochs=2,
        random_state=0,
    )  # fmt: skip
    vae.fit(case.data)
    assert np.isfinite(vae.score_samples(case.data[:5])).all()
    assert (vae.sample(3).shape, vae.sample(3).dtype) == ((3, F), case.data.dtype)
    X = np.where(np.arange(60 * F).reshape(60, F) % 7 == 0, np.nan, case.data)
    filled = VAEImputer(vae, n_importance=20, n_imputations=1, random_state=0).fit_transform(X)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
