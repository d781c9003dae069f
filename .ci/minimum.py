"""Print what pyproject.toml allows at the least, as `name==version`: the packages and those that the tests need.

torch is the version of constraints.txt, unless MINIMUM_TORCH=1: the oldest one is gigabytes of libraries for GPUs.
"""

import os
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_RUN = {"ruff", "pyright", "numpydoc"}  # tools that look at the code

project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
pinned = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)[1]
for wanted in dict.fromkeys(project["dependencies"] + project["optional-dependencies"]["test"]):
    name, version = re.match(r"([\w.-]+)>=([\d.]+)", wanted).groups()
    if name == "torch" and os.environ.get("MINIMUM_TORCH") != "1":
        version = pinned
    if name not in NOT_RUN:
        print(f"{name}=={version}")
