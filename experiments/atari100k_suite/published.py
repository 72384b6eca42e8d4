"""Published numbers of Atari-100k, with their sources.

26 games, 100,000 agent steps (400,000 frames) each. Scores are mean returns of
whole games, unclipped. Random and human scores are the usual ones for
normalization: SPR's code, Dopamine and EfficientZero use the same.

Scores of SimPLe, CURL, DrQ, SPR and EfficientZero are from Table 1 of
EfficientZero (arXiv:2111.00210), those of DER (data-efficient Rainbow) from
SPR's code (github.com/mila-iqia/spr). Those of BBF (arXiv:2305.19452) with 8
updates a step are from its Table A.1; those with 2 are means over the 14 runs
of the score file in its repository. Scores per game were not found for SR-SPR,
nor for SPR without augmentation.
"""

import pathlib
import tomllib
from typing import NamedTuple


class Aggregates(NamedTuple):
  """Human-normalized aggregates over the 26 games; None if not published.

  Attributes:
    mean: over games of the mean over runs.
    median: over games of the mean over runs.
    iqm: interquartile mean of all runs on all games, not of mean scores.
    optimality_gap: optimality gap of all runs on all games, not of mean scores.
    runs: smallest number of runs per game; None if not known.
    source: source of the numbers.
  """

  mean: float | None = None
  median: float | None = None
  iqm: float | None = None
  optimality_gap: float | None = None
  runs: int | None = None
  source: str = ""


def _read():
  """Reads the numbers from the TOML file next to this module."""
  file = pathlib.Path(__file__).with_suffix(".toml")
  return tomllib.loads(file.read_text("utf-8"))


_NUMBERS = _read()
GAMES = tuple(_NUMBERS["games"])
RANDOM, HUMAN, *_OF_AGENTS = (
  dict(zip(GAMES, scores)) for scores in zip(*_NUMBERS["games"].values())
)
# Mean scores by agent and game. RR is the number of updates a step.
SCORES = dict(zip(_NUMBERS["columns"][2:], _OF_AGENTS))
# Agents have the same names as in SCORES. Numbers that were not found in print
# are omitted.
AGGREGATES = {
  entry.pop("name"): Aggregates(**entry) for entry in _NUMBERS["aggregates"]
}
