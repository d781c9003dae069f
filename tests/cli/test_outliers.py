"""Ranking rows: the table, the sentences, the pictures."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.cli.conftest import TABLE_OPTIONS, TINY

import lowerbound
from lowerbound import VAEOutlierDetector
from lowerbound.tasks.pictures import GAP


@pytest.fixture(scope="module")
def odd_table(table, tmp_path_factory):
    """The table of people, of whom the fourth is 260 tall."""
    frame = pd.read_csv(table)
    frame["height"] = frame["height"].astype(float)
    frame.loc[3, "height"] = 260.0
    path = tmp_path_factory.mktemp("odd") / "people.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(cli, table, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "people"
    words = ("--max-epochs", 60, "--hide", 0.5, "--trim", 0.1, "--no-early-stopping", "--lr", 0.01, *TINY, "-q")
    cli("train", table, *TABLE_OPTIONS, "-o", run, *words)
    return run


def test_rows_are_ranked_and_explained(cli, run, odd_table, table, tmp_path):
    words = ("outliers", run, odd_table, *TABLE_OPTIONS, "-o", tmp_path / "ranked.csv", "--explain", "--plot")
    result = cli(*words)
    ranked = pd.read_csv(tmp_path / "ranked.csv")
    assert list(ranked)[:4] == ["row", "class", "score", "quantile"]
    assert list(ranked)[-1] == "explanation"
    assert sorted(ranked["row"]) == list(range(90))
    assert ranked["score"].is_monotonic_decreasing
    assert ranked.loc[0, "row"] == 3
    assert ranked.loc[0, "quantile"] == 1
    assert ranked.loc[0, "explanation"].startswith("height is 260 where ")
    assert "is expected" in ranked.loc[0, "explanation"]
    assert "row 3, score" in result.stdout
    with Image.open(tmp_path / "ranked.png") as picture:
        assert picture.size[0] > 400
    usual = pd.read_csv(table)[["height", "weight", "age"]]
    detector = VAEOutlierDetector(lowerbound.load(run), random_state=0).fit(usual)
    odd = pd.read_csv(odd_table)
    np.testing.assert_allclose(ranked["score"], np.sort(-detector.score_samples(odd[list(usual)]))[::-1], rtol=1e-4)
    assert (ranked["class"].to_numpy() == odd["class"].to_numpy()[ranked["row"]]).all()


def test_json_and_what_to_compare_with(cli, run, odd_table, other_table, tmp_path):
    words = ("outliers", run, odd_table, *TABLE_OPTIONS, "--json", "--criterion", "elbo")
    first = cli(*words, "-o", tmp_path / "a.csv")
    record = json.loads(first.stdout)
    assert record["first"][0] == 3
    assert record["rows"] == 90
    cli(*words, "-o", tmp_path / "b.csv", "--reference", other_table)
    a, b = pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "b.csv")
    np.testing.assert_allclose(a["score"], b["score"])
    assert not np.allclose(a["quantile"], b["quantile"])


def test_training_data_that_have_gone_are_done_without(cli, run, odd_table, tmp_path):
    copy = tmp_path / "model"
    lowerbound.load(run).save(copy)
    result = cli("outliers", copy, odd_table, *TABLE_OPTIONS, "-o", tmp_path / "ranked.csv")
    assert "the training data of the run are not there" in result.stderr
    assert pd.read_csv(tmp_path / "ranked.csv").loc[0, "row"] == 3


def test_a_saved_detector_ranks_as_in_memory(cli, odd_table, table, tmp_path):
    columns = ["height", "weight", "age"]
    detector = VAEOutlierDetector(n_steps=100, n_estimators=2, random_state=0).fit(pd.read_csv(table)[columns])
    detector.save(tmp_path / "detector")
    words = ("outliers", tmp_path / "detector", odd_table, *TABLE_OPTIONS, "-o", tmp_path / "ranked.csv")
    cli(*words, "--explain", "--plot", "-q")
    ranked = pd.read_csv(tmp_path / "ranked.csv")
    assert ranked.loc[0, "row"] == 3
    expected = detector.table(pd.read_csv(odd_table)[columns]).iloc[ranked["row"]]
    np.testing.assert_allclose(ranked[list(expected)], expected, rtol=1e-5, atol=1e-5)
    result = cli(*words, "--criterion", "elbo", "--force", exit_code=1)
    assert "leave --criterion and --reference out" in result.stderr
    result = cli("evaluate", tmp_path / "detector", odd_table, *TABLE_OPTIONS, exit_code=1)
    assert "holds a VAEOutlierDetector, which only ranks rows" in result.stderr


def test_images_get_a_contact_sheet(cli, digits_run, images, tmp_path):
    words = ("outliers", digits_run, images, "--key", "x", "--label", "y", "--reference", images)
    cli(*words, "-o", tmp_path / "ranked.csv", "--plot", "--explain", "--criterion", "surprise", "-q")
    ranked = pd.read_csv(tmp_path / "ranked.csv")
    n = len(np.load(images)["x"])
    assert sorted(ranked["row"]) == list(range(n))
    assert ranked["explanation"].str.match(r"most surprising at line \d, column \d$").all()
    with Image.open(tmp_path / "ranked.png") as picture:
        assert picture.size[1] > 2 * 56
        pixels = np.asarray(picture.convert("L"))
    worst = np.load(images)["x"][ranked["row"][:12]]
    detector = VAEOutlierDetector(lowerbound.load(digits_run), criterion="surprise", random_state=0)
    heat = detector.fit(np.load(images)["x"]).explain(worst)
    assert heat[0].max() > 1.2 * heat[1:].max((1, 2)).min() > 1.2  # so that one scale for all would show
    for i, (row, column) in enumerate(np.argwhere(heat == heat.max((1, 2), keepdims=True))[:, 1:]):
        top, left = GAP + (56 + GAP) + 7 * row, GAP + i * (56 + GAP) + 7 * column  # under the first row of digits
        assert (pixels[top : top + 7, left : left + 7] == 255).all()


@pytest.mark.parametrize(("name", "message"), [("ranked.txt", "must end in .csv"), ("no/ranked.csv", "no folder")])
def test_wrong_outputs_are_refused(cli, run, odd_table, tmp_path, name, message):
    result = cli("outliers", run, odd_table, *TABLE_OPTIONS, "-o", tmp_path / name, exit_code=1)
    assert message in result.stderr
