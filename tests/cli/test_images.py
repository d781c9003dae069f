"""From a folder of photographs to samples, codes and outliers, by the commands that the program itself suggests."""

import json
import shlex
import tomllib

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.cli.conftest import TINY

import lowerbound
from lowerbound.cli.output import Console
from lowerbound.cli.traverse import _most_telling
from lowerbound.tasks.traverse import along_each, between


def photograph(rng):
    """A picture of some size with a gradient and a little noise."""
    width, height = (int(v) for v in rng.integers(20, 60, 2))
    ramp = np.linspace(0, 1, height)[:, None, None] * rng.uniform(100, 250, 3)
    return Image.fromarray(np.clip(ramp + rng.normal(0, 5, (height, width, 3)), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images") / "photos", np.random.default_rng(0)
    for i in range(24):
        path = folder / ("day" if i % 2 else "night") / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(rng).save(path)
    photograph(rng).convert("L").save(folder / "day" / "gray.png")
    return folder


@pytest.fixture(scope="module")
def run(cli, photographs, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "photos"
    cli("train", photographs, "--resize", "10x8", "--crop", "none", "-o", run, "--max-epochs", 1, *TINY, "-q")
    return run


def suggested(result):
    """The commands that a command suggests, without the name of the program."""
    return [shlex.split(line)[2:] for line in result.stderr.splitlines() if line.startswith("next: ")]


def test_data_check_says_the_flags_and_the_next_commands_work(cli, photographs, tmp_path):
    refused = cli("data", "check", photographs, exit_code=1)
    assert "photos has images of 25 sizes" in refused.stderr
    (check,) = suggested(refused)
    assert check[:3] == ["data", "check", str(photographs)]
    assert check[3] == "--resize"
    accepted = cli(*check)
    assert "how the images are read:" in accepted.stdout
    assert "1 image in gray, read in color as the others are" in accepted.stdout
    assert "day (13), night (12)" in accepted.stdout
    (train,) = suggested(accepted)
    train[train.index("-o") + 1] = run = tmp_path / "run"
    (generate,) = suggested(cli(*train, "--max-epochs", 1, *TINY))
    drawn = suggested(cli(*generate))
    assert [words[0] for words in drawn] == ["generate", "traverse", "evaluate"]
    assert "--mean" in drawn[0]
    cli(*drawn[0])
    (outliers,) = suggested(cli(*drawn[1]))
    assert outliers == ["outliers", str(run), str(photographs), "-o", str(run / "outliers.csv")]
    assert {path.name for path in run.glob("*.png")} == {"samples.png", "samples-mean.png", "traversal.png"}
    ranked = cli(*outliers, "--criterion", "elbo")
    table = pd.read_csv(run / "outliers.csv")
    names = lowerbound.stream(photographs, resize=8).names
    assert table["file"].tolist() == [names[row] for row in table["row"]]
    assert f"row {table['row'][0]} ({table['file'][0]}), score" in ranked.stdout


def test_the_conversion_is_kept_and_applied_again(cli, photographs, run, tmp_path):
    kept = tomllib.loads((run / "config.toml").read_text())["data"]
    assert (kept["resize"], kept["crop"], kept["mode"]) == ("10x8", "none", "rgb")
    expected = lowerbound.read(photographs, resize="10x8", crop="none")
    assert np.array_equal(np.load(run / "images.npy"), expected.X)
    cli("encode", run, photographs, "-o", tmp_path / "codes.npy", "-q")
    assert np.array_equal(np.load(tmp_path / "codes.npy"), lowerbound.load(run).transform(expected.X))
    (tmp_path / "new").mkdir()
    Image.new("L", (33, 21), 90).save(tmp_path / "new" / "a.png")
    for model in (run, run / "model"):
        cli("encode", model, tmp_path / "new", "-o", tmp_path / "new.npy", "-q", "--force")
    X = lowerbound.read(tmp_path / "new", resize="10x8", crop="none", mode="rgb").X
    assert np.array_equal(np.load(tmp_path / "new.npy"), lowerbound.load(run).transform(X))
    result = cli("encode", run, tmp_path / "new", "--resize", 9, "-o", tmp_path / "x.npy", exit_code=1)
    assert "rows of shape (9, 9, 3), but the model was fitted to (8, 10, 3)" in result.stderr


def test_images_are_converted_once(cli, photographs, run, monkeypatch):
    from lowerbound.data.readers import images

    before = (run / "images.npy").stat().st_mtime_ns
    monkeypatch.setattr(images, "pixels", lambda *_, **__: pytest.fail("decoded again"))
    cli("train", "-o", run, "--force", photographs, "--resize", "10x8", "--crop", "none", *TINY, "--max-epochs", 1)
    assert (run / "images.npy").stat().st_mtime_ns == before


def test_other_images_are_converted_anew_and_streamed_ones_are_the_same(cli, photographs, run, tmp_path):
    words = ("train", photographs, "--resize", "10x8", "--crop", "none", *TINY, "--max-epochs", 1, "-q")
    cli(*words, "-o", tmp_path / "run", "--stream")
    assert (tmp_path / "run" / "images.npy").read_bytes() == (run / "images.npy").read_bytes()
    known = json.loads((tmp_path / "run" / "images.json").read_text())
    words = ("train", photographs, "--resize", "6", *TINY, "--max-epochs", 1, "-q")
    cli(*words, "-o", tmp_path / "run", "--force")
    assert np.load(tmp_path / "run" / "images.npy").shape == (25, 6, 6, 3)
    assert json.loads((tmp_path / "run" / "images.json").read_text())["sha256"] == known["sha256"]


def test_a_bar_is_shown_while_images_are_read(photographs, monkeypatch):
    from contextlib import contextmanager

    from lowerbound.cli.options import DataOptions

    seen = []

    @contextmanager
    def progress(self, n_rows, what, done=0):
        seen.append((n_rows, what))
        yield lambda n: seen.append(n)

    monkeypatch.setattr(Console, "progress", progress)
    dataset = DataOptions(str(photographs), resize="4").read(Console())
    assert seen == [(25, "reading images"), 25]
    assert dataset.labels.tolist() == 13 * ["day"] + 12 * ["night"]


def test_one_image_is_refused_before_training(cli, tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "one" / "a.png")
    assert "one has 1 row: a model needs at least 2" in cli("data", "check", tmp_path / "one", exit_code=1).stderr


def test_layouts_are_recognized_or_asked_about(cli, tmp_path):
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 200, (30, 3, 16, 16)).cumsum(2).cumsum(3)
    color = (smooth / smooth.max() * 255).astype(np.uint8)

    def layout(X):
        np.save(tmp_path / "x.npy", X)
        return json.loads(cli("data", "check", tmp_path / "x.npy", "--json").stdout)["layout"]

    assert layout(color) == "image (C, H, W)"
    assert layout(color[:, :1]) == "image (C, H, W)"
    assert layout(color.reshape(30, -1)) == "features (if they are images: --image-shape 3,16,16)"
    last = np.moveaxis(color, 1, -1)
    assert layout(last.reshape(30, -1)) == "features (if they are images: --image-shape 16,16,3)"
    assert layout(color[:, 0].reshape(30, -1).astype(int)) == "features (if they are images: --image-shape 16,16)"
    assert layout(rng.integers(0, 255, (30, 256))) == "features"  # neighbors have nothing in common
    np.save(tmp_path / "two.npy", rng.normal(size=(30, 2, 9, 9)))
    asked = cli("data", "check", tmp_path / "two.npy")
    assert "say layout='image', 'channels_first' or 'features'" in asked.stdout
    assert not suggested(asked)


def test_bytes_of_every_type_and_binary_images(cli, tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (20, 8, 8))
    np.save(tmp_path / "grey.npy", grey)
    record = json.loads(cli("data", "check", tmp_path / "grey.npy", "--json").stdout)
    assert (record["likelihood"], record["binary"]) == ("discretized_logistic", False)
    for dtype in (np.uint8, np.int64):
        np.save(tmp_path / "binary.npy", np.where(grey > 100, 255, 0).astype(dtype))
        result = cli("data", "check", tmp_path / "binary.npy")
        assert "only 0 and 255: binary, so --binarize threshold reads them as 0 and 1" in result.stdout
        (train,) = suggested(result)
        assert train[2:4] == ["--binarize", "threshold"]
    train[-1] = tmp_path / "run"
    trained = cli(*train, "--max-epochs", 1, *TINY)
    assert "likelihood bernoulli" in trained.stderr
    plain = cli("train", tmp_path / "binary.npy", "-o", tmp_path / "plain", "--max-epochs", 1, *TINY)
    assert "all values are 0 or 255: --binarize threshold" in plain.stderr
    np.save(tmp_path / "table.npy", grey.reshape(20, -1)[:, :5])
    assert json.loads(cli("data", "check", tmp_path / "table.npy", "--json").stdout)["likelihood"] == "gaussian"


def test_a_traversal_and_a_path(cli, digits_run, tmp_path):
    model = lowerbound.load(digits_run)
    X = lowerbound.read("digits").X
    cli("traverse", digits_run, "digits", "--row", 7, "--steps", 5, "-o", tmp_path / "all.npy", "-q")
    rows = np.load(tmp_path / "all.npy").reshape(3, 5, 8, 8)
    assert np.allclose(rows[1], model.traverse(X[7], 1, np.linspace(-2, 2, 5)))
    cli("traverse", digits_run, "--steps", 5, "-o", tmp_path / "middle.npy", "-q")
    assert np.allclose(
        np.load(tmp_path / "middle.npy").reshape(3, 5, 8, 8)[2], model.traverse(np.zeros(3), 2, np.linspace(-2, 2, 5))
    )
    cli("traverse", digits_run, "-n", 2, "-o", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.height == 2 + 14 + 2 * 58  # headings and two latent variables
    cli("interpolate", digits_run, "digits", "--between", 3, 17, "--steps", 4, "-o", tmp_path / "path.npy", "-q")
    first, last = model.transform(X[[3, 17]])
    codes = [first + share * (last - first) for share in (0, 1 / 3, 2 / 3, 1)]
    assert np.allclose(np.load(tmp_path / "path.npy"), model.inverse_transform(codes))
    for ending in ("png", "gif"):
        cli("interpolate", digits_run, "digits", "--between", 3, 17, "--steps", 4, "-o", tmp_path / f"path.{ending}")
    with Image.open(tmp_path / "path.gif") as animation:
        assert animation.n_frames == 6
    wrong = cli("interpolate", digits_run, "digits", "--between", 3, 1797, "-o", tmp_path / "x.png", exit_code=1)
    assert "digits has the rows 0 to 1,796: there is no row 1,797" in wrong.stderr


def test_a_traversal_of_a_table(cli, table_run, tmp_path):
    cli("traverse", table_run, "--steps", 3, "-o", tmp_path / "t.csv", "-q")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert list(frame.columns) == ["latent", "deviation", "height", "weight", "age"]
    assert frame["latent"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert frame["deviation"].tolist() == 3 * [-2, 0, 2]


def test_codes_along_variables_and_between():
    import torch

    codes = along_each(torch.tensor([1.0, 2.0]), torch.tensor([[-1.0, -3.0], [4.0, 5.0]]))
    assert codes.tolist() == [[[-1, 2], [4, 2]], [[1, -3], [1, 5]]]
    assert between(torch.zeros(2), torch.tensor([2.0, 4.0]), 3).tolist() == [[0, 0], [1, 2], [2, 4]]
    rows = np.zeros((3, 4, 2))
    rows[1, :, 0], rows[2, :, 1] = [0, 1, 2, 3], [0, 9, 9, 0]
    assert _most_telling(rows, 2) == [2, 1]
