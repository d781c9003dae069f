"""Independent features: densities, marginals, fits and draws against what is known exactly."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from tests.conftest import whole_batch

from lowerbound.core import Batch
from lowerbound.inference import em
from lowerbound.models.factorized import IndependentBernoulli, IndependentCategorical, IndependentNormal

rng = np.random.default_rng(0)
DATA = {
    "normal": (lambda: IndependentNormal((4,)), rng.normal(3, 2, (60, 4))),
    "bernoulli": (lambda: IndependentBernoulli((4,)), rng.integers(0, 2, (60, 4))),
    "categorical": (lambda: IndependentCategorical((4,), 3), rng.integers(0, 3, (60, 4))),
}
SOME = rng.random((60, 4)) < 0.5  # of the entries


def masked(x: np.ndarray, mask: np.ndarray) -> Batch:
    """What isn't observed holds a number that must not matter."""
    hidden = torch.from_numpy(np.where(mask, x, 1.0).astype(np.float64))
    return Batch(hidden, torch.from_numpy(mask), torch.arange(len(x)))


def fitted(model, batch: Batch):
    model.maximize(model.statistics(batch))
    return model


def all_states(n_categories: int, n_features: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(n_categories), repeat=n_features)), dtype=torch.float64)


@pytest.mark.parametrize(("n_categories", "kind"), [(2, "bernoulli"), (3, "categorical")])
def test_probabilities_of_all_states_sum_to_1(n_categories, kind):
    make, x = DATA[kind]
    model = fitted(make(), whole_batch(torch.from_numpy(x).double()))
    assert model.log_prob(whole_batch(all_states(n_categories, 4))).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("n_categories", "kind"), [(2, "bernoulli"), (3, "categorical")])
def test_log_p_of_the_observed_entries_is_the_sum_over_the_hidden_ones(n_categories, kind):
    make, x = DATA[kind]
    model = fitted(make(), whole_batch(torch.from_numpy(x).double()))
    states, seen = all_states(n_categories, 4), [0, 2]
    mask = np.isin(np.arange(4), seen)[None]
    log_p = model.log_prob(masked(x[:1], mask)).item()
    same = (states[:, seen] == torch.from_numpy(x[0, seen])).all(1)
    assert log_p == pytest.approx(model.log_prob(whole_batch(states[same])).logsumexp(0).item(), abs=1e-12)


def test_the_normal_is_scipys():
    x = DATA["normal"][1]
    unit = np.array([1.0, 10.0, 0.1, 2.0])
    model = fitted(IndependentNormal((4,), torch.from_numpy(np.log(unit))), whole_batch(torch.from_numpy(x)))
    log_p = stats.norm(x.mean(0) * unit, x.std(0) * unit).logpdf(x * unit)  # in the user's units
    np.testing.assert_allclose(model.log_prob(masked(x, SOME)), np.where(SOME, log_p, 0).sum(1), atol=1e-12)


@pytest.mark.parametrize("kind", DATA)
def test_the_fit_is_the_maximum_over_observed_entries(kind):
    make, x = DATA[kind]
    model = fitted(make(), masked(x, SOME))
    seen = [x[SOME[:, j], j] for j in range(4)]
    if kind == "normal":
        np.testing.assert_allclose(model.mean, [s.mean() for s in seen])
        np.testing.assert_allclose(model.scale, [s.std() for s in seen])
    elif kind == "bernoulli":
        np.testing.assert_allclose(model.logits.sigmoid(), [(s.sum() + 0.1) / (len(s) + 0.2) for s in seen])
    else:
        counts = np.array([np.bincount(s, minlength=3) for s in seen])
        expected = (counts + 0.1) / (counts.sum(1, keepdims=True) + 0.3)
        np.testing.assert_allclose(model.log_probability.exp().T, expected)


@pytest.mark.parametrize("kind", DATA)
def test_batches_add_up(kind):
    make, x = DATA[kind]
    batch = masked(x, SOME)
    parts = [Batch(batch.x[i : i + 7], batch.mask[i : i + 7], batch.index[i : i + 7]) for i in range(0, len(x), 7)]
    whole, summed = fitted(make(), batch), make()
    summed.maximize(em.total(summed.statistics, parts))
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(summed.state_dict()[name], tensor)


@pytest.mark.parametrize("kind", DATA)
def test_images_are_tables_of_another_shape(kind):
    make, x = DATA[kind]
    flat = fitted(make(), whole_batch(torch.from_numpy(x).double()))
    image = type(flat)((1, 2, 2), *((3,) if kind == "categorical" else ()))
    images = whole_batch(torch.from_numpy(x).double().view(-1, 1, 2, 2))
    torch.testing.assert_close(
        fitted(image, images).log_prob(images), flat.log_prob(whole_batch(torch.from_numpy(x).double()))
    )


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_what_was_never_seen_is_improbable_not_impossible(kind):
    model = fitted(DATA[kind][0](), whole_batch(torch.zeros(1000, 4, dtype=torch.float64)))
    log_p = model.log_prob(whole_batch(torch.eye(4, dtype=torch.float64)))
    assert torch.isfinite(log_p).all()
    assert (log_p < -9).all()


def test_a_feature_never_observed_or_without_spread_keeps_scale_1():
    x = np.array([[1.0, 5.0], [2.0, 5.0]])
    model = fitted(IndependentNormal((2,)), masked(x, np.array([[False, True], [False, True]])))
    assert model.scale.tolist() == [1, 1]
    assert model.mean.tolist() == [0, 5]


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_draws_come_as_often_as_they_should(kind, noise):
    make, x = DATA[kind]
    model = fitted(make(), whole_batch(torch.from_numpy(x).double()))
    n, levels = 20_000, 2 if kind == "bernoulli" else 3
    drawn = model.sample(n, noise)
    states = all_states(levels, 4)
    p = model.log_prob(whole_batch(states)).exp().numpy()
    place = (drawn @ torch.tensor([levels**3, levels**2, levels, 1.0], dtype=torch.float64)).long()
    seen = np.bincount(place, minlength=len(p)) / n
    assert (np.abs(seen - p) < 4.5 * np.sqrt(p * (1 - p) / n)).all()  # 4.5 standard errors of each frequency


def test_normal_draws(noise):
    model = fitted(IndependentNormal((4,)), whole_batch(torch.from_numpy(DATA["normal"][1])))
    drawn = (model.sample(5000, noise) - model.mean) / model.scale
    for column in drawn.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn.T)[np.triu_indices(4, 1)]).max() < 4.5 / np.sqrt(5000)


def test_expectations_instead_of_draws(noise):
    for make, x in DATA.values():
        model = fitted(make(), whole_batch(torch.from_numpy(x).double()))
        expected = model.sample(2, noise, mean=True)
        assert expected.shape == (2, 4)
        assert torch.equal(expected[0], expected[1])
    assert expected[0].tolist() == [np.bincount(column).argmax() for column in x.T]  # levels have no mean
