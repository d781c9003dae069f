"""A .csv as people have it, through all commands: said, overruled, and written back as it was."""

import json

import numpy as np
import pytest

FORMS = {
    "european": (";", "{:.2f}".format, lambda d: f"{d:02d}.03.2020", lambda x: x.replace(".", ","), ()),
    "american": ("|", "${:,.2f}".format, lambda d: f"03/{d:02d}/2020", lambda x: x, ()),
    "asked": (",", "{:.2f}".format, lambda d: f"{1 + d % 12:02d}/03/2020", lambda x: x, ("--date-format", "%d/%m/%Y")),
}


def lines_of(form: str) -> list[str]:
    separator, amount, day, marked, _ = FORMS[form]
    rng = np.random.default_rng(0)
    lines = [separator.join(("id", "day", "pay", "hours", "word"))]
    for i in range(60):
        pay, hours = marked(amount(1000 * rng.gamma(3))), str(rng.integers(20, 60))
        cells = [f"n{i}", day(1 + i % 28), pay, hours, "None" if i % 3 else "some"]
        for j in (1, 2, 3):
            if (i + j) % 7 == 0:
                cells[j] = "?" if j == 3 else ""
        lines.append(separator.join(f'"{cell}"' if separator in cell else cell for cell in cells))
    return lines


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def test_what_is_recognized_is_said_and_written_again(cli, tmp_path, form):
    separator, *_, flags = FORMS[form]
    lines = lines_of(form)
    path, filled = tmp_path / "a.csv", tmp_path / "filled.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = (path, "--drop", "id", *flags)
    said = cli("data", "check", *words).stdout
    assert "column 'hours': '?' for gaps" in said
    assert "column 'day': dates written %" in said
    if form == "european":
        assert "column 'pay': decimal comma" in said
    record = json.loads(cli("data", "check", *words, "--json").stdout)
    kinds = {column["name"]: column["kind"] for column in record["columns"]}
    assert kinds["day"] == "date"
    assert kinds["pay"] in ("positive", "continuous")
    cli("train", *words, "-o", tmp_path / "run", "--max-epochs", 1, "-q")
    cli("impute", tmp_path / "run", *words, "-o", filled, "--n-importance", 5, "-q")
    after = filled.read_text(encoding="utf-8").splitlines()
    assert len(after) == len(lines)
    for before, line in zip(lines, after, strict=True):
        if "?" not in before and f"{separator}{separator}" not in before:
            assert line == before
        assert "?" not in line
        assert f"{separator}{separator}" not in line
    again = json.loads(cli("data", "check", filled, "--drop", "id", *flags, "--json").stdout)
    assert {column["name"]: column["kind"] for column in again["columns"]} == kinds
    assert again["missing"] == 0
    cli("impute", tmp_path / "run", *words, "-o", filled, "--n-importance", 5, "-q", "--force", "--intervals")
    assert filled.read_text().splitlines()[0].startswith(lines[0])
    cli("outliers", tmp_path / "run", *words, "-o", tmp_path / "ranked.csv", "-q")


def test_a_file_without_a_header(cli, tmp_path):
    path, filled = tmp_path / "a.csv", tmp_path / "filled.csv"
    rows = [f"{i}.5,{['p', 'q'][i % 2]}" if i % 5 else f",{['p', 'q'][i % 2]}" for i in range(1, 50)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert "--no-header" in cli("data", "check", path, exit_code=1).stderr
    cli("train", path, "--no-header", "-o", tmp_path / "run", "--max-epochs", 1, "-q")
    assert "header = false" in (tmp_path / "run" / "config.toml").read_text()
    cli("impute", tmp_path / "run", path, "--no-header", "-o", filled, "--n-importance", 5, "-q")
    after = filled.read_text().splitlines()
    assert len(after) == len(rows)
    assert [line for line, row in zip(after, rows, strict=True) if row[0] != ","] == [r for r in rows if r[0] != ","]


def test_missing_and_marks_can_be_said(cli, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a;b\n" + "".join(f"1,{i:03d};{'None' if i % 2 else 'x'}\n" for i in range(100, 140)))
    assert "--decimal" in cli("data", "check", path, exit_code=1).stderr
    said = cli("data", "check", path, "--decimal", ",", "--missing", "None,?")
    assert "train a.csv" in said.stderr.replace(str(path), "a.csv")
    assert "--decimal , --missing None,?" in said.stderr.replace("'", "")
    record = json.loads(cli("data", "check", path, "--thousands", ",", "--missing", "None", "--json").stdout)
    assert [column["missing"] for column in record["columns"]] == [0, 20]
    assert record["columns"][0]["low"] == 1100
