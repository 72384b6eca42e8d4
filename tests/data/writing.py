"""Folders of texts for the readers to read."""

from collections.abc import Mapping
import pathlib


def write(folder: pathlib.Path, texts: Mapping[str, str]) -> None:
  """Writes texts to files of these names below a folder."""
  for name, text in texts.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
