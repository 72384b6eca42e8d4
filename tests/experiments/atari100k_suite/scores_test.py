"""Normalized scores against rliable's, and published numbers against others."""

import numpy as np
import pytest

from experiments.atari100k_suite import published
from experiments.atari100k_suite import scores
from jaxseq.training import aggregates
from jaxseq.training import plots

# IQM and optimality gap of mean scores: another program's, not from print.
OF_MEANS = {
  "SimPLe": (0.239, 0.666),
  "DER": (0.142, 0.730),
  "CURL": (0.189, 0.699),
  "DrQ": (0.247, 0.697),
  "SPR": (0.450, 0.520),
  "EfficientZero": (1.047, 0.367),
}


@pytest.fixture(scope="module")
def arrays(golden):
  return golden("spr/rliable_aggregates")


def _by_game(arrays, run):
  return dict(zip(map(str, arrays["games"]), arrays[f"raw_{run}"].T))


def test_golden_normalised(arrays):
  assert published.GAMES == tuple(arrays["games"])
  for run in "ab":
    table = scores.normalized_table(_by_game(arrays, run))
    np.testing.assert_allclose(table, arrays[f"hns_{run}"], rtol=1e-12)
  np.testing.assert_array_equal(
    scores.normalize("pong", [[-20.7, 14.6]]), [[0.0, 1.0]]
  )


def test_golden_aggregates(arrays):
  found = aggregates.aggregates(scores.normalized_table(_by_game(arrays, "a")))
  values = np.asarray([found[name] for name in aggregates.AGGREGATES])
  np.testing.assert_allclose(values[:, 0], arrays["agg_a"], rtol=1e-12)
  # Random draws of 2,000 and of 5,000 resamples.
  np.testing.assert_allclose(values[:, 1:].T, arrays["ci95_a"], atol=0.03)


@pytest.mark.parametrize("agent", published.SCORES)
def test_published_scores_give_the_published_aggregates(agent):
  """As far as the last digits of both allow.

  Scores are rounded to 0.1 and aggregates to 0.001. All aggregates rise, or
  fall, with every score, so scores 0.05 lower and higher give the bounds.
  """
  expected = published.AGGREGATES[agent]._asdict()
  if agent in OF_MEANS:
    # Agents with an IQM of their runs have another one of their means.
    assert expected["iqm"] is None
    assert expected["optimality_gap"] is None
    expected.update(zip(("iqm", "optimality_gap"), OF_MEANS[agent]))
  ends = [
    scores.normalized_table(
      {game: [value + off] for game, value in published.SCORES[agent].items()}
    )
    for off in (-0.05, 0.05)
  ]
  names = ["mean", "median"]
  names += ["iqm", "optimality_gap"] if agent in OF_MEANS else []
  for name in names:
    low, high = sorted(map(aggregates.AGGREGATES[name], ends))
    assert low - 0.0005 <= expected[name] <= high + 0.0005, name


def test_published_aggregates_of_fewer_games():
  games = ["boxing", "pong"]
  found = scores.published_aggregates(games)
  assert set(found) == set(published.SCORES)
  spr = [(35.8 - 0.1) / 12.0, (-5.9 + 20.7) / 35.3]
  np.testing.assert_allclose(found["SPR"].mean, np.mean(spr))
  # Mean scores say nothing of these.
  assert found["SPR"].iqm is None
  assert found["SPR"].optimality_gap is None
  assert scores.published_aggregates(published.GAMES) == published.AGGREGATES


def test_sample_efficiency_holds_the_last_scores():
  nan = np.nan
  curves = {
    # Human is 12.1 and 14.6, random 0.1 and -20.7.
    "boxing": ([0, 10, 30], [[nan, 0.1, 12.1], [0.1, nan, 6.1]]),
    "pong": ([10, 20], [[-20.7, 14.6], [-20.7, nan]]),
  }
  steps, values = scores.sample_efficiency(curves)
  np.testing.assert_array_equal(steps, [10, 20, 30])
  # Of four scores the two in the middle count.
  np.testing.assert_allclose(values[0], [0.0, 0.0, 0.75], atol=1e-12)
  assert (values[1] <= values[0]).all()
  assert (values[0] <= values[2]).all()


