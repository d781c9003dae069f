"""``explore``: the page of a run."""

import json
import shutil
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("uvicorn")

from lowerbound.web import server


@pytest.fixture
def opened(monkeypatch):
    """The pages that were served, each until its model is loaded; and the addresses that were opened in a browser."""
    pages, addresses = [], []

    def wait(page):
        pages.append((page.url, page.service.result(60).answer("overview", {})))

    monkeypatch.setattr(server.Page, "wait", wait)
    monkeypatch.setattr(server, "open_in_browser", addresses.append)
    return pages, addresses


def test_the_address_is_printed_and_opened(cli, digits_run, images, opened):
    result = cli("explore", digits_run, images, "--key", "x", "--label", "y", "-q")
    [(url, about)] = opened[0]
    assert result.stdout.strip() == url
    assert opened[1] == [url]
    assert (about["title"], about["n_rows"], about["label"]) == (str(digits_run), 40, "y")
    assert about["has"]["training"]


def test_a_run_without_a_model_is_watched(cli, digits_run, opened, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(digits_run, run, ignore=shutil.ignore_patterns("model"))
    said = cli("explore", run, "--no-browser").stderr
    assert "no model yet" in said
    assert opened[0][0][1]["kind"] == "waiting"
    assert opened[0][0][1]["one"] == "row"
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / ".lock").touch()  # the first moments
    cli("explore", begun, "--no-browser")
    assert opened[0][1][1]["kind"] == "waiting"


def test_no_browser(cli, digits_run, opened):
    result = cli("explore", digits_run, "--no-browser", "--json")
    assert json.loads(result.stdout)["url"].startswith("http://127.0.0.1:")
    assert opened[1] == []
    assert opened[0][0][1]["n_rows"] == 0


def test_what_cannot_be_explored_is_said(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "open_in_browser", lambda url: None)
    assert "doesn't exist" in cli("explore", tmp_path / "nothing", exit_code=1).stderr
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert "pip install 'lowerbound[ui]'" in cli("explore", tmp_path, exit_code=1).stderr


def test_the_page_is_gone_when_the_command_ends(cli, digits_run, opened):
    url = cli("explore", digits_run, "--no-browser").stdout.strip()
    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError):
        pool.submit(urllib.request.urlopen, url, timeout=5).result()
