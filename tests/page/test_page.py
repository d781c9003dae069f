"""One HTML file: what is in it, that it asks for nothing, and what a browser makes of it."""

import json
import re

import pytest
from tests.page.conftest import AXE

from lowerbound.report import page
from lowerbound.report.facts import report_facts


@pytest.fixture(scope="module")
def reports(image_subject, table_subject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name, subject in (("images", image_subject), ("table", table_subject)):
        page.write_text(folder / f"{name}.html", page.html_of(report_facts(subject, n_importance=5)))
    return folder


def test_facts_in_the_page_are_those_that_were_given(reports, people):
    text = (reports / "table.html").read_text(encoding="utf-8")
    [found] = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', text, re.S)
    facts = json.loads(found)
    assert facts["overview"]["source"] == "people.csv"
    assert "Rome </script><b>" in facts["map"]["colors"][-1]["classes"]


def test_the_script_has_neither_imports_nor_exports_nor_a_name_twice(reports):
    text = page.bundled((*page.MODULES, "report"))
    assert not re.search(r"^(import|export)\b", text, re.M)
    names = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", text, re.M)
    assert len(names) == len(set(names))


def test_pictures_are_left_out_until_the_report_is_small_enough(image_subject):
    facts = report_facts(image_subject, n_importance=5)
    size = len(json.dumps(facts, ensure_ascii=False).encode())
    fewer = page.within(facts, 400_000 + size - 20_000)
    kept = fewer["map"]["thumbnails"]
    assert 0 < len(kept["rows"]) == len(kept["shown"]) < len(facts["map"]["thumbnails"]["rows"])
    assert len(json.dumps(fewer, ensure_ascii=False).encode()) <= size - 20_000


@pytest.mark.parametrize("name", ["images", "table"])
def test_a_report_in_a_browser_without_a_network(browser, reports, name):
    context = browser.new_context(offline=True, viewport={"width": 1100, "height": 800})
    tab, said, asked = context.new_page(), [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((reports / f"{name}.html").as_uri())
    headings = tab.locator("h2").all_text_contents()
    assert headings[0] == "How good is it?"
    assert {"Map of the codes", "Reconstructions", "Most unusual rows", "Missing values filled"} <= set(headings)
    tab.locator(".scatter canvas[tabindex]").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".card").is_visible()
    assert "row" in tab.locator("#announcements").text_content()
    slider = tab.locator(".scrub input")
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".scrub output").text_content() == "0.5 deviations"
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core isn't installed: npm ci in tests/javascript")
@pytest.mark.parametrize("name", ["images", "table"])
def test_nothing_in_a_report_keeps_anyone_out(browser, reports, name):
    context = browser.new_context(offline=True, bypass_csp=True)
    tab = context.new_page()
    tab.goto((reports / f"{name}.html").as_uri())
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        found = tab.evaluate("async () => (await axe.run()).violations")
        assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found] == []
    context.close()
