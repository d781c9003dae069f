"""Pictures: grids of images, and maps of codes."""

import numpy as np
import pytest
from PIL import Image

from lowerbound.data.schema import infer_schema
from lowerbound.pictures.pictures import (
    GAP,
    GROUP_GAP,
    above_one_another,
    as_images,
    image_grid,
    latent_map,
    pixel_range,
    save_grid,
    to_pixels,
)
from lowerbound.pictures.placing import apart


def test_small_images_are_enlarged_and_keep_their_pixels():
    images = np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)
    grid = np.asarray(image_grid(images, columns=3))
    step = 56 + GAP
    assert grid.shape == (GAP + 2 * step, GAP + 3 * step)
    for i in range(6):
        top, left = GAP + i // 3 * step, GAP + i % 3 * step
        assert np.array_equal(grid[top : top + 56 : 7, left : left + 56 : 7], images[i])


def test_large_images_are_not_enlarged_and_color_stays():
    images = np.zeros((2, 64, 80, 3), np.uint8)
    images[..., 0] = 200
    grid = image_grid(images, columns=2)
    assert (grid.mode, grid.size) == ("RGB", (GAP + 2 * 82, GAP + 66))
    assert grid.getpixel((GAP, GAP)) == (200, 0, 0)


def test_a_grid_is_about_square():
    width, height = image_grid(np.zeros((60, 10, 30), np.uint8)).size
    assert 0.6 < width / height < 1.7


def test_many_images_stay_in_bounds():
    assert max(image_grid(np.zeros((2500, 28, 28), np.uint8)).size) < 4096 + 60


def test_pairs_stand_in_groups():
    upper, lower = np.zeros((5, 56, 56), np.uint8), np.full((5, 56, 56), 100, np.uint8)
    grid = np.asarray(image_grid(above_one_another(upper, lower, 3), columns=3, group=2))
    column = grid[:, GAP]
    assert list(column[[GAP, GAP + 58, GAP + 2 * 58 - GAP + GROUP_GAP]]) == [0, 100, 0]
    assert grid[-GAP - 1, -GAP - 1] == 255  # the sixth pair is blank


def test_rows_have_captions_and_columns_headings():
    images = np.zeros((6, 56, 56), np.uint8)
    plain = np.asarray(image_grid(images, columns=2, group=1))
    grid = np.asarray(image_grid(images, columns=2, captions=("input", "output"), headings=("a", "b")))
    top, left = (a - b for a, b in zip(grid.shape, plain.shape, strict=True))
    assert np.array_equal(grid[top:, left:], plain)
    for row in range(3):
        assert (grid[top + row * 58 : top + row * 58 + 56, :left] < 128).any()
    first, third = (grid[top + row * 58 : top + row * 58 + 58, :left] for row in (0, 2))
    assert np.array_equal(first, third)  # they begin again
    assert all((grid[:top, left + i * 58 : left + i * 58 + 56] < 128).any() for i in (0, 1))


@pytest.mark.parametrize("seed", range(5))
def test_words_are_moved_apart(seed):
    rng = np.random.default_rng(seed)
    centers, sizes = rng.uniform(200, 300, (12, 2)), np.stack([rng.uniform(20, 90, 12), np.full(12, 14.0)], 1)
    movable = np.arange(12) > 1
    centers[1] = centers[0] + [0, 40]
    moved = apart(centers, sizes, movable, np.array([[0.0, 0.0], [800.0, 800.0]]))
    assert np.array_equal(moved[:2], centers[:2])
    for i in range(12):
        for j in range(i):
            assert (np.abs(moved[i] - moved[j]) >= (sizes[i] + sizes[j]) / 2 - 1e-6).any()
    alone = np.array([[100.0, 100.0], [200.0, 200.0]])
    assert np.array_equal(
        apart(alone, np.full((2, 2), 20.0), np.ones(2, bool), np.array([[0, 0], [300, 300.0]])), alone
    )


def test_names_in_a_map_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    labels = np.array([f"class number {i % 8}" for i in range(80)])
    figure = latent_map(0.1 * rng.normal(size=(80, 2)), labels, title="codes of 80 rows", label="kind")
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "codes of 80 rows"
    assert axes.get_legend().get_title().get_text() == "kind"
    figure.draw_without_rendering()
    boxes = [word.get_window_extent() for word in axes.texts]
    assert len(boxes) == 10
    assert not any(
        boxes[i].shrunk(0.98, 0.98).overlaps(boxes[j].shrunk(0.98, 0.98)) for i in range(10) for j in range(i)
    )


def test_what_is_black_and_what_is_white():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (20, 4, 4)).astype(np.uint8)
    assert pixel_range(infer_schema(grey), grey) == (0, 255)
    assert pixel_range(infer_schema(grey, binarize="sample"), grey) == (0, 1)
    real = rng.random((20, 4, 4))
    assert pixel_range(infer_schema(real), real) == (0, 1)
    low, high = pixel_range(infer_schema(100 * real, layout="image"), 100 * real)
    assert 0 <= low < 5 < 95 < high <= 100
    levels = rng.integers(0, 5, (50, 4, 4))
    assert pixel_range(infer_schema(levels, likelihood="categorical"), levels) == (0, 4)
    assert list(to_pixels(np.array([-1, 0, 0.5, 1, 2]), 0, 1)) == [0, 0, 128, 255, 255]


def test_rows_become_images():
    rng = np.random.default_rng(0)
    flat = rng.random((5, 12))
    assert np.array_equal(as_images(infer_schema(flat, image_shape=(3, 4)), flat), flat.reshape(5, 3, 4))
    color = rng.random((5, 3, 4, 3))
    assert np.array_equal(as_images(infer_schema(color), color), color)
    with pytest.raises(ValueError, match="rows of a table make no picture"):
        as_images(infer_schema(flat), flat)
    two = rng.random((5, 3, 4, 2))
    with pytest.raises(ValueError, match="images of 2 channels"):
        as_images(infer_schema(two, layout="image"), two)


def test_a_grid_is_saved_as_png(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8)).astype(np.uint8)
    save_grid(images, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(image_grid(images)))


@pytest.mark.parametrize(
    "labels",
    [
        None,
        np.arange(30) % 3,
        np.array(["cat", "dog"] * 15),
        np.linspace(0, 1, 30),
        np.array([f"w{i}" for i in range(30)]),
    ],
    ids=["none", "classes", "words", "scale", "many words"],
)
def test_maps_for_every_kind_of_label(labels):
    figure = latent_map(np.random.default_rng(0).normal(size=(30, 2)), labels, ("a", "b"))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    assert len(axes.collections[0].get_offsets()) == 30
    assert len(figure.axes) == (2 if labels is not None and labels.dtype.kind == "f" else 1)
    figure.canvas.draw()
