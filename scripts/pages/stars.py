"""Stars that are no emphasis, as in (*batch, time), for Markdown."""

from typing import Any

import markdown
from markdown import inlinepatterns


class Stars(markdown.Extension):
  """Takes a star between a bracket and a letter as it stands."""

  def extendMarkdown(self, md: markdown.Markdown) -> None:
    """Looks for such stars before emphasis, and after code."""
    pattern = inlinepatterns.SimpleTextInlineProcessor(r"(?<=[(\[])(\*+)(?=\w)")
    md.inlinePatterns.register(pattern, "stars", 65)


def makeExtension(**options: Any) -> Stars:
  """Returns the extension, by the name under which Markdown looks for it."""
  return Stars(**options)
