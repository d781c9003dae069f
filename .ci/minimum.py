"""Print what pyproject.toml allows at the least, as `name==version`: the packages and those that the tests need."""

import re
import tomllib
from pathlib import Path

NOT_RUN = {"ruff", "pyright", "numpydoc"}  # tools that look at the code

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for wanted in dict.fromkeys(project["dependencies"] + project["optional-dependencies"]["test"]):
    name, version = re.match(r"([\w.-]+)>=([\d.]+)", wanted).groups()
    if name not in NOT_RUN:
        print(f"{name}=={version}")
