"""How probably agents beat each other, against rliable's."""

import numpy as np
import pytest

from experiments.atari100k_suite import score_comparison
from jaxseq.training import aggregates


@pytest.fixture(scope="module")
def arrays(golden):
  return golden("spr/rliable_aggregates")


def by_game(arrays, run):
  return dict(zip(map(str, arrays["games"]), arrays[f"raw_{run}"].T))


def test_golden_improvement(arrays):
  found = score_comparison.improvements(
    {run: by_game(arrays, run) for run in "ab"}
  )
  value, low, high = found["a"]["b"]
  np.testing.assert_allclose(
    value, arrays["prob_improvement_a_over_b"], rtol=1e-12
  )
  # The scale of a game does not matter: raw scores compare as normalized ones.
  raw = [arrays[f"raw_{run}"] for run in "ab"]
  np.testing.assert_allclose((value, low, high), aggregates.improvement(*raw))
  assert found["b"] == {"a": (1 - value, 1 - high, 1 - low)}


def test_write(tmp_path, arrays):
  agents = {f"agent_{run}": by_game(arrays, run) for run in "ab"}
  # The order of games is that of the first agent.
  agents["agent_b"] = dict(reversed(agents["agent_b"].items()))
  agents["first"] = {game: v[:1] for game, v in agents["agent_a"].items()}
  report = score_comparison.write(tmp_path / "made", agents, resamples=100)
  assert report.picture == tmp_path / "made" / "improvement.png"
  assert report.picture.read_bytes().startswith(b"\x89PNG")
  text = (tmp_path / "made" / score_comparison.TABLE).read_text(
    encoding="utf-8"
  )
  assert "mean over all 26 games, with 95 % bootstrap intervals" in text
  rows = {line.split("  ")[0]: line for line in text.splitlines()}
  value, low, high = report.improvements["agent_a"]["agent_b"]
  assert value == pytest.approx(arrays["prob_improvement_a_over_b"])
  assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in rows["agent_a"]
  assert rows["agent_b"].split("  ")[2] == "-"
  assert list(report.improvements["first"]) == ["agent_a", "agent_b"]


def test_write_of_single_runs(tmp_path):
  games = {"pong": [14.6], "boxing": [0.1]}
  report = score_comparison.write(
    tmp_path, {"one": games, "two": {"pong": [0.0], "boxing": [0.1]}}
  )
  text = (tmp_path / score_comparison.TABLE).read_text(encoding="utf-8")
  assert "2 of the 26 games" in text
  assert "[" not in text
  assert report.improvements["one"]["two"] == (0.75, 0.75, 0.75)
  assert report.improvements["two"]["one"] == (0.25, 0.25, 0.25)


def test_wrong_arguments(tmp_path):
  with pytest.raises(
    ValueError,
    match=r"agents\['b'\]: got \[\], expected scores of the games \['pong'\]",
  ):
    score_comparison.improvements({"a": {"pong": [0.0]}, "b": {}})
  with pytest.raises(ValueError, match=r"got \['a'\], expected two or more"):
    score_comparison.write(tmp_path, {"a": {"pong": [0.0]}})
