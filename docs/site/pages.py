"""Pages of the site that are written elsewhere: README as its home, the reference, the commands, the tutorial."""

import ast
import re
import textwrap
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "tutorials"  # what `make docs` has the tutorial draw


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is written nowhere in docs/."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    for picture in sorted(PICTURES.glob("*.png")):
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=str(picture)))
    return files


def pages() -> dict[str, str]:
    """The text of each page that is made."""
    return {
        "index.md": first_page(), "reference.md": reference(), "commands.md": commands(), "tutorials.md": tutorials(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }  # fmt: skip


def first_page() -> str:
    """README, its links to docs/ made links within the site, those to other files left as names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")
    text = text.replace("[tutorials/models.py](tutorials/models.py)", "[Tutorials](tutorials.md)")
    return re.sub(r"\[([^\]]+)\]\((?:CONTRIBUTING\.md|LICENSE)\)", r"`\1`", text)


def reference() -> str:
    """Every public name, with its docstring, where it is defined."""
    tree = ast.parse((ROOT / "src" / "lowerbound" / "__init__.py").read_text(encoding="utf-8"))
    values = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip
    homes = ast.literal_eval(values["_HOMES"])
    names = [name for name in ast.literal_eval(values["__all__"]) if name in homes]
    groups = {
        "Models and uses": [name for name in names if name[0].isupper() and not name.endswith(("Error", "Warning"))],
        "Functions": [name for name in names if name[0].islower()],
        "Errors and warnings": [name for name in names if name.endswith(("Error", "Warning"))],
    }
    lines = ["# Python reference", "", "All of these are imported from `lowerbound`.", ""]
    for title, members in groups.items():
        lines += [f"## {title}", ""]
        for name in members:
            lines += [f"::: lowerbound.{homes[name]}.{name}", "    options:", "      heading_level: 3", ""]
    lines += ["## Diagnostics", "", "::: lowerbound.diagnostics", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def commands() -> str:
    """What `--help` says of every command."""
    from lowerbound.cli import main

    lines = ["# Command line", ""]
    for words, command in walk(main, "lowerbound"):
        with click.Context(command, info_name=words) as context:
            lines += [f"## {words}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def walk(command: click.Command, words: str):
    """A command and, of a group, those below it."""
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from walk(each, f"{words} {name}")


def tutorials() -> str:
    """The tutorial, section by section: its text, the code that runs what the text claims, and the picture it draws."""
    path = ROOT / "tutorials" / "models.py"
    code = path.read_text(encoding="utf-8")
    tree = ast.parse(code)
    output = PICTURES / "printed.txt"
    printed = output.read_text(encoding="utf-8") if output.exists() else ""
    lines = ["# From p(x) to the variational autoencoder", "", "`python tutorials/models.py` runs this page.", ""]
    for node in tree.body:
        about = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if about and re.match(r"\d+\. ", about):
            lines += section(node, about, ast.get_source_segment(code, node) or "", printed)
    return "\n".join([*lines, *own_model()])


def own_model() -> list[str]:
    """The tutorial that trains a model of one's own, as it stands."""
    code = (ROOT / "tutorials" / "own_model.py").read_text(encoding="utf-8")
    title, _, text = (ast.get_docstring(ast.parse(code)) or "").partition("\n\n")
    about = textwrap.dedent(text).replace("    python tutorials", "`python tutorials").replace("[folder]", "[folder]`")
    return ["## A model of your own", "", title, "", about, "", "```python", code.partition('"""\n\n')[2], "```", ""]


def section(node: ast.FunctionDef, about: str, source: str, printed: str) -> list[str]:
    """One section of the tutorial."""
    title, _, text = about.partition("\n\n")
    pictures = [name for name in re.findall(r"[\w-]+\.png", source) if (PICTURES / name).exists()]
    body = "\n".join(source.splitlines()[node.body[1].lineno - node.lineno :])
    code = textwrap.indent(textwrap.dedent(body), "    ").splitlines()
    found = printed.partition(f"{text}\n")[2].partition("\n\n\n")[0].strip("\n")
    shown = ["```text", found, "```", ""] if found else []
    lines = [f"## {title}", "", text, "", *shown, '??? example "What runs"', "", "    ```python", *code, "    ```", ""]
    return lines + [line for name in pictures for line in (f"![{title}](images/{name})", "")]
