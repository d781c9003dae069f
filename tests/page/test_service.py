"""The answers to the requests of the panels."""

import asyncio
import base64
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lowerbound
from lowerbound import MLP, VAE, VampPrior
from lowerbound.report import density
from lowerbound.report.subject import Subject
from lowerbound.web.refusals import Superseded, Unanswerable
from lowerbound.web.sequence_service import SequenceService
from lowerbound.web.service import Service

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")  # small models


@pytest.fixture(scope="module")
def images(image_subject):
    return Service(image_subject)


@pytest.fixture(scope="module")
def table(table_subject):
    return Service(table_subject)


def test_every_name_is_answered():
    pytest.importorskip("starlette")
    from lowerbound.web.application import NAMES, static_files

    assert set(NAMES) == {*Service(None, list).answers, *SequenceService(None, list).answers}
    assert {"/", "/app.js", "/map.js", "/dom.js", "/style.css", "/page.css"} <= set(static_files())


def test_a_decoded_code_is_the_model_s(images, image_model, image_subject):
    z = [[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]]
    found = images.answer("decode", {"z": z})
    assert found["shown"] == image_subject.display.show(image_model.decode(z))
    draws = [images.answer("decode", {"z": z, "draw": True, "seed": seed})["shown"] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_a_table_has_the_densities_of_its_numbers(table, table_subject, table_model):
    z = np.array([0.3, -0.2])
    found = table.answer("decode", {"z": [z.tolist()], "densities": True})["densities"]
    assert found[2] is None  # words
    x, p = np.array(found[0]["x"]), np.array(found[0]["p"])
    assert np.trapezoid(p, x) == pytest.approx(1, abs=0.1)
    height = float(table_model.decode(z)["height"].iloc[0])
    assert np.trapezoid(p * x, x) / np.trapezoid(p, x) == pytest.approx(height, abs=0.5)
    assert len(x) == density.POINTS


def test_densities_are_in_the_units_of_a_plain_array():
    rows = np.random.default_rng(0).normal(0, [[50.0, 0.02]], (150, 2))
    vae = VAE(1, network=MLP((8,)), max_epochs=2, random_state=0).fit(rows)
    for found in density.densities(Subject.of(vae, rows), np.zeros(1)):
        assert np.trapezoid(found["p"], found["x"]) == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def given_digits(digits):
    return VAE(2, network=MLP((8,)), max_epochs=1, random_state=0).fit(digits.X[:60], context=digits.labels[:60])


def test_what_the_model_is_given_is_chosen(given_digits, digits):
    subject = Subject.of(given_digits, digits.X[:60], digits.labels[:60])
    service, z = Service(subject), [[0.5, -1.0]]
    [field] = service.answer("overview", {})["given"]
    assert field == {"name": "context", "kind": "classes", "classes": [str(k) for k in range(10)], "value": 0}
    for place in (3, 7):
        wanted = subject.display.show(given_digits.decode(z, context=[place]))
        assert service.answer("decode", {"z": z, "given": [place]})["shown"] == wanted
    assert service.answer("decode", {"z": z})["shown"] == service.answer("decode", {"z": z, "given": [0]})["shown"]
    paths = [service.answer("traversals", {"given": [place]})["paths"][0]["rows"] for place in (3, 7)]
    assert paths[0] != paths[1]
    for wrong in ([10], ["3"], [True], [], 3):
        with pytest.raises(ValueError, match=r"classes|given"):
            service.answer("decode", {"z": z, "given": wrong})


def test_circles_are_of_a_standard_normal_prior_alone(image_subject, digits):
    assert Service(image_subject).answer("map", {})["is_prior"]
    vamp = VAE(2, prior=VampPrior(4), network=MLP((8,)), max_epochs=1, random_state=0).fit(digits.X[:60])
    assert not Service(Subject.of(vamp, digits.X[:60])).answer("map", {})["is_prior"]


def test_paths_start_from_a_row(images, image_subject):
    found = images.answer("traversals", {"rows": [7]})
    d = found["paths"][0]["dimension"]
    assert found["from"] == "the chosen row"
    assert found["paths"][0]["values"] != pytest.approx([image_subject.codes[7, d]])
    assert found["paths"][0]["rows"] != images.answer("traversals", {})["paths"][0]["rows"]


def test_the_map_by_any_two_variables(images, image_subject):
    found = images.answer("map", {"dimensions": [2, 1]})
    x = np.frombuffer(base64.b64decode(found["x"]), "<f4")
    np.testing.assert_allclose(x, image_subject.codes[:, 2], atol=1e-6)
    assert found["dimensions"] == [2, 1]
    with pytest.raises(Unanswerable):
        images.answer("map", {"dimensions": [0, 3]})


def test_a_selection_is_saved_with_its_values(table, table_subject, people):
    text = table.answer("selection", {"rows": [3, 5]})["csv"]
    found = pd.read_csv(io.StringIO(text))
    assert found["row"].tolist() == [3, 5]
    assert found["town"].tolist() == people["town"].iloc[[3, 5]].tolist()
    assert found["z0"].to_numpy() == pytest.approx(table_subject.codes[[3, 5], 0])


def test_an_image_of_one_s_own(images, digits, image_subject):
    file = io.BytesIO()
    Image.fromarray(np.kron(digits.X[0], np.ones((4, 4), np.uint8))).save(file, "PNG")
    body = {"image": base64.b64encode(file.getvalue()).decode()}
    [found] = images.answer("reconstruct", body)["yours"]
    assert found["input"] == image_subject.display.show(digits.X[:1], given=True)[0]
    with pytest.raises(Unanswerable, match="no image"):
        images.answer("reconstruct", {"image": base64.b64encode(b"GIF89a").decode()})


def test_a_row_of_one_s_own(table):
    [found] = table.answer("reconstruct", {"values": {"height": "181.5", "age": "", "town": "Oslo"}})["yours"]
    assert found["input"] == ["181.5", None, "Oslo"]
    assert all(found["output"])


def test_hidden_cells_are_filled(table):
    found = table.answer("gaps", {"rows": [0], "hidden": [2]})["rows"][0]
    assert [cell["column"] for cell in found["cells"]] == ["town"]
    assert set(found["cells"][0]["draws"]) <= {"Rome </script><b>", "Oslo"}


def test_selected_rows_beside_their_reconstructions(images):
    found = images.answer("pairs", {"rows": [9, 4]})["selected"]
    assert [pair["row"] for pair in found] == [9, 4]


@pytest.mark.parametrize(
    "name", ["overview", "dimensions", "outliers", "estimates", "samples", "colors", "training", "prior"]
)
def test_the_other_panels(images, name):
    answer = images.answer(name, {})
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer  # plain data, without NaN
    assert answer


def test_history_is_read_again(table_subject):
    history = []
    service = Service(table_subject, lambda: history)
    assert service.answer("training", {}) == {"training": None}
    assert not service.answer("overview", {})["has"]["training"]
    history.append({"epoch": 1, "elbo": -3.0})
    assert service.answer("training", {})["training"]["epoch"] == [1]


def test_without_data(image_model):
    service = Service(Subject.of(image_model))
    has = service.answer("overview", {})["has"]
    assert has["decode"]
    assert not has["map"]
    assert service.answer("dimensions", {})["dimensions"]["n_active"] == 3
    with pytest.raises(Unanswerable):
        service.answer("map", {})


def test_of_waiting_requests_the_latest_wins():
    pytest.importorskip("starlette")
    from lowerbound.web.application import Latest

    done, latest = [], Latest()

    async def work(i):
        await asyncio.sleep(0.01)
        done.append(i)
        return i

    async def all_at_once():
        jobs = [latest.run("a", "decode", lambda i=i: work(i)) for i in range(5)]
        other = latest.run("b", "decode", lambda: work("other"))
        return await asyncio.gather(*jobs, other, return_exceptions=True)

    with ThreadPoolExecutor(1) as thread:  # a browser of another test may have a loop in this one
        found = thread.submit(asyncio.run, all_at_once()).result()
    assert isinstance(found[1], Superseded)
    assert found[4] == 4
    assert found[5] == "other"
    assert [i for i in done if i != "other"][-1] == 4
    assert len(done) <= 3


def test_without_the_extra_it_says_what_to_install(image_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"pip install 'lowerbound\[ui\]'"):
        image_model.explore()


def test_explore_from_python(image_model, digits):
    pytest.importorskip("uvicorn")
    page = image_model.explore(digits.X[:20], digits.labels[:20], browser=False)
    assert page.url.startswith("http://127.0.0.1:")
    assert "Look at the model" in page._repr_html_()
    assert page.service.result(60).subject.n_rows == 20
    page.close()
    assert "explore" in dir(lowerbound)
