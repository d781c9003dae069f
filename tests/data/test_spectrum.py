"""The number of latent variables that the data ask for."""

import numpy as np
import pytest

from lowerbound import PPCA, VAE, Autoencoder, load
from lowerbound.data.spectrum import informative_directions
from lowerbound.parameters.parts import Ladder

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
rng = np.random.default_rng(0)
N, F = 600, 400


def directions(X, unit=None):
    return informative_directions(X, np.ones(X.shape[1:]) if unit is None else unit)


def low_rank(rank, noise=0.3):
    return rng.normal(size=(N, rank)) @ rng.normal(size=(rank, F)) / np.sqrt(rank) + noise * rng.normal(size=(N, F))


@pytest.mark.parametrize("rank", [1, 10, 45])
def test_the_rank_of_what_is_not_noise(rank):
    assert directions(low_rank(rank)) == rank


def test_noise_has_no_direction():
    assert directions(rng.normal(size=(N, F))) <= 1  # the largest of two samples of the same law


def test_gaps_constants_and_images_change_little():
    X = low_rank(20)
    gappy = np.ma.masked_array(X, rng.random(X.shape) < 0.1)
    assert abs(directions(gappy) - 20) <= 2
    assert directions(np.c_[X, np.ones((N, 9))]) == 20
    assert directions(X.reshape(N, 20, 20)) == 20


def test_few_features_are_not_looked_at():
    assert directions(low_rank(20)[:, :64]) == 0


@pytest.mark.parametrize(
    "model", [VAE(max_epochs=1), Autoencoder(max_epochs=1), PPCA()], ids=lambda m: type(m).__name__
)
def test_auto_takes_as_many(model, tmp_path):
    X = low_rank(40)
    fitted = model.set_params(random_state=0).fit(X)
    assert fitted.latent_dim_ == 40
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(X[:9]), fitted.score_samples(X[:9]))
    assert model.set_params(latent_dim=7).fit(X).latent_dim_ == 7


def test_auto_is_half_of_few_features_and_32_of_many():
    X = low_rank(5)
    assert VAE(max_epochs=1, random_state=0).fit(X[:, :10]).latent_dim_ == 5
    assert VAE(max_epochs=1, random_state=0).fit(X).latent_dim_ == 32


def test_levels_of_a_ladder_as_well():
    X = low_rank(40)
    assert VAE(Ladder(2), max_epochs=1, random_state=0).fit(X).model_.latent_dim == 80


def test_units_do_not_matter_where_they_are_the_models():
    X, unit = low_rank(20), np.exp(4 * rng.normal(size=F))
    assert directions(X * unit, unit) == 20
    assert PPCA().fit(X * unit).schema_.n_directions == PPCA().fit(X).schema_.n_directions == 20


def test_all_channels_are_looked_at():
    each = [rng.normal(size=(N, 15)) @ rng.normal(size=(15, 4096)) for _ in range(3)]
    images = np.stack(each, -1) + 0.1 * rng.normal(size=(N, 4096, 3))
    assert directions(images.reshape(N, 64, 64, 3)) == 45


def test_empty_rows_are_no_structure():
    X = rng.normal(size=(N, 100))
    X[::2] = np.nan
    assert directions(X) <= 5
