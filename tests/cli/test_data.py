"""``data check``: what was understood."""

import json

import numpy as np
import pytest
from tests.cli.conftest import TABLE_OPTIONS


def test_a_table(cli, table):
    record = json.loads(cli("data", "check", table, *TABLE_OPTIONS, "--json").stdout)
    assert (record["rows"], record["shape"], record["missing"], record["constant"]) == (90, [3], 0, [])
    assert record["likelihood"] == "gaussian"
    assert sum(record["labels"].values()) == 90
    assert [column["name"] for column in record["columns"]] == ["height", "weight", "age"]
    for column in record["columns"]:
        assert column["minimum"] < column["mean"] < column["maximum"]


def test_a_table_in_words(cli, table):
    result = cli("data", "check", table, *TABLE_OPTIONS)
    lines = result.stdout.splitlines()
    assert any(line.startswith("likelihood") and "gaussian" in line for line in lines)
    assert any(line.startswith("weight") for line in lines)
    assert result.stderr == f"next: lowerbound train {table} --drop id --label class -o runs/people\n"


def test_images(cli, images):
    record = json.loads(cli("data", "check", images, "--key", "x", "--label", "y", "--json").stdout)
    assert (record["rows"], record["shape"], record["dtype"]) == (40, [8, 8], "uint8")
    assert (record["minimum"], record["maximum"], record["likelihood"]) == (0, 255, "discretized_logistic")
    assert len(record["labels"]) == 10
    assert "columns" not in record
    assert "of the 64 entries of a row" in cli("data", "check", images, "--key", "x").stdout


def test_constant_columns_are_named(cli, tmp_path):
    path = tmp_path / "bits.csv"
    path.write_text("a,b\n0,1\n1,1\n0,1\n")
    record = json.loads(cli("data", "check", path, "--json").stdout)
    assert (record["constant"], record["likelihood"]) == (["b"], "bernoulli")
    assert "constant        1: b" in cli("data", "check", path).stdout


def test_very_wide_tables_are_cut_short(cli, tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(60)) + "\n" + 3 * (",".join("1" * 60) + "\n"))
    assert "… and 20 more" in cli("data", "check", path).stdout
    assert len(json.loads(cli("data", "check", path, "--json").stdout)["columns"]) == 60


@pytest.mark.parametrize(("value", "message"), [("inf", "infinite value"), ("tall", "is text, not a number")])
def test_what_cannot_be_used_is_a_sentence(cli, tmp_path, value, message):
    path = tmp_path / "bad.csv"
    path.write_text("a,b\n" + "1,2\n" * 20 + f"3,{value}\n5,6\n")
    result = cli("data", "check", path, exit_code=1)
    assert result.stderr.startswith("error: bad.csv")
    assert message in result.stderr
    assert not result.stdout


def test_missing_values_are_counted(cli, tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("a,b,c\n1,2,\n3,,\n5,6,\n")
    record = json.loads(cli("data", "check", path, "--json").stdout)
    assert (record["missing"], record["constant"]) == (4, ["c"])
    assert [column["missing"] for column in record["columns"]] == [0, 1, 3]
    assert (record["columns"][1]["mean"], record["columns"][1]["distinct"]) == (4, 2)
    assert "4 (44.4%)" in cli("data", "check", path).stdout


def test_the_built_in_digits(cli):
    record = json.loads(cli("data", "check", "digits", "--json").stdout)
    assert (record["rows"], record["shape"], np.sum(list(record["labels"].values()))) == (1797, [8, 8], 1797)
