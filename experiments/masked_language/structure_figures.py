"""Plots of RNA structures: predicted pairs as arcs below the true ones."""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

import numpy as np

from experiments.masked_language import rna
from jaxseq.training import figures

# Inches per letter, of the margin, and of a panel's height; minimum letters.
_LETTER, _MARGIN, _HEIGHT, _FEWEST = 0.13, 0.9, 2.6, 24


def draw(axes: Any, letters: str, true: np.ndarray, found: np.ndarray) -> None:
  """Draws the pairs of a sequence, the true ones above its letters.

  Args:
    axes: matplotlib axes.
    letters: n letters.
    true: (n,) partners, -1 for unpaired letters.
    found: (n,) predicted partners, drawn below; a pair that is not in the other
      structure has another color and is dashed.
  """
  angles = np.linspace(0, np.pi, 50)
  for sign, ours, theirs in ((1, true, found), (-1, found, true)):
    for first in np.flatnonzero(ours > np.arange(len(ours))):
      last = ours[first]
      same = theirs[first] == last
      center, radius = (first + last) / 2, (last - first) / 2
      axes.plot(
        center + radius * np.cos(angles),
        sign * (0.8 + radius * np.sin(angles)),
        color=figures.COLORS[0 if same else 1],
        linestyle="-" if same else "--",
        linewidth=1,
      )
  for place, letter in enumerate(letters):
    axes.text(place, 0, letter, ha="center", va="center", fontsize=7)
  height = max(len(letters) / 2, 2)
  axes.set_xlim(-1, len(letters))
  axes.set_ylim(-height, height)
  axes.set_xticks([])
  axes.set_yticks([-height / 2, height / 2], ["found", "true"])
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)


def write(
  path: str | os.PathLike,
  sequences: Sequence[str],
  true: Sequence[np.ndarray],
  found: Sequence[np.ndarray],
) -> pathlib.Path | None:
  """Plots structures of sequences, each with its F1 and predicted dot-brackets.

  Args:
    path: the PNG file to write.
    sequences: letters of each, at least one sequence.
    true: (n,) partners per sequence, see `draw`.
    found: (n,) predicted partners per sequence.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.
  """
  longest = max(map(len, sequences))
  size = _MARGIN + _LETTER * max(_FEWEST, longest), _HEIGHT
  scores = [rna.f1([ours], [theirs])["f1"] for ours, theirs in zip(found, true)]
  titles = [f"F1 {score:.2f}; dashed: in one alone" for score in scores]
  panels = figures.panels(path, titles, 2, size)
  if panels is None:
    return None
  for axes, *each in zip(panels, sequences, true, found):
    draw(axes, *each)
    axes.set_xlabel(
      rna.brackets_of(each[2]), fontfamily="monospace", fontsize=8
    )
  return figures.save(panels[0].figure, path)
