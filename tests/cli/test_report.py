"""``report``: one HTML file."""

import json

import numpy as np
import pytest
from tests.cli.conftest import TABLE_OPTIONS, TINY

FEW = ("--n-importance", 5, "-q")


pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")


def facts_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text.partition('id="facts">')[2].partition("</script>")[0])


def test_a_report_of_a_run(cli, digits_run, images, tmp_path):
    path = tmp_path / "report.html"
    words = ("report", digits_run, images, "--key", "x", "--label", "y", "-o", path, *FEW, "--json")
    record = json.loads(cli(*words).stdout)
    assert record == {"output": str(path), "bytes": path.stat().st_size, "embeds_rows": True}
    facts = facts_of(path)
    assert facts["overview"]["title"] == str(digits_run)
    assert facts["overview"]["command"].startswith("lowerbound train digits")
    assert 'model = "vae"' in facts["overview"]["configuration"]
    assert facts["training"]["epoch"] == [1, 2]
    assert len(facts["map"]["places"]) == 40
    assert "exists" in cli(*words, exit_code=1).stderr


def test_a_report_without_rows_says_so(cli, table_run, table, tmp_path):
    path = tmp_path / "report.html"
    words = ("report", table_run, table, *TABLE_OPTIONS, "-o", path, "--n-importance", 5)
    assert "it holds rows of the data" in cli(*words).stderr
    assert "it holds no rows of the data" in cli(*words, "--no-data", "--force").stderr
    assert "p17" not in path.read_text(encoding="utf-8")
    assert "it holds no rows of the data" in cli("report", table_run, "-o", path, "--force").stderr


def test_what_cannot_be_reported_is_refused(cli, table_run, table, tmp_path):
    path = tmp_path / "report.html"
    assert "must end in .html" in cli("report", table_run, "-o", tmp_path / "report.pdf", exit_code=2).stderr
    assert "need DATA" in cli("report", table_run, "--label", "class", "-o", path, exit_code=2).stderr
    words = ("report", table_run, table, "--given", "class", "--drop", "id", "-o", path)
    assert "was trained without a context" in cli(*words, exit_code=1).stderr
    assert not path.exists()


def test_a_model_given_a_class(cli, table, tmp_path):
    run = tmp_path / "run"
    cli("train", table, "--drop", "id", "--given", "class", "-o", run, "--max-epochs", 1, *TINY, "-q")
    path = tmp_path / "report.html"
    assert "--given NAME" in cli("report", run, "-o", path, exit_code=1).stderr
    cli("report", run, table, "--drop", "id", "--given", "class", "-o", path, *FEW)
    assert facts_of(path)["overview"]["label"] == "class"


def test_a_history_that_is_being_written(cli, digits_run, tmp_path):
    history = digits_run / "history.jsonl"
    before = history.read_bytes()
    history.write_bytes(before + b'{"epoch": 3, "elb')
    path = tmp_path / "report.html"
    cli("report", digits_run, "-o", path, *FEW)
    history.write_bytes(before)
    assert facts_of(path)["training"]["epoch"] == [1, 2]
    assert np.isfinite(facts_of(path)["training"]["curves"][0]["values"]).all()


@pytest.mark.parametrize("kind", ["ppca"])
def test_a_linear_model(cli, table, kind, tmp_path):
    cli("train", table, *TABLE_OPTIONS, "--model", kind, "--latent-dim", 2, "-o", tmp_path / "run", "-q")
    cli("report", tmp_path / "run", table, *TABLE_OPTIONS, "-o", tmp_path / "r.html", *FEW)
    assert {"map", "pairs", "traversals"} <= set(facts_of(tmp_path / "r.html"))