def test_write(tmp_path, arrays, monkeypatch):
  drawn = {}

  def intervals(path, panels):
    drawn.update(panels)
    return original(path, panels)

  original = plots.intervals
  monkeypatch.setattr(plots, "intervals", intervals)
  raw = _by_game(arrays, "a")
  curves = {
    game: ([1, 2], np.stack([values, values], axis=1))
    for game, values in raw.items()
  }
  report = scores.write(
    tmp_path / "made", raw, name="mine", curves=curves, resamples=100
  )
  names = ["aggregates.png", "profile.png", "sample_efficiency.png"]
  assert [path.name for path in report.pictures] == names
  for path in report.pictures:
    assert path.read_bytes().startswith(b"\x89PNG"), path
  text = (tmp_path / "made" / scores.TABLE).read_text(encoding="utf-8")
  assert "all 26 games" in text
  rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
  # Random, human, DER, DrQ, SPR, BBF.
  assert rows["pong"][-6:] == "-20.7 14.6 -19.3 -8.5 -5.9 16.7".split()
  assert rows["pong"][1] == f"{np.mean(raw['pong']):.1f}"
  iqm, low, high = report.aggregates["iqm"]
  np.testing.assert_allclose(iqm, arrays["agg_a"][2], rtol=1e-12)
  assert f"{iqm:.3f} [{low:.3f}, {high:.3f}]" in text
  assert rows["SPR, 100 runs"][4:] == ["-", "0.395", "0.337", "-", "-"]
  assert drawn["IQM"]["mine"] == (iqm, low, high)
  assert drawn["mean"]["SPR"][0] == 0.704
  # Published IQMs of mean scores are not beside those of runs.
  assert np.isnan(drawn["IQM"]["SPR"]).all()


def test_write_one_run_of_few_games(tmp_path):
  report = scores.write(tmp_path, {"pong": [14.6], "boxing": [0.1]}, against=())
  text = (tmp_path / scores.TABLE).read_text(encoding="utf-8")
  assert text.count("2 of the 26 games") == 2
  assert "over 1 run;" in text
  assert "[" not in text
  assert report.aggregates["mean"] == (0.5, 0.5, 0.5)


def test_an_agent_named_as_a_published_one_stays_beside_it(tmp_path):
  scores.write(tmp_path, {"pong": [14.6], "boxing": [0.1]}, name="SPR")
  text = (tmp_path / scores.TABLE).read_text(encoding="utf-8")
  assert "SPR, ours" in text
  assert "\nSPR  " in text


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda: scores.normalize("KungFuMaster", 0.0),
      "game: got 'KungFuMaster', .*did you mean kung_fu_master",
    ),
    (
      lambda: scores.normalized_table({}),
      "scores: got {}, expected at least one game",
    ),
    (
      lambda: scores.normalized_table({"pong": [1.0], "boxing": [1.0, 2.0]}),
      "{'pong': 1, 'boxing': 2}, expected equally many runs",
    ),
    (
      lambda: scores.normalized_table({"pong": [np.nan]}),
      r"scores\['pong'\]: got .*, expected finite numbers",
    ),
    (
      lambda: scores.published_table("Rainbow", ["pong"]),
      "agent: got 'Rainbow', expected one of 'SimPLe'",
    ),
    (
      lambda: scores.sample_efficiency({"pong": ([2, 1], [[0.0, 0.0]])}),
      r"curves\['pong'\]: got shape .*, expected ascending steps",
    ),
    (
      lambda: scores.sample_efficiency({"pong": ([1], [[np.nan]])}),
      r"curves\['pong'\]: got .*, expected a finite score of each run",
    ),
  ],
)
def test_wrong_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()
