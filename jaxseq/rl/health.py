"""Warnings about agents that train badly: wrong sizes, a useless critic.

`warnings` checks the metrics of a training run, and `Watch` the rows of a log
while they are written. `experiments.icrl` has one for each arm; in your own
loop, pass it to the writer:

    watch = health.Watch(config)
    with scalars.MetricWriter(directory, hooks=[watch]) as writer:
      loop.run(..., writer=writer)
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from absl import logging
import numpy as np

from jaxseq.rl.agents import common

# Updates between two checks of a `Watch`, all of which must have large values.
_RECENT = 10
# The largest root mean square of values and their targets. For normalized
# returns it is 1, or a few while an agent keeps improving.
_LARGE, _EXPLODED = 10.0, 100.0
# A critic that outputs noise has an explained variance slightly below 0.
_USELESS = -0.1
# A network hardly tells numbers apart that are larger, or all smaller.
_LEAST_SEEN, _MOST_SEEN = 0.01, 30.0
_SIZES = "target_rms", "value_rms"
_SOFT = "alpha", "entropy"
_VARIANCE = "explained_variance"
_SEEN = "observation_size"
_NAMES = frozenset((*_SIZES, *_SOFT, _VARIANCE, _SEEN, "q_value"))
_PAGE = "see docs/flat_returns.md"


def warnings(
  config: common.Config, metrics: Mapping[str, Any]
) -> dict[str, str]:
  """Returns warnings about the metrics of a training run, each with a remedy.

      runner, metrics = ppo.train(config, runner, config.num_updates)
      print(health.warnings(config, metrics))

  There are three warnings:
    observation_size: in the last ten updates the root mean square of the
      largest number in observations was above 30, or below 0.01, and
      `normalize_observation` is off.
    values: in the last ten updates the root mean square of the values or their
      targets was above 10, or above 100 `reward_scale` with normalized rewards;
      or a mean action value of R2D2 or SAC was above that.
    explained_variance: its median over the last quarter of the run's updates is
      below -0.1, and at least half of the run is done.

  Args:
    config: configuration of the agent.
    metrics: of all updates so far, as `train` returns them: (updates,), or
      (seeds, updates) for parallel seeds.

  Returns:
    Sentences by the names above; empty if there is no warning.
  """
  histories = {
    name: np.atleast_2d(np.asarray(metrics[name], float))
    for name in _NAMES & set(metrics)
  }
  found = {
    _SEEN: _observation_size(config, histories.get(_SEEN)),
    "values": _values(config, histories),
    _VARIANCE: _explained_variance(config, histories.get(_VARIANCE)),
  }
  return {name: text for name, text in found.items() if text}


class Watch:
  """A hook of `scalars.MetricWriter` that logs each of `warnings` once.

  After a restart it sees only the rows written since then.

  Args:
    config: configuration of the agent.
  """

  def __init__(self, config: common.Config):
    self._config = config
    self._rows: list[dict[str, Any]] = []
    self._warned: set[str] = set()

  def __call__(
    self, directory: pathlib.Path, step: int, row: dict[str, Any]
  ) -> None:
    """Checks the history after every ten rows of updates."""
    values = {name: row[name] for name in sorted(_NAMES & set(row))}
    if not values:
      return
    self._rows.append(values)
    if len(self._rows) % _RECENT:
      return
    names = self._rows[-1]
    rows = [held for held in self._rows if held.keys() == names.keys()]
    history = {
      name: np.stack([np.atleast_1d(held[name]) for held in rows], axis=-1)
      for name in names
    }
    for name, text in warnings(self._config, history).items():
      if name not in self._warned:
        self._warned.add(name)
        logging.warning("%s, step %s: %s", directory.name, f"{step:,}", text)


def _observation_size(config, history):
  """Returns a warning of observations that are large or small, or ""."""
  if config.normalize_observation or history is None:
    return ""
  recent = history[:, -_RECENT:]
  large = (recent > _MOST_SEEN).all(axis=1)
  small = ((recent > 0) & (recent < _LEAST_SEEN)).all(axis=1)
  odd = large | small
  if recent.shape[1] < _RECENT or not odd.any():
    return ""
  return (
    f"{_SEEN}: got {np.median(recent[odd]):.3g}{_seeds(odd)}, the root mean"
    f" square of the largest number in observations, expected"
    f" {_LEAST_SEEN:g} to {_MOST_SEEN:g}. Set normalize_observation=True;"
    f" {_PAGE}."
  )


def _values(config, histories):
  """Returns a warning of values that are large or explode, or ""."""
  normalized = config.reward_normalization != "none"
  # PopArt's values are in units of their targets.
  in_rewards = config.reward_normalization != "popart"
  limit = _EXPLODED * (config.reward_scale if in_rewards else 1)
  held = [name for name in _SIZES if name in histories]
  if held:
    size = np.max([histories[name] for name in held], axis=0)
    limit = limit if normalized else _LARGE
  elif "q_value" in histories:
    # Soft values include the future entropy bonus.
    bonus = [histories[name] for name in _SOFT if name in histories]
    bonus = np.abs(bonus[0] * bonus[1]) if len(bonus) == 2 else 0
    size = np.abs(histories["q_value"]) - bonus / max(1 - config.gamma, 1e-3)
    held = ["q_value"]
  else:
    return ""
  recent = size[:, -_RECENT:]
  if recent.shape[1] < _RECENT:
    return ""
  # NaN, from updates that were skipped, is not above the limit.
  large = (recent > limit).all(axis=1)
  if not large.any():
    return ""
  got = f"{' or '.join(held)}: got {recent[large].max():.3g}{_seeds(large)}"
  expected = f"expected at most {limit:.3g}"
  if normalized:
    return f"{got}, {expected}: values explode. {_remedy(config)}; {_PAGE}."
  return (
    f"{got}, {expected}: rewards are large, or values explode. Set"
    f" reward_normalization='returns'; if that is not enough, lower"
    f" learning_rate = {config.learning_rate:g}; {_PAGE}."
  )


def _explained_variance(config, history):
  """Returns a warning of a critic that is worse than a constant, or ""."""
  window = max(_RECENT, config.num_updates // 4)
  if history is None or history.shape[1] < 2 * window:
    return ""
  medians = np.median(history[:, -window:], axis=1)
  useless = medians < _USELESS
  if not useless.any():
    return ""
  return (
    f"{_VARIANCE}: got {medians[useless].min():.2g}, the median of the last"
    f" {window} updates{_seeds(useless)}, expected more than 0: the critic"
    f" explains nothing of the returns. {_remedy(config)}; {_PAGE}."
  )


def _remedy(config):
  """Returns the remedy for a critic that does not learn."""
  text = f"Lower learning_rate = {config.learning_rate:g}"
  if getattr(config, "critic", None) == "shared":
    text += ", or set critic='separate'"
  return text


def _seeds(chosen):
  """Names the seeds, if there are several."""
  if len(chosen) == 1:
    return ""
  return f" (seeds {', '.join(map(str, np.flatnonzero(chosen)))})"
