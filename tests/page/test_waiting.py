"""A run that trains and has no model yet."""

import pytest

from lowerbound.web.refusals import Unanswerable
from lowerbound.web.service import Service
from lowerbound.web.services import Waiting, service_of


@pytest.fixture
def run():
    """What is there of a run: its epochs, and its model."""
    return {"history": [], "model": False}


def waiting(run, make):
    return Waiting("a run", lambda: run["model"], make, "row", lambda: run["history"])


def test_training_is_shown_before_there_is_a_model(run, image_subject):
    service = waiting(run, lambda: Service(image_subject, lambda: run["history"]))
    about = service.answer("overview", {})
    assert about["kind"] == "waiting"
    assert set(about["lacks"]) >= {"map", "sample", "pairs", "traversals", "dimensions", "outliers", "gaps"}
    assert service.answer("training", {}) == {"training": None}
    run["history"].append({"epoch": 1, "elbo": -3.0})
    assert service.answer("training", {})["training"]["epoch"] == [1]
    with pytest.raises(Unanswerable, match="no model yet"):
        service.answer("map", {})
    run["model"] = True
    assert service.answer("overview", {})["kind"] == "image"
    assert service.answer("map", {})["n"] == 200
    assert service.answer("training", {})["training"]["epoch"] == [1]


def test_why_the_model_can_t_be_shown_is_said_and_not_tried_again(run):
    tried = []

    def make():
        tried.append(1)
        raise OSError("table.csv doesn't exist")

    service = waiting({**run, "model": True}, make)
    for _ in range(2):
        with pytest.raises(Unanswerable, match="doesn't exist"):
            service.answer("overview", {})
    assert len(tried) == 1


def test_the_page_goes_on_when_the_model_is_there(browser, run, text_subject):
    pytest.importorskip("uvicorn")
    from tests.page.test_browser import Tab

    from lowerbound.web.server import Page

    run["history"].append({"epoch": 1, "elbo": -3.0, "kl": 1.0})
    page = Page(lambda: waiting(run, lambda: service_of(text_subject, lambda: run["history"])))
    tab = Tab(browser, page)
    assert tab.tab.locator(".stage h2").text_content() == "Training"
    tab.tab.wait_for_selector(".chart", timeout=30_000)
    assert "no model yet" in tab.open("map").text_content()
    assert "no model yet" in tab.open("outliers").text_content()
    run["model"] = True
    tab.tab.wait_for_selector(".unusual", timeout=60_000)
    assert tab.said == []
    tab.context.close()
    page.close()
