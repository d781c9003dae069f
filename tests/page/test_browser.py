"""The page in a real browser: every panel, with the keyboard, for screen readers, and when the server goes."""

from pathlib import Path

import numpy as np
import pytest
from tests.page.conftest import AXE

pytest.importorskip("uvicorn")

from lowerbound import VAE
from lowerbound.report.subject import Subject
from lowerbound.web.server import Page
from lowerbound.web.service import Service

PANELS = ("map", "sample", "reconstructions", "traversals", "dimensions", "outliers", "gaps", "training")


class Tab:
    """A tab that keeps what was said on its console and what was asked for."""

    def __init__(self, browser, page, **options):
        self.context = browser.new_context(viewport={"width": 1200, "height": 800}, **options)
        self.tab = self.context.new_page()
        self.said, self.asked = [], []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(page.url)
        self.tab.wait_for_selector(".stage h2", timeout=60_000)

    def turn_to(self, panel):
        self.tab.click(f"[data-panel={panel}]")
        self.tab.wait_for_selector(f"[data-panel={panel}][aria-current=page]")  # the panel changes after the address

    def open(self, panel):
        self.turn_to(panel)
        self.tab.wait_for_selector(".stage .empty", state="detached", timeout=120_000)
        return self.tab.locator(".stage")

    def violations(self):
        if not self.tab.evaluate("() => 'axe' in window"):
            self.tab.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.tab.evaluate("async () => (await axe.run()).violations")
        return [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found]


@pytest.fixture(scope="module")
def pages(image_subject, table_subject):
    found = {"images": Page(lambda: Service(image_subject)), "table": Page(lambda: Service(table_subject))}
    yield found
    for page in found.values():
        page.close()


def test_every_panel_of_images(browser, pages):
    tab = Tab(browser, pages["images"])
    assert tab.tab.url == f"http://127.0.0.1:{pages['images'].port}/#map".removesuffix("#map")  # without the token
    names = tab.tab.locator("[data-panel]").all_text_contents()
    assert [name.lower() for name in names] == list(PANELS)
    for panel in PANELS:
        stage = tab.open(panel)
        assert stage.locator("h2").text_content().lower() == panel
    assert tab.open("reconstructions").locator("img").count() >= 30
    assert tab.open("outliers").locator("figure").count() >= 20
    assert tab.open("training").locator("svg").count() == 3
    assert tab.said == []
    origin = f"http://127.0.0.1:{pages['images'].port}/"
    assert [url for url in tab.asked if not url.startswith((origin, "data:"))] == []
    tab.context.close()


def test_what_fails_says_why_in_every_panel(browser, pages):
    tab = Tab(browser, pages["table"])
    tab.tab.route("**/api/*", lambda route: route.fulfill(status=400, json={"error": "the reason"}))
    tab.tab.evaluate("() => { location.hash = '#none'; }")
    for panel in PANELS[1:]:
        tab.turn_to(panel)
        tab.tab.wait_for_selector(".stage .note:has-text('the reason')", timeout=30_000)
    assert [line for line in tab.said if "status of 400" not in line] == []
    tab.context.close()


def test_rows_that_were_selected_before_the_panel_was_opened(browser, pages):
    tab = Tab(browser, pages["table"])
    tab.tab.evaluate("async () => (await import('/state.js')).select([0, 1])")
    stage = tab.open("reconstructions")
    tab.tab.wait_for_selector(".stage h3:has-text('the selected rows')", timeout=30_000)
    stage.get_by_text("rebuilt worst").click()
    tab.tab.wait_for_selector(".stage h3:has-text('the selected rows')", state="detached", timeout=30_000)
    tab.context.close()


def test_the_keyboard_alone(browser, pages):
    tab = Tab(browser, pages["images"])
    keys = tab.tab.keyboard
    tab.open("map")
    tab.tab.locator(".scatter canvas[tabindex]").focus()
    keys.press("ArrowRight")
    tab.tab.wait_for_selector(".card img", timeout=30_000)
    keys.press("Enter")  # chooses the row
    tab.tab.wait_for_selector(".live img", timeout=30_000)
    keys.press("Shift+ArrowRight")  # a place, decoded
    tab.tab.wait_for_selector(".live p:has-text('z =')", timeout=30_000)
    tab.open("sample")
    tab.tab.wait_for_selector(".made canvas", timeout=30_000)
    before = tab.tab.locator(".made canvas").get_attribute("data-uri")
    slider = tab.tab.locator(".slider input").first
    slider.focus()
    keys.press("End")
    tab.tab.wait_for_function(
        "before => document.querySelector('.made canvas').dataset.uri !== before", arg=before, timeout=30_000
    )
    tab.open("gaps")
    tab.tab.locator(".easel").focus()
    keys.press("ArrowDown")
    keys.press(" ")
    tab.tab.wait_for_selector(".fillings img", timeout=60_000)
    assert tab.said == []
    tab.context.close()


