"""Images come in the user's order of axes: recognized, said, or asked about, and given back in it."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from lowerbound import VAE, Conv, Factorized, VAEOutlierDetector, load
from lowerbound.assembly.vae import choose_network
from lowerbound.data.layout import arrange
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.pictures.pictures import as_images

rng = np.random.default_rng(0)
PHOTOGRAPH = load_sample_images().images[0]
LAST = np.stack([PHOTOGRAPH[i : i + 16, j : j + 16] for i, j in rng.integers(0, 400, (24, 2))])  # (n, H, W, C)
FIRST = np.ascontiguousarray(np.moveaxis(LAST, -1, 1))
FLAT, PLANAR = LAST.reshape(24, -1), FIRST.reshape(24, -1)
SERIES = rng.normal(size=(50, 30, 6)).cumsum(1) * [1, 10, 0.1, 5, 2, 1] + [0, 40, 5, -100, 7, 1]


def small(**parameters) -> VAE:
    return VAE(2, max_epochs=1, random_state=0, device="cpu", **parameters)


@pytest.fixture(scope="module")
def channels_last() -> VAE:
    return small().fit(LAST)


@pytest.mark.parametrize(
    ("X", "parameters"),
    [
        (FIRST, {}),
        (FIRST, {"layout": "channels_first"}),
        (FLAT, {"image_shape": (16, 16, 3)}),
        (PLANAR, {"image_shape": (3, 16, 16)}),
        (PLANAR, {"image_shape": (3, 16, 16), "layout": "channels_first"}),
    ],
)
def test_the_same_images_make_the_same_model_and_come_back_in_the_users_axes(X, parameters, channels_last, tmp_path):
    expected, vae = channels_last, small(**parameters).fit(X)
    assert vae.schema_.event_shape == (3, 16, 16)
    assert np.array_equal(vae.elbo(X), expected.elbo(LAST))
    draws, reconstructed = expected.sample(4), expected.reconstruct(LAST[:4])
    is_planar = X is FIRST or X is PLANAR
    for ours, theirs in ((vae.sample(4), draws), (vae.reconstruct(X[:4]), reconstructed)):
        in_order = np.moveaxis(theirs, -1, 1) if is_planar else theirs
        assert np.array_equal(ours, in_order.reshape(4, *X.shape[1:]))
    assert np.array_equal(as_images(vae.schema_, X), LAST)
    vae.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.schema_.layout, loaded.layout) == ("image", vae.layout)
    assert np.array_equal(loaded.sample(4), vae.sample(4))


def test_one_channel_before_height_and_width_gets_the_convolutional_network():
    X = rng.integers(0, 256, (20, 1, 28, 28)).astype(np.uint8)
    schema = infer_schema(X)
    assert (schema.event_shape, schema.axes) == ((1, 28, 28), "(C, H, W)")
    assert choose_network(schema, "auto") == Conv()


@pytest.mark.parametrize(
    ("shape", "asked", "expected"),
    [
        ((784,), {}, ("features", (784,), False)),
        ((28, 20), {}, ("image", (1, 28, 20), False)),
        ((784,), {"image_shape": (28, 28)}, ("image", (1, 28, 28), False)),
        ((32, 32, 4), {}, ("image", (4, 32, 32), True)),
        ((1, 28, 20), {}, ("image", (1, 28, 20), False)),
        ((28, 20, 2), {"layout": "image"}, ("image", (2, 28, 20), True)),
        ((4, 32, 32), {"layout": "channels_first"}, ("image", (4, 32, 32), False)),
        ((28, 20), {"layout": "features"}, ("features", (560,), False)),
        ((2, 3, 4, 5), {}, ("features", (120,), False)),
    ],
)
def test_what_rows_are(shape, asked, expected):
    found = arrange(np.zeros((3, *shape), np.uint8), **asked)
    assert (found.layout, found.event_shape, found.channels_last) == expected


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (FIRST, {"image_shape": (16, 16, 3)}, "axes in another order.*layout='channels_first'|another order"),
        (PLANAR, {"image_shape": (16, 16, 3)}, "one channel after another.*layout='channels_first'"),
        (FLAT, {"image_shape": (3, 16, 16)}, "channels innermost.*layout='image'"),
        (PLANAR, {"image_shape": (16, 16, 3), "layout": "channels_first"}, "as \\(C, H, W\\)"),
        (FIRST, {"layout": "image"}, "images of 16 channels: say layout='channels_first'"),
        (LAST, {"layout": "channels_first"}, "images of 16 channels"),
        (FLAT, {"layout": "image"}, "image_shape"),
        (FLAT, {"layout": "features", "image_shape": (16, 16, 3)}, "layout='features'"),
        (LAST[..., :2], {}, "say layout='image', 'channels_first' or 'features'"),
        (SERIES, {}, "say layout='image' .*if they are images, or layout='features'"),
        (SERIES[..., :3], {}, "layout='features'"),
    ],
)
def test_what_is_contradictory_or_ambiguous_is_asked_about(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(X)


def test_flat_rows_in_the_other_order_are_taken_if_that_is_asked_for():
    assert infer_schema(PLANAR, image_shape=(16, 16, 3), layout="image").channels_last


def test_steps_by_sensors_are_features_if_that_is_said():
    vae = small(layout="features").fit(SERIES)
    assert (vae.schema_.layout, vae.schema_.event_shape) == ("features", (180,))
    assert vae.sample(2).shape == (2, 30, 6)


def test_a_record_without_a_layout_gets_it():
    schemas = [infer_schema(LAST), infer_schema(FLAT)]
    for schema in schemas:
        record = {k: v for k, v in schema.metadata().items() if k != "layout"}
        assert Schema.from_saved(record, schema.arrays()).layout == schema.layout


def test_a_detector_maps_surprise_by_height_and_width():
    detector = VAEOutlierDetector(small().fit(FIRST), criterion="elbo", random_state=0).fit(FIRST)
    assert detector.explain(FIRST[:2]).shape == (2, 16, 16)


def test_other_estimators_know_the_layout():
    first, last = Factorized().fit(FIRST), Factorized(layout="image").fit(LAST)
    assert np.array_equal(first.score_samples(FIRST), last.score_samples(LAST))
