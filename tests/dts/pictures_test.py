import sys

import numpy as np
import pytest

from jaxseq.dts import _pictures
from jaxseq.training import figures

pytest.importorskip("matplotlib")


@pytest.fixture
def drawn(monkeypatch):
  """Figures that would be saved; writing them takes most of the time."""
  kept = []

  def keep(figure, path):
    kept.append(figure)
    return path

  monkeypatch.setattr(figures, "save", keep)
  return kept


def test_kl_heat_map_is_a_png(tmp_path):
  kl = np.abs(np.random.default_rng(0).normal(size=(5, 3)))
  path = _pictures.kl_heat_map(
    tmp_path / "new" / "kl.png", [0, 10, 20, 40, 80], kl
  )
  assert path == tmp_path / "new" / "kl.png"
  assert path.read_bytes().startswith(b"\x89PNG")
  assert [p.name for p in path.parent.iterdir()] == ["kl.png"]


def test_kl_heat_map_cells(tmp_path, drawn):
  kl = np.arange(6.0).reshape(3, 2)
  _pictures.kl_heat_map(tmp_path / "a", [0, 10, 30], kl)
  (mesh,) = drawn[0].axes[0].collections
  np.testing.assert_array_equal(mesh.get_array().reshape(2, 3), kl.T)
  np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 5, 20, 30])
  _pictures.kl_heat_map(tmp_path / "b", [7], kl[:1], part="validation")
  assert drawn[1].axes[0].get_title(loc="left") == "validation windows"
  (mesh,) = drawn[1].axes[0].collections
  np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [6.5, 7.5])


def test_kl_heat_map_has_no_half_steps(tmp_path, drawn):
  _pictures.kl_heat_map(tmp_path / "a", [1, 2, 3, 4], np.ones((4, 2)))
  axes = drawn[0].axes[0]
  assert axes.get_xlim() == (1, 4)
  assert all(tick % 1 == 0 for tick in axes.get_xticks())


def test_information_curves(tmp_path, drawn):
  steps = np.arange(4)
  runs = {
    "VAE": {"steps": steps, "mi": steps, "tc": 0 * steps},
    "DTS": {"steps": steps, "mi": np.stack([steps, 3 * steps])},
  }
  _pictures.information_curves(tmp_path / "a.png", runs, part="test")
  assert drawn[0].get_supylabel() == "test windows"
  first, second = drawn[0].axes
  assert first.get_title(loc="left") == "mutual information (nats)"
  assert [len(axes.get_lines()) for axes in (first, second)] == [2, 1]
  lines = {line.get_label(): line for line in first.get_lines()}
  np.testing.assert_array_equal(lines["DTS"].get_ydata(), 2 * steps)


def test_traversal_grid(tmp_path, drawn):
  windows = np.random.default_rng(0).normal(size=(2, 3, 8, 2))
  _pictures.traversal_grid(
    tmp_path / "a.png", windows, names=["freq", "amp"], channels=["ecg", "eeg"]
  )
  axes = np.array(drawn[0].axes).reshape(2, 3)
  for (d, s), cell in np.ndenumerate(axes):
    for c, line in enumerate(cell.get_lines()):
      np.testing.assert_array_equal(line.get_ydata(), windows[d, s, :, c])
  assert [cell.get_title() for cell in axes[0]] == ["-3", "0", "+3"]
  assert [cell.get_ylabel() for cell in axes[:, 0]] == ["freq", "amp"]
  (legend,) = drawn[0].subfigs[0].legends
  assert [text.get_text() for text in legend.texts] == ["ecg", "eeg"]
  # One scale, so that what does not change is seen not to.
  assert len({cell.get_ylim() for cell in axes.flat}) == 1


def test_swap_grid(tmp_path, drawn):
  windows = np.random.default_rng(0).normal(size=(2, 2, 8, 1))
  _pictures.swap_grid(
    tmp_path / "a.png", windows, rows=["walk", "run"], columns=["A", "B"]
  )
  axes = np.array(drawn[0].axes).reshape(2, 2)
  assert [cell.get_title() for cell in axes[0]] == ["A", "B"]
  assert [cell.get_ylabel() for cell in axes[:, 0]] == ["walk", "run"]
  widths = [cell.spines["top"].get_linewidth() for cell in axes.flat]
  assert widths[0] == widths[3] > widths[1] == widths[2]


def test_padded_times_are_not_drawn(tmp_path, drawn):
  windows = np.random.default_rng(0).normal(size=(2, 2, 8, 1))
  _pictures.traversal_grid(tmp_path / "a.png", windows, length=5)
  _pictures.swap_grid(tmp_path / "b.png", windows, lengths=np.array([3, 8]))
  shown = [
    [len(cell.get_lines()[0].get_ydata()) for cell in figure.axes]
    for figure in drawn
  ]
  assert shown == [[5, 5, 5, 5], [3, 3, 8, 8]]
  captions = [figure.subfigs[0].get_supxlabel() for figure in drawn]
  assert captions == ["time: 5 steps", "time: 3 to 8 steps"]


