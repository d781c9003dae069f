"""Objectives: their values, what they refuse, and what they keep between steps."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound import ELBO, IWAE, MLP, VAE, Adam, GaussianLikelihood, SampledELBO
from lowerbound.core import ObjectiveState
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference import gradients
from lowerbound.inference.objectives import BASELINES, GRADIENTS, make_objective, trimmed
from lowerbound.storage.atomic import load_tensors, save_tensors
from lowerbound.training.loop import train
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch

PAIRS = [(objective, gradient) for objective, able in GRADIENTS.items() for gradient in able]
STATE = ObjectiveState()


def draw(objective, seed: int = 0):
    p, q = toy.model(), toy.posterior("diagonal")
    return p.draw(whole_batch(toy.numbers(6, toy.F, seed=5)), q, objective, Noise(make_generator(seed, "noise")))


@pytest.mark.parametrize(("objective", "gradient"), PAIRS)
def test_the_gradient_estimator_does_not_change_the_value(objective, gradient):
    chosen = make_objective(objective, gradient, n_samples=4)
    d = draw(chosen)
    expected = {
        "elbo": d.kl.sum(-1) - d.log_px.mean(0),
        "elbo_sampled": -d.log_w.mean(0),
        "iwae": -d.log_w.exp().mean(0).log(),
    }[objective]
    torch.testing.assert_close(chosen.loss(d, STATE), expected)


@pytest.mark.parametrize(("objective", "gradient"), PAIRS)
def test_values_need_no_gradients(objective, gradient):
    chosen = make_objective(objective, gradient, n_samples=3)
    with torch.no_grad():
        assert torch.isfinite(chosen.loss(draw(chosen), STATE)).all()


def test_kl_weight_and_warm_up_of_the_sampled_kl():
    chosen = make_objective("elbo_sampled", "stl", 2, kl_weight=3.0, kl_warmup_steps=10)
    d = draw(chosen)
    log_ratio = (d.log_pz - d.log_qz).mean(0)
    for step, beta in ((0, 0.0), (5, 1.5), (99, 3.0)):
        torch.testing.assert_close(chosen.loss(d, ObjectiveState(step)), -d.log_px.mean(0) - beta * log_ratio)
    assert chosen.warmup_steps == 10


@pytest.mark.parametrize("K", [2, 3, 7])
def test_baselines_of_the_other_draws(K):
    log_w = 30 * toy.numbers(K, 4)  # so far apart that "all of them less its own" would cancel
    others = [torch.cat([log_w[:k], log_w[k + 1 :]]) for k in range(K)]
    compare = torch.testing.assert_close
    compare(gradients.mean_of_others(log_w, STATE), torch.stack([o.mean(0) for o in others]))
    log_mean = torch.stack([o.logsumexp(0) - math.log(K - 1) for o in others])
    compare(gradients.log_mean_exp_of_others(log_w, STATE), log_mean)
    vimco = torch.stack([torch.cat([o, o.mean(0)[None]]).logsumexp(0) - math.log(K) for o in others])
    compare(gradients.geometric_mean_of_others(log_w, STATE), vimco)


def test_doubly_reparameterized_weights():
    """θ gets w̃, φ gets w̃², from the formula's own terms."""
    p, q, x = toy.model(), toy.posterior("diagonal"), whole_batch(toy.numbers(6, toy.F, seed=5))
    chosen = make_objective("iwae", "dreg", 3)
    d = p.draw(x, q, chosen, Noise(make_generator(0, "noise")))
    z, distribution = d.z, q(x)
    normalized = d.log_w.detach().softmax(0)
    held = z.detach().requires_grad_()
    log_w = p.log_joint(x, held) - distribution.detach().log_prob(held)
    slope = torch.autograd.grad(log_w.sum(), held)[0]
    decoder = torch.autograd.grad((normalized * p.log_joint(x, z.detach())).sum(), list(p.parameters()))
    encoder = torch.autograd.grad(
        (normalized.square()[..., None] * slope * z).sum(), list(q.parameters()), retain_graph=True
    )
    measured = torch.autograd.grad(-chosen.loss(d, STATE).sum(), [*p.parameters(), *q.parameters()])
    torch.testing.assert_close(measured, (*decoder, *encoder))


def test_the_score_function_holds_z_fixed():
    p, q, x = toy.model(), toy.posterior("diagonal"), whole_batch(toy.numbers(6, toy.F, seed=5))
    chosen = make_objective("elbo_sampled", "score", baseline="none")
    d = p.draw(x, q, chosen, Noise(make_generator(0, "noise")))
    expected = torch.autograd.grad(-(d.log_w.detach() * d.log_qz).sum(), list(q.parameters()), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(chosen.loss(d, STATE).sum(), list(q.parameters())), expected)


def test_the_running_baseline_is_the_average_of_the_steps_before():
    """Never of this step's own signal, which would bias the gradient."""
    state, baseline = ObjectiveState(), gradients.running_mean(lambda f: f.mean(0))
    used = [baseline(torch.full((2, 3), signal), state) for signal in (-5.0, -3.0, 8.0, 1.0)]
    second = 0.99 * -5 + 0.01 * -3
    assert used == pytest.approx([0, -5, second, 0.99 * second + 0.01 * 8])
    assert state.baseline == pytest.approx(0.99 * used[-1] + 0.01)


