"""Learning curves: a whole PNG from any values a run can give."""

import struct
import sys

import numpy as np
import pytest

from jaxseq.training import figures
from jaxseq.training import plots

pytest.importorskip("matplotlib")


def size_of(path):
  data = path.read_bytes()
  assert data[:8] == b"\x89PNG\r\n\x1a\n"
  assert data[-8:-4] == b"IEND"
  return struct.unpack(">II", data[16:24])


def pixels_of(path):
  from matplotlib import image

  return image.imread(path)


def test_a_curve_without_a_point_is_not_drawn(tmp_path):
  nothing = {"spr": ([1, 2], [[np.nan, np.nan]])}
  assert plots.learning_curve(tmp_path / "curve.png", nothing) is None
  assert not (tmp_path / "curve.png").exists()


def test_writes_a_png_in_a_new_directory(tmp_path):
  steps = np.arange(50) * 8192
  rng = np.random.default_rng(0)
  curves = {
    "S5": (steps, np.tanh(steps / 1e5) + 0.05 * rng.normal(size=(3, 50))),
    "GRU": (steps, 0.5 * np.tanh(steps / 2e5)),
  }
  path = plots.learning_curve(
    tmp_path / "new" / "curve.png",
    curves,
    xlabel="environment steps",
    ylabel="return",
    title="RepeatPreviousEasy",
    references={"reference": 0.98},
    smooth=3,
  )
  width, height = size_of(path)
  assert width > 800
  assert height > 500
  assert [p.name for p in path.parent.iterdir()] == ["curve.png"]
  pixels = pixels_of(path)
  for color in ((0, 114, 178), (213, 94, 0)):
    near = np.abs(pixels[..., :3] * 255 - color).max(-1) < 3
    assert near.sum() > 500, color


@pytest.mark.parametrize(
  "values",
  [
    np.array([[np.nan, 1, np.inf, 2.0], [np.nan, np.nan, 1.0, 3.0]]),
    np.zeros((1, 4)),
  ],
)
def test_values_that_are_not_finite(tmp_path, values):
  path = tmp_path / "curve.png"
  plots.learning_curve(path, {"x": (np.arange(4), values)}, smooth=2)
  size_of(path)


def test_one_point(tmp_path):
  size_of(plots.learning_curve(tmp_path / "a.png", {"x": ([3], [[1.0]])}))


def test_mean_band_and_smoothing():
  values = [[1.0, 3.0, np.nan, 5.0], [3.0, 5.0, 7.0, np.inf], [3.0, 7.0, 7, 5]]
  steps, mean, low, high = plots._prepare("x", range(4), values, 1)
  np.testing.assert_array_equal(steps, range(4))
  np.testing.assert_allclose(mean, [7 / 3, 5, 7, 5], rtol=1e-12)
  # With n - 1 in the denominator, as in the tables.
  np.testing.assert_allclose(low, [7 / 3 - (4 / 3) ** 0.5, 3, 7, 5], rtol=1e-12)
  # No further than the highest seed, so that an accuracy stays below 1.
  np.testing.assert_allclose(high, [3, 7, 7, 5], rtol=1e-12)
  _, mean, _, _ = plots._prepare("x", range(4), values[:2], 2)
  np.testing.assert_array_equal(mean, [2, 3, 4.5, 6])


def drawn_by(monkeypatch, draw):
  """Returns the figure that would be saved."""
  kept = []

  def keep(figure, path):
    kept.append(figure)
    return path

  with monkeypatch.context() as patch:
    patch.setattr(figures, "save", keep)
    draw()
  (figure,) = kept
  return figure


