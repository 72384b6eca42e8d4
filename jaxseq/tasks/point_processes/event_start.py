"""Variables of a network that begins where counting ends.

It predicts gaps and marks as often as they came in training, whatever went
before; what depends on the past is learnt from there. With few events that is
most of what can be known, and a network that begins anywhere else has to find
it again while it learns the rest by heart.
"""

from collections.abc import Mapping
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq.nn import masks
from jaxseq.tasks.point_processes import event_network
from jaxseq.tasks.point_processes import event_sequences

_STEPS = 20
# Standard deviations of a component, in those of all log gaps.
_NARROW, _WIDE = 0.1, 1.0


Shares = tuple[tuple[float, ...], tuple[float, ...]]


def shares(
  network: event_network.EventNetwork, train: event_sequences.Sequences
) -> Shares | None:
  """Returns outputs for gaps and for marks that predict as counts do.

  They are None where the arm begins elsewhere.

  Args:
    network: of an arm.
    train: the training sequences.

  Raises:
    ValueError: if another head than "density" is to begin so.
  """
  known, config = network.statistics, network.config
  if not config.from_shares:
    return None
  inside = masks.inside(train.gaps.shape[1], np.asarray(train.lengths))
  gaps = np.asarray(train.gaps, np.float64)[inside]
  # A silence up to the end counts as a gap, which is at least as long.
  last = np.where(inside, train.times, 0).max(axis=1, initial=0)
  until = known.horizon if train.until is None else np.asarray(train.until)
  gaps = np.concatenate([gaps, until - last])
  logs = (np.log(gaps[gaps > 0]) - known.log_mean) / known.log_deviation
  marks = np.asarray(train.marks)[inside]
  counts = np.bincount(marks, minlength=known.num_marks)
  if known.columns:
    counts = known.words() @ counts
  # A mark that never came is taken for half an event.
  logits = np.log(np.maximum(counts, 0.5))
  logits -= logits.mean()
  gap = _outputs(logs, config.components)
  return tuple(gap.tolist()), tuple(logits.tolist())


def begun(variables: Mapping[str, Any], shares: Shares | None) -> Any:
  """Returns variables with predictions of `shares`, if there are any.

  Args:
    variables: of the network, as drawn.
    shares: as from `shares`.
  """
  if shares is None:
    return variables
  gap, marks = (jnp.asarray(one, jnp.float32) for one in shares)
  params, count = dict(variables["params"]), len(gap)

  def last(layer):
    return {
      "kernel": layer["kernel"].at[:, :count].set(0),
      "bias": layer["bias"].at[:count].set(gap),
    }

  network = dict(params["network"])
  network["head"] = _last_changed(network["head"], last)
  kernel = jnp.zeros_like(params["marks"]["kernel"])
  params |= {"network": network, "marks": {"kernel": kernel, "bias": marks}}
  return {**variables, "params": params}


def _last_changed(tree, change):
  """Parameters of dense layers, of which the last is another one."""
  if "kernel" in tree:
    return change(tree)
  name = max(tree)
  return {**tree, name: _last_changed(tree[name], change)}


def _outputs(logs, count):
  """Outputs (3 count,) whose mixture is that of log gaps, by EM."""
  levels = (np.arange(count) + 0.5) / count
  mean = np.quantile(logs, levels)
  scale = np.full(count, np.clip(2.0 / count, _NARROW, _WIDE))
  weight = np.full(count, 1 / count)
  for _ in range(_STEPS):
    z = (logs[:, None] - mean) / scale
    part = np.log(weight) - 0.5 * z * z - np.log(scale)
    part = np.exp(part - part.max(axis=1, keepdims=True))
    part /= part.sum(axis=1, keepdims=True)
    total = part.sum(axis=0) + 1e-6
    mean = (part * logs[:, None]).sum(axis=0) / total
    square = (part * (logs[:, None] - mean) ** 2).sum(axis=0) / total
    # The fewer gaps there are, the less they tell of what else may come.
    square += 0.25 * len(logs) ** -0.4
    scale = np.clip(np.sqrt(square), _NARROW, _WIDE)
    weight = total / total.sum()
  offsets = np.linspace(-2.0, 2.0, count) if count > 1 else np.zeros(1)
  low, high = event_network.LOG_SCALE
  share = (np.log(scale) - low) / (high - low)
  bounded = np.array([math.log(x / (1 - x)) - 1.5 for x in share])
  return np.concatenate([np.log(weight), mean - offsets, bounded])
