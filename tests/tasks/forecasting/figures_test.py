"""Pictures of forecasts: which series are drawn, and in which units."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.tasks.forecasting import figures as forecast_figures
from tests.models import cases


def test_each_series_is_drawn_in_the_middle_of_its_test_span():
  splits = cases.case("panel").splits
  shown = forecast_figures.choose(splits, 9)
  assert (shown.titles, shown.count) == (["A", "B"], 2)
  part = data.take(splits.test, shown.rows)
  assert part.extras.series.tolist() == [1, 2]
  # 12 of 60 days: as many windows before it as behind.
  first = np.datetime64("2024-01-01") + np.timedelta64(48 + 5 - 8, "D")
  seconds = part.extras.times[:, 0].astype("datetime64[s]")
  assert (seconds.astype("datetime64[D]") == first).all()
  found = splits.info.preparation.restore(part.targets, part)[..., 0]
  np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-5)
  assert len(forecast_figures.choose(splits, 1).titles) == 1


def test_many_channels_are_spread():
  splits = data.load(
    "seasonal", times=300, channels=7, input_length=8, horizon=3
  )
  shown = forecast_figures.choose(splits, 3)
  assert shown.titles == ["channel_0", "channel_3", "channel_6"]
  assert (shown.channels.tolist(), shown.count) == ([0, 3, 6], 7)
  assert len(set(shown.rows.tolist())) == 1


@pytest.mark.parametrize("dated", [True, False])
def test_the_picture_says_what_it_shows(tmp_path, dated, monkeypatch):
  pytest.importorskip("matplotlib")
  shown = forecast_figures.Shown(np.arange(2), np.zeros(2, int), ["A", "B"], 8)
  seconds = 86400.0 * (19700 + np.arange(12)) * np.ones((2, 1))
  lines = {
    "measured": np.ones((2, 12)),
    "seasonal naive": np.ones((2, 4)),
    "gru": np.ones((2, 4)),
  }
  seen = []
  save = forecast_figures.figures.save
  monkeypatch.setattr(
    forecast_figures.figures,
    "save",
    lambda figure, path: seen.append(figure) or save(figure, path),
  )
  path = forecast_figures._draw(
    tmp_path / "forecasts.png",
    shown,
    seconds if dated else None,
    lines,
    {"gru": [np.zeros((2, 4)), 2 * np.ones((2, 4))]},
  )
  assert path.exists()
  words = seen[0].get_supxlabel()
  assert "shaded: intervals of 80 %; 2 of 8 series and channels" in words
  axes = seen[0].axes[0]
  assert len(axes.collections) == 1
  where = axes.lines[0].get_xdata()
  assert (where.dtype.kind == "M") == dated
  assert ("steps after the end" in words) != dated
