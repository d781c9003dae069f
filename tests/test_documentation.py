"""Every block of Python and of shell in README, CONTRIBUTING and docs/ runs, page by page, on small data.

The blocks of one page share their names and a temporary folder, as they do for a reader who tries them in order. A
comment before a block says what is different here::

    <!-- tested with: max_epochs=30 => max_epochs=2; --budget 2 => --budget 0.05 -->
    <!-- not run: it takes eight GPUs -->

Of blocks that don't run, the options of ``lowerbound`` are still looked up.
"""

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from lowerbound import MLP, VAE, Autoencoder, read
from lowerbound.cli import main
from lowerbound.cli.model_flags import MODEL, named_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (tested with|not run): (.*?) -->\n+)?```(python|sh|console)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """What stands between two fences: where, in which language, and what a test does differently."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def commands(self) -> list[list[str]]:
        """The words of each command; output and comments are left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, with what a comment replaces replaced."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, match) for match in BLOCK.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    how, said, language, code = match.groups()
    for replacement in said.split("; ") if how == "tested with" else ():
        old, new = replacement.split(" => ")
        assert old in code, f"{page.name}: {old!r}, which a comment replaces, isn't in the block"
        code = code.replace(old, new)
    return Block(page, text[: match.start(4)].count("\n"), language, code, said if how == "not run" else None)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
@pytest.mark.filterwarnings(  # small models of small data are no good ones
    "ignore::lowerbound.CollapsedPosteriorWarning", "ignore::lowerbound.UnreliableEstimateWarning"
)
@pytest.mark.touches_global_random_state  # what readers write with numpy's or scikit-learn's defaults
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    if page.name == "compression.md":
        pytest.importorskip("constriction", reason="compression needs constriction")
    monkeypatch.chdir(tmp_path)
    names = small_data(page.name)
    for block in blocks(page):
        if block.language == "python" and block.not_run is None:
            run_python(block, names)
        elif block.language != "python":
            for words in block.commands():
                run_command(words, block.not_run is None)


def run_python(block: Block, names: dict) -> None:
    """Run it under the page's name and line, which tracebacks then show."""
    exec(compile("\n" * block.line + block.text, block.page, "exec"), names)


def run_command(words: list[str], run: bool) -> None:
    """Run what is the package's; look up what is named of anything else."""
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif words[0] == "pip":
        check_installation(words)
    elif words[0] == "python":
        assert (ROOT / words[1]).exists(), words[1]
    elif "lowerbound" in words:
        arguments = words[words.index("lowerbound") + 1 :]
        check_options(arguments)
        if run:
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}"


def check_options(arguments: list[str]) -> None:
    """Each option of a command line is one that the command has, with the flags of the model that it names."""
    command, rest = main, list(arguments)
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    context = click.Context(command)
    context.meta[MODEL] = named_model(rest)
    known = {name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)}
    unknown = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)} - known
    assert not unknown, f"lowerbound {command.name} has no {', '.join(sorted(unknown))}"


def check_installation(words: list[str]) -> None:
    """The extras that ``pip install 'lowerbound[extra]'`` names are there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for word in words for extra in re.findall(r"\[(.*)\]", word)}
    assert named <= set(extras), named


def test_the_table_of_parts_is_that_of_the_code():
    owners = {**VAE.PARAMETERS, **{k: p for k, p in Autoencoder.PARAMETERS.items() if k not in VAE.PARAMETERS}}
    expected = []
    for name, parameter in owners.items():
        for kind in parameter.kinds:
            word = "True" if kind is parameter.yes else f'"{kind.kind}"'
            fields = ", ".join(f"`{field}={each.default!r}`" for field, each in kind.options().items()) or "none"
            expected.append(f"| `{name}` | `{word}` | `{kind.__name__}` | {fields} |")
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("| `")] == expected


def small_data(page: str) -> dict:
    """The names that a page takes for granted; the files that it takes for granted are written."""
    rng = np.random.default_rng(0)
    frame = people(rng, 120)
    if page in ("README.md", "missing-values.md", "outliers.md"):
        frame.to_csv("table.csv", index=False)
    if page == "README.md":
        train("table.csv", "-o", "runs/table")
        np.save("few.npy", read("digits").X[:40])
        return {"frame": frame, "X": frame}
    if page == "columns.md":
        return {"frame": frame, "VAE": VAE}
    if page == "evidence.md":
        X = rng.normal(size=(60, 4))
        vae = VAE(2, max_epochs=2, early_stopping=False, random_state=0, network=MLP((8,))).fit(X)
        return {"X": X[:5], "vae": vae}
    if page == "large-data.md":
        np.save("rows.npy", rng.normal(size=(200, 4)))
        Path("table").mkdir()
        for part in range(2):
            named = people(rng, 100).assign(id=np.arange(100), kind="a")
            named.to_parquet(f"table/{part}.parquet", index=False)
    if page == "outliers.md":
        return {"table": frame, "normal_rows": people(rng, 60), "new_rows": people(rng, 10)}
    if page == "sequences.md":
        lengths, roll = rng.integers(5, 9, 60), np.zeros((600, 88), np.uint8)
        roll[:, 30:40] = rng.integers(2, size=(600, 10))
        packed = np.packbits(roll[: lengths.sum()], axis=1)
        np.savez("songs.npz", train=packed, train_len=lengths, test=packed, test_len=lengths)
        write_sensors(rng)
    if page == "synthetic.md":
        frame.assign(income=rng.choice(["low", "high"], len(frame))).to_csv("people.csv", index=False)
        stays = pd.DataFrame({"id": range(60), "start": range(60), "end": range(3, 63)})
        stays.assign(room=rng.choice(["single", "double"], 60)).to_csv("stays.csv", index=False)
    if page == "text.md":
        Path("names.txt").write_text("\n".join(["emma", "emil", "anna", "otto"] * 10))
        turns = [["U", "Hello!"], ["S", "Hi."], ["U", "Bye!"], ["S", "Bye."]]
        Path("dialogues.jsonl").write_text((json.dumps({"turns": turns}) + "\n") * 20)
    if page == "training.md":
        np.savez("faces.npz", x_train=rng.integers(0, 256, (60, 4, 4), dtype=np.uint8))
    return {"frame": frame, "X": rng.normal(size=(60, 4))}


def write_sensors(rng: np.random.Generator) -> None:
    """A table of readings of two sensors, with a gap."""
    when = pd.date_range("2024-01-01", periods=60, freq="5min").delete(30)
    each = [pd.DataFrame({"sensor": name, "when": when, "x": rng.normal(size=59).cumsum()}) for name in "ab"]
    pd.concat(each).to_csv("sensors.csv", index=False)


def people(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """A table of numbers and categories that go together, with gaps."""
    z = rng.normal(size=n)
    frame = pd.DataFrame({
        "age": (45 + 12 * z).round(1), "pay": np.exp(7 + 0.5 * z + 0.2 * rng.normal(size=n)).round(2),
        "town": np.where(z + rng.normal(size=n) > 0, "Rome", "Oslo"),
    })  # fmt: skip
    frame.loc[::9, "age"] = np.nan
    return frame


def train(*arguments: str) -> None:
    """Train a small model on the command line, for a page that has one already."""
    result = CliRunner().invoke(main, ["train", *arguments, "--max-epochs", "2", "--random-state", "0", "-q"])
    assert result.exit_code == 0, result.output