class StopAfterTwo(Watch):
    epochs = 0

    def on_epoch(self, training, record):
        self.epochs += 1

    def should_stop(self):
        return self.epochs == 2


def test_a_run_with_a_running_baseline_continues_exactly(tmp_path):
    def training():
        settings = Settings(max_epochs=4, batch_size=16, lr=0.01)
        model, posterior = toy.model(), toy.posterior("diagonal")
        return Training(model, posterior, make_objective("elbo_sampled", "score"), settings, 3, torch.device("cpu"))

    rows, held_out = toy.rows(toy.numbers(50, toy.F, seed=7)), toy.rows(toy.numbers(20, toy.F, seed=8))
    whole, part, rest = training(), training(), training()
    train(whole, rows, held_out)
    train(part, rows, held_out, StopAfterTwo())
    assert isinstance(part.progress.objective.baseline, float)
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, rows, held_out)
    assert asdict(rest.progress.objective) == asdict(whole.progress.objective)
    for a, b in zip(whole.modules.parameters(), rest.modules.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradient": "vimco", "n_samples": 5}, "gradient='vimco' needs objective='iwae', not 'elbo'"),
        ({"gradient": "stl"}, "objective='elbo_sampled' or objective='iwae'"),
        ({"objective": "elbo_sampled", "gradient": "dreg"}, "it would be gradient='stl'"),
        ({"objective": "iwae", "gradient": "vimco"}, "n_samples ≥ 2, got 1"),
        ({"gradient": "score", "baseline": "leave_one_out"}, "n_samples ≥ 2, got 1"),
        ({"baseline": "running"}, "is for gradient='score'"),
        ({"objective": "iwae", "n_samples": 2, "kl_weight": 2.0}, "no KL term"),
        ({"objective": "iwae", "n_samples": 2, "kl_warmup_steps": 5}, "no KL term"),
        ({"objective": "iwae", "n_samples": 2, "free_bits": 0.1}, "no KL term"),
        ({"objective": "elbo_sampled", "free_bits": 0.1}, "closed form"),
        ({"objective": "vae"}, "objective must be one of 'elbo', 'elbo_sampled', 'iwae', got 'vae'"),
        ({"gradient": "reinforce"}, "gradient must be one of"),
        ({"gradient": "score", "baseline": "mean"}, "baseline must be one of"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        make_objective(**options)
    assert "\n" not in str(caught.value)


def test_every_baseline_of_every_bound_is_made():
    for objective in GRADIENTS:
        for baseline in BASELINES:
            assert make_objective(objective, "score", 2, baseline=baseline).gradient == "score"


@pytest.mark.parametrize(("objective", "gradient"), PAIRS)
def test_the_vae_learns_by_every_pair(objective, gradient):
    X = toy.numbers(300, 2) @ toy.numbers(2, toy.F, seed=1)
    part = {"elbo": ELBO, "elbo_sampled": SampledELBO, "iwae": IWAE}[objective](n_samples=4, gradient=gradient)
    vae = VAE(
        2, network=MLP(()), likelihood=GaussianLikelihood(0.3), objective=part, optimizer=Adam(0.03), max_epochs=20,
        batch_size=32, random_state=0, device="cpu",
    ).fit(X.numpy())  # fmt: skip
    bounds = [record["elbo"] for record in vae.history_]
    assert bounds[-1] > bounds[0] + 1
    assert vae._objective().gradient == make_objective(objective, gradient, 4).gradient


def test_parts_refuse_what_does_not_go_together():
    with pytest.raises(ValueError, match="ELBO: gradient must be 'pathwise' or 'score', got 'dreg'"):
        ELBO(gradient="dreg")
    with pytest.raises(ValueError, match="use n_samples=2 or more"):
        IWAE(1, "vimco")


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_trimming_leaves_the_worst_rows_out(share):
    whole = make_objective()
    d = draw(whole)
    rows, kept = whole.loss(d, STATE), trimmed(whole, share).loss(d, STATE)
    worst = rows.argsort()[-math.ceil(share * len(rows)) :]
    assert (kept[worst] == 0).all()
    others = torch.ones(len(rows), dtype=torch.bool)
    others[worst] = False
    torch.testing.assert_close(kept[others], rows[others])
    assert trimmed(whole, 0.0) is whole


def test_trimmed_rows_are_not_learned():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)).astype(np.float32)
    X[:15] += 30
    linear = {
        "network": MLP(()), "likelihood": GaussianLikelihood(standardize=False), "optimizer": Adam(0.05),
        "early_stopping": False, "max_epochs": 20, "random_state": 0,
    }  # fmt: skip
    centers = [VAE(1, objective=ELBO(trim_fraction=trim), **linear).fit(X).sample(2000).mean(0) for trim in (0.0, 0.1)]
    assert np.abs(centers[1]).max() < 0.3 < np.abs(centers[0]).max()
