"""The priors by name: the one table, which says where each is. Importing it loads no torch."""

from __future__ import annotations

# the user's word: the file of models/priors that has its PRIOR; N(0, I) has none
PRIORS: dict[str, str | None] = {"normal": None, "mixture": "mixture", "vamp": "vamp", "flow": "flow"}