def test_the_caption_says_what_lines_and_bands_are(tmp_path, monkeypatch):
  x, path = np.arange(4), tmp_path / "a.png"
  both = {"x": (x, np.stack([x, 2 * x]))}

  def caption(draw, curves, smooth):
    figure = drawn_by(monkeypatch, lambda: draw(path, curves, smooth=smooth))
    return figure.get_supxlabel()

  assert "mean ± standard" in caption(plots.learning_curve, both, 1)
  smoothed = caption(plots.learning_curve, {"x": (x, x)}, 5)
  assert smoothed == "lines: means of the last 5 values"
  panels = caption(plots.learning_curves, {"a": both, "b": both}, 5)
  assert panels.startswith(smoothed)
  assert not caption(plots.learning_curve, {"x": (x, x)}, 1)
  single = caption(plots.learning_curve, {"x": ([6], [0.5])}, 1)
  assert single == "points: a single evaluation, no curve"


def test_the_axis_of_a_single_evaluation_begins_at_0(tmp_path, monkeypatch):
  path, curves = tmp_path / "a.png", {"a": ([6], [0.5]), "b": ([6], [0.7])}
  figure = drawn_by(monkeypatch, lambda: plots.learning_curve(path, curves))
  (axes,) = figure.axes
  assert axes.get_xlim() == (0, 6)
  assert all(tick % 1 == 0 for tick in axes.get_xticks())


def test_more_curves_than_looks(tmp_path, monkeypatch):
  curves = {f"arm {i}": ([0, 1], [0, i]) for i in range(40)}
  path = tmp_path / "curve.png"
  figure = drawn_by(monkeypatch, lambda: plots.learning_curve(path, curves))
  (axes,) = figure.axes
  assert len(axes.lines) == 40
  heights = [text.xy[1] for text in axes.texts]
  low, high = axes.get_ylim()
  # A line of 9 points, of a figure of 40 labels.
  least = 9 / 72 / figure.get_figheight() * (high - low)
  assert np.diff(sorted(heights)).min() > least


@pytest.mark.parametrize(
  ("curves", "match"),
  [
    ({}, "at least one curve"),
    (
      {"a": (range(3), np.ones((2, 4)))},
      r"curve 'a': got shape \(2, 4\), expected \(seeds, 3\)",
    ),
    ({"a": (range(3), np.ones((1, 2, 3)))}, r"got shape \(1, 2, 3\)"),
  ],
)
def test_wrong_curves(tmp_path, curves, match):
  with pytest.raises(ValueError, match=match):
    plots.learning_curve(tmp_path / "curve.png", curves)
  assert not list(tmp_path.iterdir())


def test_without_matplotlib_a_note_says_so(tmp_path, monkeypatch, caplog):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  path = tmp_path / "a.png"
  assert plots.learning_curve(path, {"x": ([0, 1], [0, 1])}) is None
  assert "matplotlib is not installed" in caplog.text
  assert not path.exists()


def test_panels_share_the_colors_of_their_labels(tmp_path, monkeypatch):
  drawn = []
  save = figures.save

  def keep(figure, path):
    drawn.append(figure)
    return save(figure, path)

  monkeypatch.setattr(figures, "save", keep)
  x = np.arange(5)
  path = plots.learning_curves(
    tmp_path / "panels.png",
    {
      "one": {"s5": (x, x), "gru": (x, -x)},
      "two": {"gru": (x, np.stack([x, 2 * x]))},
    },
    references={"two": {"perfect": 9.0}},
  )
  assert path.read_bytes().startswith(b"\x89PNG")
  (figure,) = drawn
  colors = [
    {line.get_label(): line.get_color() for line in axes.get_lines()}
    for axes in figure.axes
  ]
  assert colors[0]["gru"] == colors[1]["gru"] != colors[0]["s5"]
  with pytest.raises(ValueError, match="at least one panel"):
    plots.learning_curves(tmp_path / "none.png", {})


def test_intervals(tmp_path):
  values = {"s5": (0.5, 0.4, 0.6), "gru": (0.3, 0.3, 0.3)}
  path = plots.intervals(tmp_path / "a.png", {"IQM": values, "mean": values})
  assert path.read_bytes().startswith(b"\x89PNG")
  with pytest.raises(ValueError, match=r"panel 'b': got the labels \['s5'\]"):
    plots.intervals(
      tmp_path / "b.png", {"a": values, "b": {"s5": (0.5, 0.4, 0.6)}}
    )
