"""The page of sequences and texts, and its report, in a real browser."""

import pytest
from tests.page.conftest import AXE
from tests.page.test_browser import PANELS, Tab

pytest.importorskip("uvicorn")

from lowerbound import VAE
from lowerbound.report import page
from lowerbound.report.subjects import subject_of
from lowerbound.web.server import Page
from lowerbound.web.services import service_of

pytestmark = pytest.mark.filterwarnings(  # small models of few steps are no good ones
    "ignore::lowerbound.CollapsedPosteriorWarning", "ignore:.*effective sample size", "ignore:.*had no end"
)


@pytest.fixture(scope="module")
def pages(text_subject, song_subject, series_subject):
    subjects = {"texts": text_subject, "songs": song_subject, "series": series_subject}
    found = {name: Page(lambda subject=subject: service_of(subject)) for name, subject in subjects.items()}
    yield found
    for each in found.values():
        each.close()


@pytest.mark.parametrize(("what", "scheme"), [("texts", "light"), ("songs", "dark"), ("series", "light")])
def test_every_panel(browser, pages, what, scheme):
    tab = Tab(browser, pages[what], color_scheme=scheme, bypass_csp=True)
    names = tab.tab.locator("[data-panel]").all_text_contents()
    assert [name.lower() for name in names] == list(PANELS)
    for panel in PANELS:
        stage = tab.open(panel)
        assert stage.locator("h2").text_content().lower() == panel
        if AXE.exists():
            assert tab.violations() == [], panel
    assert tab.said == []
    tab.context.close()


def test_a_text_by_keyboard_alone(browser, pages):
    tab = Tab(browser, pages["texts"])
    keys = tab.tab.keyboard
    tab.open("map")
    tab.tab.locator(".scatter canvas[tabindex]").focus()
    keys.press("ArrowRight")
    keys.press("Enter")
    tab.tab.wait_for_selector(".live .text", timeout=30_000)
    tab.open("sample")
    tab.tab.wait_for_selector(".continuations", timeout=30_000)
    field = tab.tab.locator(".prompt input")
    field.fill("")
    field.press_sequentially("anna a")
    tab.tab.wait_for_selector(".continuations td:has-text('anna a')", timeout=30_000)
    assert tab.tab.locator(".continuations tbody tr").count() == 5
    log_p = [float(text.split()[1].replace("−", "-")) for text in tab.tab.locator("td.muted.p").all_text_contents()]
    assert log_p == sorted(log_p, reverse=True)
    assert "left to right" in tab.open("gaps").text_content()
    tab.open("reconstructions")
    tab.tab.locator(".prompt input").fill("dora clark")
    keys.press("Enter")
    tab.tab.wait_for_selector(".own table.texts", timeout=30_000)
    assert tab.said == []
    tab.context.close()


def test_steps_by_keyboard_alone(browser, pages):
    tab = Tab(browser, pages["series"])
    tab.open("sample")
    tab.tab.wait_for_selector(".drawn svg", timeout=30_000)
    drawn = tab.tab.locator(".slider input").last
    before = tab.tab.locator(".drawn").inner_html()
    drawn.press("End")
    tab.tab.wait_for_function(
        "before => document.querySelector('.drawn').innerHTML !== before", arg=before, timeout=30_000
    )
    tab.open("gaps")
    tab.tab.wait_for_selector(".drawn .line.filling", timeout=60_000)
    tab.tab.locator(".slider input").first.press("Home")
    tab.tab.wait_for_selector(".drawn h3:has-text('steps 0 to')", timeout=60_000)
    assert tab.open("outliers").locator(".marked").count() > 0
    assert "depends on the steps before" in tab.open("traversals").text_content()
    assert tab.said == []
    tab.context.close()


def test_a_class_is_chosen(browser, digits):
    vae = VAE(2, max_epochs=2, random_state=0).fit(digits.X[:200], context=digits.labels[:200])
    served = Page(lambda: service_of(subject_of(vae, digits.X[:60], digits.labels[:60])))
    tab = Tab(browser, served)
    tab.open("sample")
    tab.tab.wait_for_selector(".made canvas", timeout=30_000)
    before = tab.tab.locator(".made canvas").get_attribute("data-uri")
    tab.tab.locator(".given select").press("End")
    tab.tab.wait_for_function(
        "before => document.querySelector('.made canvas').dataset.uri !== before", arg=before, timeout=30_000
    )
    assert tab.open("traversals").locator(".given select").input_value() == "9"  # the same in all panels
    assert tab.said == []
    tab.context.close()
    served.close()


def test_a_report_without_a_network(browser, of_texts, of_series, tmp_path):
    context = browser.new_context(offline=True, bypass_csp=True)
    for facts in (of_texts, of_series):
        path = tmp_path / f"{facts['overview']['kind']}.html"
        path.write_text(page.html_of(facts), encoding="utf-8")
        tab, said = context.new_page(), []
        tab.on("console", lambda message, said=said: said.append(message.text))
        tab.on("pageerror", lambda error, said=said: said.append(str(error)))
        tab.goto(path.as_uri())
        headings = tab.locator("h2").all_text_contents()
        assert {"What may follow", "Map of the codes", "Reconstructions", "Missing values filled"} <= set(headings)
        if AXE.exists():
            tab.evaluate(AXE.read_text(encoding="utf-8"))
            found = tab.evaluate("async () => (await axe.run()).violations")
            assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found] == []
        assert said == []
    context.close()
