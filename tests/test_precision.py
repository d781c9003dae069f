"""Less precise products in training: the networks' alone, and nowhere else."""

import pytest
import torch

from lowerbound import MLP, VAE, Adam, Amortized, Ladder
from lowerbound.core import ObjectiveState
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import elbo
from lowerbound.models.priors.mixture import MixturePrior
from lowerbound.precision import tensor_cores
from lowerbound.storage.atomic import load_tensors, save_tensors
from lowerbound.training.loop import train
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training
from lowerbound.training.step import BatchLoss
from tests import linear_gaussian as toy

ROUNDING = 2.0**-8  # of one factor in bfloat16
CPU = torch.device("cpu")
X = torch.randn(120, 6, generator=make_generator(0, "X")).numpy()
PIXELS = torch.rand(64, 16, 16, generator=make_generator(0, "pixels")).round().numpy()
FAST = {"max_epochs": 2, "batch_size": 32, "random_state": 0, "early_stopping": False, "network": MLP((8,))}


def gradient(vae: VAE, data, precision: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of all rows and its gradient, with the same noise for every precision."""
    loss = BatchLoss(vae.model_, vae.posterior_, precision)
    batch = next(vae.fitted_.rows(data).batches(len(data), vae.fitted_.noise("rows")))
    value, _ = loss(batch, elbo(), Noise(make_generator(1, "noise")), ObjectiveState())
    return value, torch.cat([g.flatten() for g in torch.autograd.grad(value, list(loss.parameters()))])


@pytest.mark.filterwarnings("ignore:the posterior has collapsed")
@pytest.mark.parametrize(
    ("data", "parameters"),
    [
        (X, {"latent_dim": 3}),
        (X, {"latent_dim": 3, "posterior": Amortized("full")}),
        (X, {"latent_dim": 3, "prior": "mixture"}),
        (X, {"latent_dim": (3, 2)}),
        (X, {"latent_dim": Ladder(2, 2, width=8), "network": "mlp"}),
        (PIXELS, {"network": "conv"}),
        (PIXELS, {"network": "conv", "latent_dim": Ladder(3, 2)}),
    ],
)
def test_loss_and_gradient_are_those_of_float32_to_rounding(data, parameters):
    vae = VAE(**{**FAST, **parameters}).fit(data)
    (value, slope), (rounded, rounded_slope) = (gradient(vae, data, p) for p in ("float32", "bfloat16"))
    assert rounded.dtype == rounded_slope.dtype == torch.float32
    assert value != rounded  # else nothing was rounded
    assert rounded.item() == pytest.approx(value.item(), rel=2 * ROUNDING)
    assert (rounded_slope - slope).norm() < 4 * ROUNDING * slope.norm()


def test_densities_are_not_rounded():
    noise, like = Noise(make_generator(0, "densities")), torch.zeros(1)
    mean, z = noise.normal((5, 4), like), noise.normal((7, 5, 4), like)
    full = FullGaussian(mean, noise.normal((5, 4, 4), like).tril(-1) + torch.eye(4))
    mixture = MixturePrior(3, 4, make_generator(0, "prior"))()

    def densities() -> list[torch.Tensor]:
        draws = full.rsample((2,), Noise(make_generator(1, "draws")))
        return [full.log_prob(z), draws, mixture.log_prob(z), DiagonalGaussian(mean, mean).log_prob(z)]

    exact = densities()
    with torch.autocast("cpu", torch.bfloat16):
        for here, there in zip(densities(), exact, strict=True):
            assert torch.equal(here, there)


def test_weights_moments_and_scores_stay_in_float32():
    vae = VAE(3, optimizer=Adam(ema=0.9, precision="bfloat16"), **FAST).fit(X)
    assert {p.dtype for p in vae.model_.parameters()} == {torch.float32}
    bound = vae.elbo(X)
    assert (bound == vae.set_params(optimizer__precision="float32").elbo(X)).all()
    other = VAE(3, optimizer=Adam(ema=0.9, precision="float32"), **FAST).fit(X)
    assert (bound != other.elbo(X)).any()
    assert bound.mean() == pytest.approx(other.elbo(X).mean(), rel=0.02)


def training(**settings) -> Training:
    chosen = Settings(batch_size=16, lr=0.02, lr_schedule="constant", precision="bfloat16", **settings)
    return Training(toy.model(), toy.posterior("diagonal"), elbo(), chosen, seed=3, device=CPU)


def test_continuing_is_bit_exact(tmp_path):
    rows = toy.rows(toy.numbers(50, toy.F, seed=7))
    whole, part, rest = training(max_epochs=3), training(max_epochs=1), training(max_epochs=3)
    train(whole, rows)
    train(part, rows)
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, rows)
    for mine, theirs in zip(rest.modules.parameters(), whole.modules.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_torch_gets_its_own_setting_back():
    before = torch.get_float32_matmul_precision()
    with tensor_cores("tf32", torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high" != before
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(RuntimeError, match="stopped"), tensor_cores("tf32", torch.device("cuda")):
        raise RuntimeError("stopped")
    assert torch.get_float32_matmul_precision() == before


def test_tf32_is_for_gpus():
    with pytest.raises(ValueError, match="precision='tf32' is for GPUs, and this is cpu"):
        VAE(3, device="cpu", optimizer=Adam(precision="tf32"), **FAST).fit(X)
    with pytest.raises(ValueError, match="precision"):
        VAE(3, optimizer=Adam(precision="half"), **FAST).fit(X)
