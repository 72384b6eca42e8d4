"""Pictures of classifiers are written, and long tables are cut."""

import numpy as np
import pytest

from jaxseq.tasks.classification import confusion
from jaxseq.tasks.classification import figures as classification_figures
from jaxseq.training import figures
from jaxseq.training import per_seed


def _result(size):
  rng = np.random.default_rng(0)
  table = rng.integers(0, 9, (2, size, size)) + 20 * np.eye(size, dtype=int)
  bins = rng.integers(0, 5, (2, confusion.NUM_BINS))
  counts = confusion.Counts(table, bins, 0.5 * bins, 0.25 * bins)
  names = [f"a long name of the class {i}" for i in range(size)]
  accuracy = np.trace(table, axis1=1, axis2=2) / table.sum(axis=(1, 2))
  return {"accuracy": per_seed.of(accuracy), **confusion.figures(counts, names)}


@pytest.mark.slow
def test_what_is_shown(tmp_path, capsys):
  results = {"gru": _result(30), "s5": _result(30)}
  classification_figures.show(tmp_path, results, draw=True)
  output = capsys.readouterr().out
  assert "the 20 lowest of 30" in output
  assert len(output.splitlines()) == 3 + 20 + 1
  for name in ("calibration.png", "gru/confusion.png", "s5/confusion.png"):
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / name) in output
  np.testing.assert_allclose(results["gru"]["ece"], 0.25)

  classification_figures.show(tmp_path / "none", results, draw=False)
  assert not (tmp_path / "none").exists()
  classification_figures.show(tmp_path, {"gru": {"mse": [1.0]}}, draw=True)


def test_nothing_of_the_captions_is_cut(tmp_path, monkeypatch):
  pytest.importorskip("matplotlib")
  drawn = []
  monkeypatch.setattr(
    figures, "save", lambda figure, path: drawn.append(figure) or path
  )
  bins = {"confidence": [[0.5]], "accuracy": [[0.5]], "count": [[1]]}
  result = {"ece": per_seed.PerSeed([0.1]), "calibration": bins}
  classification_figures.draw_calibration(tmp_path / "a.png", {"gru": result})
  (figure,) = drawn
  figure.draw_without_rendering()
  for text in (figure._supxlabel, figure._supylabel):
    box = text.get_window_extent()
    assert 0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert 0 <= box.y0
