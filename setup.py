"""The text of a package's page: README without what a page elsewhere can't show."""

import re
from pathlib import Path

from setuptools import setup


def package_page(text: str) -> str:
    """README with links to files, which lead nowhere from a package's page, as names; without pictures and comments."""
    text = re.sub(r"^!\[.*?\]\((?!https?:).*?\)\n\n\*.*?\*\n\n", "", text, flags=re.M | re.S)  # a picture, its caption
    text = re.sub(r"^<!-- .*? -->\n", "", text, flags=re.M)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)([^)]+)\)", _name, text)


def _name(link: re.Match[str]) -> str:
    words, target = link.groups()
    return f"`{target}`" if words == target or target in words else f"{words} (`{target}`)"


setup(
    long_description=package_page(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
