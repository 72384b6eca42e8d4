"""Plots of trees: predicted ones beside the true ones."""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq.tasks.masked_language import tree_scores
from jaxseq.training import figures

_brackets = jax.jit(tree_scores.brackets)
# Inches per word and of a panel's height; minimum words of a panel.
_WORD, _HEIGHT, _FEWEST = 0.3, 2.4, 8


def spans(distance: Any, length: int) -> list[tuple[int, int]]:
  """Returns the constituents of a sentence, the smallest first.

  Args:
    distance: (time,), of the boundary after each word, see
      `tree_scores.brackets`.
    length: words of the sentence.

  Returns:
    The first and the last index of each, without single words.
  """
  distance = np.asarray(distance, np.float32)
  inner = np.argwhere(np.asarray(_brackets(distance, length)))
  every = [(int(begin), int(end)) for begin, end in inner]
  every += [(0, length - 1)] * (length > 1)
  return sorted(every, key=lambda span: span[1] - span[0])


def draw(
  axes: Any, words: Sequence[str], distance: Any, other: Any = None
) -> None:
  """Draws a tree above its words.

  Args:
    axes: matplotlib axes.
    words: words of the sentence.
    distance: (time,), see `spans`.
    other: distances of another tree of the sentence; constituents that it does
      not have are drawn in another color, and dashed.
  """
  count = len(words)
  also = None if other is None else set(spans(other, count))
  # The nodes without a parent yet, by their spans.
  tops = {(i, i): (float(i), 0) for i in range(count)}
  for span in spans(distance, count):
    below = [x for x in tops if span[0] <= x[0] and x[1] <= span[1]]
    places = [tops.pop(x) for x in below]
    left, right = places[0][0], places[-1][0]
    height = 1 + max(y for _, y in places)
    same = also is None or span in also
    color, style = figures.COLORS[0 if same else 1], "-" if same else "--"
    axes.plot([left, right], [height] * 2, color=color, linestyle=style)
    for x, y in places:
      axes.plot([x, x], [y, height], color=color, linestyle=style)
    tops[span] = (left + right) / 2, height
    # Sorted by words, as required to find the children of later nodes.
    tops = dict(sorted(tops.items()))
  long = max(map(len, words), default=0) > 3
  axes.set_xticks(range(count), words, rotation=90 if long else 0, fontsize=8)
  axes.set_yticks([])
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)
  axes.set_xlim(-0.5, count - 0.5)
  axes.set_ylim(bottom=0)


def write(
  path: str | os.PathLike,
  sentences: Sequence[Sequence[str]],
  true: Any,
  found: Any,
) -> pathlib.Path | None:
  """Plots the trees of sentences, the true one to the left of the predicted.

  Args:
    path: the PNG file to write.
    sentences: words of each, at least one sentence.
    true: (n, time) distances, see `spans`.
    found: (n, time) predicted distances.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.
  """
  lengths = np.array([len(words) for words in sentences])
  rows = [np.asarray(x, np.float32)[:, : lengths.max()] for x in (true, found)]
  scores = tree_scores.f1(*(_brackets(x, lengths) for x in rows))
  titles = []
  for score in np.asarray(scores):
    found_title = f"found, F1 {score:.2f}; dashed: not in the true tree"
    titles += ["true tree", found_title]
  size = _WORD * max(_FEWEST, int(lengths.max())), _HEIGHT
  panels = figures.panels(path, titles, 2, size)
  if panels is None:
    return None
  for i, words in enumerate(sentences):
    draw(panels[2 * i], words, rows[0][i])
    draw(panels[2 * i + 1], words, rows[1][i], other=rows[0][i])
  return figures.save(panels[0].figure, path)
