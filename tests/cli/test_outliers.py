"""Ranking rows: the table, the sentences, the pictures."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.cli.conftest import TABLE_OPTIONS, TINY

import lowerbound
from lowerbound import SavedFileError, VAEOutlierDetector
from lowerbound.cli.outliers import _about, _clause, _word
from lowerbound.cli.output import Console
from lowerbound.data.columns.coding import UnseenCategoryWarning
from lowerbound.pictures.pictures import GAP


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
    words = (
        "--max-epochs",
        60,
        "--input-dropout",
        0.5,
        "--trim-fraction",
        0.1,
        "--no-early-stopping",
        "--lr",
        0.01,
        *TINY,
        "-q",
    )
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
    assert "the training data of the run are missing" in result.stderr
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
    assert "holds a model of kind detector, which `lowerbound evaluate` can't use" in result.stderr


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
        left = pixels.shape[1] - (len(worst) - i) * (56 + GAP) + 7 * column  # on the right of the captions
        top = GAP + (56 + GAP) + 7 * row  # under the first row of digits
        assert (pixels[top : top + 7, left : left + 7] == 255).all()


def test_one_row_is_ranked_with_its_values_as_they_are(cli, run, odd_table, tmp_path):
    frame = pd.read_csv(odd_table).iloc[[3]]
    for height, words in ((260.0, "260"), (123456.78, "123456.78"), (-1234.5, "−1234.5")):
        frame.assign(height=height).to_csv(tmp_path / "one.csv", index=False)
        words_given = ("outliers", run, tmp_path / "one.csv", *TABLE_OPTIONS, "-o", tmp_path / "r.csv")
        cli(*words_given, "--explain", "--plot", "--force")
        ranked = pd.read_csv(tmp_path / "r.csv")
        assert ranked["row"].tolist() == [0]
        assert ranked.loc[0, "explanation"].startswith(f"height is {words} where 1")
    frame.iloc[:0].to_csv(tmp_path / "one.csv", index=False)
    assert "one.csv has no rows; at least one is needed" in cli(*words_given, "--force", exit_code=1).stderr


def test_a_row_without_values_is_said_to_have_none(cli, run, odd_table, tmp_path):
    frame = pd.read_csv(odd_table)
    frame.loc[7, ["height", "weight", "age"]] = np.nan
    frame.loc[8, ["height", "weight"]] = np.nan
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    cli("outliers", run, tmp_path / "gaps.csv", *TABLE_OPTIONS, "-o", tmp_path / "r.csv", "--explain")
    said = pd.read_csv(tmp_path / "r.csv").set_index("row")["explanation"]
    assert said[7] == "none of its values is known"
    assert said[8] == "no single value stands out" or said[8].startswith("age is ")
    assert "height is 260" in said[3]


def test_what_is_not_known_is_said_once(cli, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90), "color": rng.choice(["red", "blue"], 90)})
    detector = VAEOutlierDetector(n_steps=5, random_state=0).fit(frame)
    with pytest.warns(UnseenCategoryWarning) as warned:
        detector.score_samples(frame.assign(color="green"))
    assert len(warned) == 1
    detector.save(tmp_path / "detector")
    pd.concat([frame.assign(color="green"), frame]).to_csv(tmp_path / "odd.csv", index=False)
    monkeypatch.setattr("lowerbound.outliers.member.ROWS_AT_ONCE", 40)
    words = ("outliers", tmp_path / "detector", tmp_path / "odd.csv", "-o", tmp_path / "r.csv", "--explain")
    assert cli(*words).stderr.count("warning") == 1


def test_a_detector_is_not_saved_over_a_run(run, table):
    detector = VAEOutlierDetector(n_steps=5, n_estimators=1, random_state=0).fit(pd.read_csv(table)[["height", "age"]])
    with pytest.raises(SavedFileError, match="people is the folder of a run"):
        detector.save(run)
    assert isinstance(lowerbound.load(run), lowerbound.VAE)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (0.1 + 0.2, "0.3"), (float(np.float32(0.1)), "0.1"), (1.5e300, "1.5e+300"),
        (2.0, "2"), (1e20, "1e+20"), (12345678.0, "12345678"), (7, "7"), ("red", "red"),
        (True, "True"), (pd.Timestamp("2020-02-01"), "2020-02-01"), (np.float64(-0.125), "−0.125"),
    ],
)  # fmt: skip
def test_values_are_shown_as_they_are(seen, expected):
    assert _word(seen) == expected


def test_what_is_expected_is_rounded_but_for_what_stands_before_the_point():
    shown = [_about(v) for v in (98765.4, 12.3456, 0.000123456, -1234.5, 3, "red", False, pd.Timestamp("2020-02-01"))]
    assert shown == ["98765", "12.35", "0.0001235", "−1234", "3", "red", "False", "2020-02-01"]


def test_a_range_from_few_samples_is_called_rough():
    reason = {"feature": "age", "value": 999, "expected": 50.0, "low": 30.0, "high": 70.0}
    assert _clause(reason | {"ess": 200.0}) == "age is 999 where 50 (30 to 70) is expected"
    assert _clause(reason | {"ess": 3.0}) == "age is 999 where 50 (roughly 30 to 70) is expected"


@pytest.mark.parametrize(("name", "message"), [("ranked.txt", "must end in .csv"), ("no/ranked.csv", "no folder")])
def test_wrong_outputs_are_refused(cli, run, odd_table, tmp_path, name, message):
    result = cli("outliers", run, odd_table, *TABLE_OPTIONS, "-o", tmp_path / name, exit_code=1)
    assert message in result.stderr


@pytest.mark.parametrize("model", ["vae", "gaussian"])
def test_the_usual_rows_are_capped_and_their_scoring_is_shown(cli, run, table, odd_table, tmp_path, monkeypatch, model):
    told = {}

    @contextmanager
    def bar(console, n_rows, what, done=0):
        told[what] = []
        yield told[what].append

    monkeypatch.setattr(Console, "progress", bar)
    command = sys.modules["lowerbound.cli.outliers"]
    monkeypatch.setattr(command, "USUAL", 70)
    monkeypatch.setattr(command, "LEAST_USUAL", 50)
    if model != "vae":
        run = tmp_path / "run"
        cli("train", table, *TABLE_OPTIONS, "-o", run, "--model", model)
    words = ("--criterion", "regret") if model == "vae" else ()
    result = cli("outliers", run, odd_table, *TABLE_OPTIONS, "-o", tmp_path / "ranked.csv", *words)
    assert "comparing with 70 usual rows of 90, from all over" in result.stderr
    assert sum(told["comparing"]) == pytest.approx(1)
    assert len(told["comparing"]) >= (4 if model == "vae" else 1)
    assert sum(told["scoring"]) == 90
