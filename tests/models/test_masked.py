"""Columns that depend on those before them: sums over all chords, who depends on whom, draws."""

import itertools

import numpy as np
import pytest
import torch
from tests.models.test_sequence import by_quadrature, on, rows_of
from tests.sequences.test_recurrent import small

from lowerbound import Adam, GaussianLikelihood, load
from lowerbound.assembly.sequence import assemble_recurrent
from lowerbound.data.schema import infer_schema
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.steps import step_scores
from lowerbound.nn.masked import MaskedMLP

F = 4
RNG = np.random.default_rng(0)
CHORDS = [np.array(chord, float) for chord in itertools.product([0, 1], repeat=F)]
PAST = RNG.integers(2, size=(3, F)).astype(float)


def random_model(latent_dim):
    schema = infer_schema(RNG.integers(2, size=(50, F)).astype(np.uint8), layout="features")
    made = assemble_recurrent(
        schema, "auto", latent_dim, 5, None, 0.0, make_generator(0, "weights"), head="masked"
    )  # fmt: skip
    with torch.no_grad():
        for i, weight in enumerate(p for part in made for p in part.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=make_generator(i, "chords")) * 0.7)
    return made[0].double(), made[1].double()


def last_steps(latent_dim):
    """log p of every chord after one past, exact or by quadrature."""
    model, posterior = random_model(latent_dim)
    x = [np.append(PAST, [chord], 0) for chord in CHORDS]
    if latent_dim == 0:
        return step_scores(on(model, posterior, x), 1).log_p.view(len(x), 4)[:, -1].numpy()
    with torch.no_grad():
        return by_quadrature(model, next(rows_of(x).batches(len(x)))).view(len(x), 4)[:, -1].numpy()


@pytest.mark.parametrize("latent_dim", [0, 1])
def test_all_chords_together_have_mass_one(latent_dim):
    p = np.exp(last_steps(latent_dim))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    columns = np.array(CHORDS)
    mean = p @ columns
    covariance = (columns - mean).T @ (p[:, None] * (columns - mean))
    assert np.abs(covariance[np.triu_indices(F, 1)]).min() > 0.0005


def test_draws_are_from_the_model_that_is_scored():
    model, _ = random_model(0)
    d = model.read(next(rows_of([PAST]).batches(1)), model.begin(1, None), None)
    with torch.no_grad():
        x = model.draw_step(d.expand(20_000, -1), Noise(make_generator(0, "test"))).numpy()
    share = np.bincount((x @ 2 ** np.arange(F)[::-1]).astype(int), minlength=2**F) / len(x)
    p = np.exp(last_steps(0))
    assert (np.abs(share - p) < 4.5 * np.sqrt(p / len(x)) + 1e-9).all()


def test_a_logit_depends_on_the_columns_before_it_and_on_no_other():
    for hidden in (3, 40):
        network = MaskedMLP(6, 2, hidden, make_generator(0, "weights"))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=make_generator(hidden, "test")))
        x = torch.rand(1, 6, generator=make_generator(1, "test"))
        slope = torch.autograd.functional.jacobian(lambda x, net=network: net(x, torch.ones(1, 1, 2))[0, 0], x)[:, 0]
        assert torch.equal(slope != 0, torch.ones(6, 6).tril(-1).bool())


def test_logits_one_after_another_are_those_of_all_at_once():
    network = MaskedMLP(7, 3, 20, make_generator(0, "weights")).double()
    with torch.no_grad():
        for i, weight in enumerate(network.parameters()):
            weight.copy_(torch.from_numpy(np.random.default_rng(i).normal(size=weight.shape)))
    x, context = torch.from_numpy(RNG.integers(2, size=(4, 7)) / 1), torch.from_numpy(RNG.normal(size=(2, 4, 3)))
    columns = [0, 1, 3, 4, 6]
    x[:, [2, 5]] = 0
    so_far = torch.zeros_like(x)
    for column, logits in network.unroll(so_far, context, columns):
        torch.testing.assert_close(logits, network(x, context)[..., column])
        so_far[:, column] = x[:, column]
    assert column == columns[-1]


def test_it_learns_that_keys_sound_together(tmp_path):
    """All or none of four keys: one bit a step without latent variables, exactly."""
    x = [np.tile(RNG.integers(2, size=(10, 1)), (1, F)).astype(np.uint8) for _ in range(60)]
    fitted = small(0, head="masked", hidden_size=16, optimizer=Adam(0.05), max_epochs=25, batch_size=20).fit(x)
    found = fitted.log_likelihood(x)
    assert found.kind == "exact"
    assert -found.per_step == pytest.approx(np.log(2), abs=0.05)
    drawn = np.concatenate(fitted.sample(20, lengths=10))
    assert np.mean((drawn == drawn[:, :1]).all(1)) > 0.95
    fitted.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(x), fitted.score_samples(x))


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning", "ignore:1 constant")
@pytest.mark.parametrize("chain", [False, True])
def test_with_latent_variables_and_a_constant_column(chain):
    x = [np.c_[RNG.integers(2, size=(length, 3)), np.ones(length, int)] for length in (3, 5, 4, 6)]
    fitted = small(2, head="masked", chain=chain).fit(x)
    assert np.isfinite(fitted.score_samples(x)).all()
    assert all((drawn[:, 3] == 1).all() for drawn in fitted.sample(3, lengths=4))


def test_what_it_cannot_do_is_refused():
    x = [RNG.integers(2, size=(4, 2)).astype(float) for _ in range(9)]
    gaps = [each.copy() for each in x]
    gaps[0][1, 0] = np.nan
    with pytest.raises(ValueError, match="fill the gaps, or head='independent'"):
        small(0, head="masked").fit(gaps)
    with pytest.raises(ValueError, match="have to be observed: fill gaps"):
        small(0, head="masked").fit(x).score_samples(gaps)
    with pytest.raises(ValueError, match="are 0 or 1: leave head='independent'"):
        small(0, head="masked", likelihood=GaussianLikelihood()).fit([each + 0.5 for each in x])