def test_points_that_are_encircled_are_followed_and_saved(browser, pages):
    tab = Tab(browser, pages["images"], accept_downloads=True)
    tab.open("map")
    tab.tab.wait_for_selector(".legend button", timeout=60_000)
    box = tab.tab.locator(".scatter canvas[tabindex]").bounding_box()
    corners = [(0.1, 0.05), (0.98, 0.05), (0.98, 0.85), (0.1, 0.85), (0.1, 0.06)]
    for k, (a, b) in enumerate(corners):
        tab.tab.mouse.move(box["x"] + a * box["width"], box["y"] + b * box["height"], steps=4)
        if k == 0:
            tab.tab.mouse.down()
    tab.tab.mouse.up()
    said = tab.tab.wait_for_selector(".selection:has-text('rows selected')", timeout=10_000).text_content()
    n_selected = int(said.split()[0])
    assert n_selected > 100
    with tab.tab.expect_download() as download:
        tab.tab.click("text=save as CSV")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "row,digit,z0,z1,z2"
    assert len(lines) == 1 + n_selected
    tab.context.close()


def test_every_panel_of_a_table(browser, pages):
    tab = Tab(browser, pages["table"])
    for panel in PANELS:
        tab.open(panel)
    assert tab.open("sample").locator(".density").count() == 2
    stage = tab.open("gaps")
    stage.locator("input[type=checkbox]").nth(2).check()
    tab.tab.wait_for_selector("table.fillings", timeout=60_000)
    stage = tab.open("reconstructions")
    stage.locator("summary").click()
    stage.locator("input[name=town]").fill("Oslo")
    stage.locator("button[type=submit]").click()
    tab.tab.wait_for_selector(".own table", timeout=60_000)
    assert "There is no history" in tab.open("training").text_content()
    assert tab.said == []
    tab.context.close()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core isn't installed: npm ci in tests/javascript")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["images", "table"])
def test_nothing_keeps_anyone_out(browser, pages, what, scheme):
    tab = Tab(browser, pages[what], color_scheme=scheme, bypass_csp=True)
    for panel in PANELS:
        tab.open(panel)
        assert tab.violations() == [], panel
    tab.context.close()


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_states(browser, digits, image_model):
    """No data; one latent variable; nothing active; the server gone."""
    one = VAE(1, max_epochs=1, random_state=0).fit(digits.X[:60])
    bare, single = Page(lambda: Service(Subject.of(image_model))), Page(lambda: Service(Subject.of(one, digits.X[:60])))
    tab = Tab(browser, bare)
    assert tab.tab.locator("[data-panel]").all_text_contents() == ["Sample", "Traversals", "Dimensions"]
    assert "With rows of data there is more" in tab.tab.locator(".side").text_content()
    bare.close()
    tab.tab.locator(".slider input").first.press("End")
    tab.tab.wait_for_selector(".banner:not([hidden])", timeout=30_000)
    tab.context.close()
    tab = Tab(browser, single)
    tab.open("map")
    tab.tab.wait_for_timeout(300)
    tab.open("dimensions")
    assert tab.said == []
    tab.context.close()
    nothing = Subject.of(image_model, digits.X[:60])
    nothing.__dict__["active"] = np.zeros(3, bool)
    collapsed = Page(lambda: Service(nothing))
    tab = Tab(browser, collapsed)
    assert "posterior collapse" in tab.open("dimensions").text_content()
    assert "posterior collapse" in tab.open("sample").text_content()
    tab.context.close()
    for page in (single, collapsed):
        page.close()


def test_a_model_that_can_t_be_shown(browser):
    def fail():
        raise ValueError("the folder is damaged")

    page = Page(fail)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(page.url)
    tab.wait_for_selector(".problem", timeout=30_000)
    assert "the folder is damaged" in tab.locator(".problem").text_content()
    context.close()
    page.close()
