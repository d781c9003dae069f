"""What a report and a page show, as plain data."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from lowerbound import PPCA, VAE, Autoencoder, Factorized, RecurrentVAE, VAEOutlierDetector
from lowerbound.report import codes, facts, quality, unusual
from lowerbound.report.rows import Display, word
from lowerbound.report.subject import Subject, spread

pytestmark = pytest.mark.filterwarnings(  # small models of few steps are no good ones
    "ignore::lowerbound.CollapsedPosteriorWarning", "ignore::lowerbound.WorseThanIndependentWarning"
)


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.fixture(scope="module")
def of_images(image_subject):
    return facts.report_facts(image_subject, n_importance=20)


@pytest.fixture(scope="module")
def of_table(table_subject):
    return facts.report_facts(table_subject, n_importance=20)


def test_every_section_of_images(of_images):
    wanted = {"overview", "estimates", "samples", "map", "pairs", "dimensions", "traversals", "outliers", "gaps"}
    assert wanted | {"training", "bits"} <= set(of_images)
    json.dumps(of_images, allow_nan=False)


def test_every_section_of_a_table(of_table):
    assert {"estimates", "samples", "map", "pairs", "dimensions", "outliers", "gaps"} <= set(of_table)
    assert "training" not in of_table  # there is no history
    assert "bits" not in of_table  # heights are no message
    json.dumps(of_table, allow_nan=False)


def test_no_row_without_the_data(image_subject, digits):
    found = facts.report_facts(image_subject, with_rows=False, n_importance=20)
    assert not {"map", "pairs", "outliers", "gaps"} & set(found)
    assert {"estimates", "samples", "traversals", "dimensions"} <= set(found)
    shown = set(image_subject.display.show(digits.X[:200], given=True))
    assert not [uri for uri in shown if uri in json.dumps(found)]


def test_an_image_is_shown_as_it_is(image_subject, digits):
    [uri] = image_subject.display.show(digits.X[:1], given=True)
    np.testing.assert_array_equal(pixels(uri), digits.X[0])


def test_large_images_are_made_smaller(image_subject):
    [uri] = image_subject.display.smaller(4).show(np.zeros((1, 8, 8), np.uint8))
    assert pixels(uri).shape == (4, 4)


def test_points_of_the_map_are_posterior_means(table_subject, table_model, people):
    found = codes.map_of(table_subject, [1, 0])
    means = table_model.transform(people)
    np.testing.assert_allclose(floats(found["x"]), means[:, 1], atol=1e-5)
    np.testing.assert_allclose(floats(found["y"]), means[:, 0], atol=1e-5)


def test_points_of_the_map_are_colored(image_subject, digits):
    [color, kl, bound] = codes.colors_of(image_subject)
    assert codes.known_colors(image_subject) == [color]
    assert color["classes"] == [str(k) for k in range(10)]
    np.testing.assert_array_equal(floats(color["values"]), digits.labels[:200])
    np.testing.assert_allclose(floats(kl["values"]), image_subject.terms.kl.sum(1), rtol=1e-5)
    assert bound["name"] == "lower bound of log p(x), in nats"


@pytest.mark.parametrize("dimensions", [[1, 0], "pca"])
def test_a_place_on_the_map_leads_back_to_its_code(image_subject, dimensions):
    found = codes.places_on(image_subject, dimensions)
    place = np.column_stack([floats(found["x"]), floats(found["y"])])
    basis = np.array(found["basis"])
    back = (np.array(found["center"]) + place @ basis - np.array(found["center"])) @ basis.T
    np.testing.assert_allclose(back, place, atol=1e-5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-6)


def test_traversals_are_decoded_paths(image_subject, image_model):
    found = codes.traversals(image_subject, steps=3)
    path = found["paths"][0]
    z = np.zeros((3, 3))
    z[:, path["dimension"]] = [-codes.FARTHEST, 0, codes.FARTHEST]
    assert path["values"] == z[:, path["dimension"]].tolist()
    assert path["rows"] == image_subject.display.show(image_model.decode(z))


def test_pairs_are_ranked_by_their_reconstruction(image_subject):
    found = quality.pairs(image_subject, 5)
    nats = image_subject.terms.reconstruction
    assert [pair["nats"] for pair in found["best"]] == [round(float(v), 2) for v in nats.sort(descending=True)[0][:5]]
    assert found["worst"][0]["nats"] == round(float(nats.min()), 2)


def test_log_p_is_the_model_s_own(of_images, image_subject, image_model):
    [log_p] = [each for each in of_images["estimates"] if each["name"] == "log p(x)"]
    wanted = image_model.log_likelihood(image_subject.X, 20)
    assert (log_p["value"], log_p["error"]) == (wanted.value, wanted.standard_error)
    assert log_p["sign"] == "≥"
    [bits] = [each for each in of_images["estimates"] if each["unit"] == "bits"]
    assert bits["value"] == pytest.approx(-wanted.value / 64 / math.log(2))


def test_bits_add_up_to_the_bound(of_images):
    bits = of_images["bits"]
    assert bits["z"] + bits["x"] - bits["back"] == pytest.approx(bits["total"], abs=0.05)


def test_reasons_of_unusual_rows(people, table_model):
    odd = people.iloc[:60].copy()
    odd.loc[odd.index[7], "height"] = 900.0
    found = unusual.outliers(Subject.of(table_model, odd), 3)
    assert found["rows"][0]["row"] == 7
    assert found["rows"][0]["reasons"][0]["feature"] == "height"
    assert found["rows"][0]["reasons"][0]["value"] == "900"


def test_a_detector_has_p_values(people, table_model):
    detector = VAEOutlierDetector(table_model, calibration_fraction=0.3, random_state=0).fit(people)
    found = unusual.outliers(Subject.of(detector, people), 2)
    assert 0 < found["rows"][0]["p_value"] <= 1
    assert found["compared"] == "the rows that the detector was fitted to"


def test_what_was_seen_of_a_gap_stays(image_subject, digits):
    hidden = unusual.hidden_at_random(image_subject, 2)
    assert hidden[:, 4:].all()
    assert not hidden[:, :4].any()
    draws, expected = unusual.filled(image_subject, np.where(digits.X[:2] > 127, 255, 0).astype(np.uint8), hidden, 3)
    assert len(draws) == 3
    for each in (*draws, expected):
        np.testing.assert_array_equal(np.asarray(each)[:, :4], digits.X[:2, :4] > 127)
    assert ((np.asarray(expected) >= 0) & (np.asarray(expected) <= 1)).all()


def test_cells_of_a_table_are_wiped_out_and_filled(of_table, people):
    item = of_table["gaps"]["rows"][0]
    [cell] = item["cells"]
    assert cell["true"] == word(people[cell["column"]].tolist()[item["row"]])
    assert len(cell["draws"]) == 5


def test_a_collapsed_model_says_so(image_model, digits):
    subject = Subject.of(image_model, digits.X[:20])
    subject.__dict__["active"] = np.zeros(3, bool)
    assert "posterior collapse" in codes.dimensions(subject)["collapsed"].replace("\n", " ")


def test_curves_leave_out_what_is_no_number():
    history = [{"epoch": 1, "elbo": math.nan, "kl": 2.0, "n_skipped": 3}, {"epoch": 2, "elbo": -4.0, "kl": math.inf}]
    found = quality.training([*history, {"note": "not an epoch"}])
    assert found["epoch"] == [1, 2]
    assert [curve["values"] for curve in found["curves"]] == [[None, -4.0], [2.0, None]]
    assert found["n_skipped"] == 3
    assert quality.training([]) is None


def test_many_rows_are_taken_with_their_labels_shares():
    labels = np.repeat(["a", "b", "c"], [9000, 900, 100])
    counts = np.unique(labels[spread(10_000, labels, 1000)], return_counts=True)[1]
    np.testing.assert_allclose(counts, [900, 90, 10], atol=1)
    assert len(np.unique(spread(10_000, None, 1000))) == 1000


def test_which_rows_were_taken_is_said(image_model, digits):
    subject = Subject.of(image_model, digits.X, digits.labels, most=100)
    assert subject.chosen == "100 of 1,797 rows, from all over, each label with its share"
    np.testing.assert_array_equal(subject.X, digits.X[subject.places])


@pytest.mark.parametrize(("value", "words"), [
    (np.nan, None), (None, None), (3.0, "3"), (-0.51234, "−0.5123"), (123456.7, "123457"), (True, "True"), ("a", "a"),
])  # fmt: skip
def test_values_as_words(value, words):
    assert word(value) == words


@pytest.mark.parametrize("make", [
    lambda: PPCA(1), lambda: Factorized(), lambda: Autoencoder(2, max_epochs=2, random_state=0),
])  # fmt: skip
def test_other_models(make, people):
    rows = people[["height", "age"]].dropna().astype(float)
    found = facts.report_facts(Subject.of(make().fit(rows), rows), n_importance=5)
    assert found["overview"]["n_rows"] == len(rows)
    json.dumps(found, allow_nan=False)


def test_a_model_given_a_context(digits):
    vae = VAE(2, max_epochs=1, random_state=0).fit(digits.X[:100], context=digits.labels[:100])
    found = facts.report_facts(Subject.of(vae, digits.X[:40], digits.labels[:40]), n_importance=5)
    assert {"map", "pairs", "traversals", "outliers", "gaps", "samples"} <= set(found)


def test_paths_are_those_of_active_variables(image_model, digits):
    subject = Subject.of(image_model, digits.X[:20])
    least = int(np.argmin(subject.kl))
    subject.__dict__["active"] = np.arange(3) == least
    assert [path["dimension"] for path in codes.traversals(subject)["paths"]] == [least]
    assert subject.order[0] == least
    assert least in codes.axes_of(subject)[0]["dimensions"]


def test_one_latent_variable(people):
    rows = people[["height", "age"]].dropna()
    found = codes.map_of(Subject.of(VAE(1, max_epochs=1, random_state=0).fit(rows), rows))
    assert found["axes"][1] == ""


def test_without_rows(image_model):
    found = facts.report_facts(Subject.of(image_model))
    assert {"samples", "traversals", "dimensions"} <= set(found)
    assert not found["with_rows"]


def test_sequences_are_refused():
    songs = [np.ones((4, 2), int), np.zeros((3, 2), int)] * 5
    model = RecurrentVAE(1, hidden_size=4, max_epochs=1, random_state=0).fit(songs)
    with pytest.raises(TypeError, match="there is no page of a RecurrentVAE yet"):
        Subject.of(model)


def test_color_images_and_their_differences():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
    vae = VAE(2, layout="image", network="mlp", max_epochs=1, random_state=0).fit(images)
    display = Display.of(vae.schema_, [], images)
    np.testing.assert_array_equal(pixels(display.show(images[:1], given=True)[0]), images[0])
    assert pixels(display.differences(images[:1], images[:1])[0]).min() == 255