def test_a_title_stands_apart_from_what_columns_are(tmp_path, drawn):
  windows = np.zeros((2, 3, 8, 1))
  _pictures.traversal_grid(tmp_path / "a.png", windows, title="A title")
  (figure,) = drawn
  assert figure.get_suptitle() == "A title"
  assert figure.subfigs[0].get_suptitle() == "value of the coordinate"
  title, columns = figure._suptitle, figure.subfigs[0]._suptitle
  assert title.get_fontsize() > columns.get_fontsize()
  assert title.get_color() != columns.get_color()


def test_information_map(tmp_path, drawn):
  table = np.array([[0.1, 0.9], [0.8, 0.2], [0.0, 0.3]])
  _pictures.information_map(
    tmp_path / "a.png",
    table / 10,
    factors=["frequency", "phase"],
    title="MIG 0.06",
    note="bias 0.01",
  )
  table, axes = table / 10, drawn[0].axes[0]
  # What says little is dark, whatever else is there.
  assert axes.get_images()[0].get_clim() == (0, 1)
  assert drawn[0].axes[1].get_ylabel() == "share of the entropy"
  assert drawn[0].get_supxlabel() == "bias 0.01"
  np.testing.assert_array_equal(axes.get_images()[0].get_array(), table)
  centers = {
    tuple(np.round(np.add(p.get_xy(), (p.get_width() / 2, p.get_height() / 2))))
    for p in axes.patches
  }
  assert centers == {(0, 1), (1, 0)}
  assert sorted(text.get_text() for text in axes.texts)[:2] == ["0.00", "0.01"]


def test_metric_bars(tmp_path, drawn):
  runs = {"VAE": {"mig": [0.1, 0.3], "irs": 0.5}, "DTS": {"mig": 0.4}}
  _pictures.metric_bars(tmp_path / "a.png", runs)
  mig, irs = drawn[0].axes
  assert mig.get_title(loc="left") == "MIG"
  np.testing.assert_allclose([p.get_width() for p in mig.patches], [0.2, 0.4])
  assert [text.get_text() for text in mig.texts] == ["0.200", "0.400"]
  # What a run lacks is no bar of height 0.
  assert len(irs.patches) == 1
  # Scores are measured against 1, whatever the best of them.
  assert mig.get_xlim() == irs.get_xlim()
  assert mig.get_xlim()[1] > 1


def test_bars_of_other_than_scores_have_a_scale_of_their_own(tmp_path, drawn):
  runs = {"VAE": {"gaussian_tc": 40.0}, "DTS": {"gaussian_tc": 41.25}}
  _pictures.metric_bars(tmp_path / "a.png", runs)
  (axes,) = drawn[0].axes
  assert axes.get_xlim()[1] > 41.25
  assert len(axes.get_xticks()) > 1
  # Bars of other lengths have other numbers.
  assert [text.get_text() for text in axes.texts] == ["40", "41.2"]


def test_without_matplotlib_nothing_is_drawn(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  windows = np.zeros((2, 2, 3, 1))
  path = tmp_path / "a.png"
  assert _pictures.kl_heat_map(path, [0, 1], np.ones((2, 2))) is None
  assert _pictures.traversal_grid(path, windows) is None
  assert _pictures.swap_grid(path, windows) is None
  assert _pictures.information_map(path, np.ones((2, 2))) is None
  assert _pictures.metric_bars(path, {"a": {"mig": 1.0}}) is None
  assert not path.exists()


@pytest.mark.parametrize(
  ("draw", "match"),
  [
    (
      lambda p: _pictures.kl_heat_map(p, [0], np.ones((2, 2))),
      r"got shape \(2, 2\) for steps of shape \(1,\)",
    ),
    (
      lambda p: _pictures.kl_heat_map(p, [1, 1], np.ones((2, 2))),
      "steps: got .* expected increasing",
    ),
    (
      lambda p: _pictures.information_curves(p, {"a": {"steps": [0]}}),
      "one of mi, tc, dwkl",
    ),
    (
      lambda p: _pictures.traversal_grid(p, np.ones((2, 3, 4))),
      r"traversal: got shape \(2, 3, 4\)",
    ),
    (
      lambda p: _pictures.swap_grid(p, np.ones((2, 2, 4, 1)), rows=["a"]),
      "rows: got .'a'., expected 2 names",
    ),
    (
      lambda p: _pictures.information_map(p, np.ones(3)),
      r"information: got shape \(3,\)",
    ),
    (
      lambda p: _pictures.metric_bars(p, {"a": {}}),
      "runs: got .'a': ..., expected some with metrics",
    ),
  ],
)
def test_wrong_arguments(tmp_path, draw, match):
  with pytest.raises(ValueError, match=match):
    draw(tmp_path / "a.png")
  assert not list(tmp_path.iterdir())
