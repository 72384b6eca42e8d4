"""The description for package indexes; everything else is in pyproject.toml.

README.md has links to files of the repository, which lead nowhere elsewhere: in
the description are their words without the link.
"""

import pathlib
import re

import setuptools

_README = pathlib.Path(__file__).with_name("README.md")


def description(text: str) -> str:
  """Returns the text without pictures and links that have relative paths."""
  text = re.sub(r"!\[[^\]]*\]\((?!https:)[^)]*\)\n*", "", text)
  return re.sub(r"\[([^\]]*)\]\((?!https:)[^)]*\)", r"\1", text)


setuptools.setup(
  long_description=description(_README.read_text(encoding="utf-8")),
  long_description_content_type="text/markdown",
)
