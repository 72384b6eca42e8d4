"""Pictures of structures: true pairs above the letters, found ones below."""

import numpy as np
import pytest

from experiments.masked_language import rna
from experiments.masked_language import structure_figures

pyplot = pytest.importorskip("matplotlib.figure")


def test_wrong_pairs_are_dashed(tmp_path):
  true, found = map(rna.partners_of, ("((....))", "((...).)"))
  axes = pyplot.Figure().add_subplot()
  structure_figures.draw(axes, "GCAAAAGC", true, found)
  arcs = [
    (*np.round(line.get_xdata()[[-1, 0]]), line.get_ydata()[25] > 0)
    for line in axes.lines
    if line.get_linestyle() == "-"
  ]
  assert arcs == [(0, 7, True), (0, 7, False)]
  assert [line.get_linestyle() for line in axes.lines].count("--") == 2
  path = tmp_path / "structures.png"
  rows = [true, true[:7]], [found, found[:7]]
  rows[0][1][0] = rows[1][1][0] = -1
  letters = ["GCAAAAGC", "GCAAAAG"]
  assert structure_figures.write(path, letters, *rows) == path
  assert path.read_bytes().startswith(b"\x89PNG")
