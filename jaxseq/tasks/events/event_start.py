"""Initial variables of a network that reproduce frequencies.

The initial predictions are the training frequencies of gaps and marks,
independent of the past; training then learns the dependence on it. With few
events the frequencies are most of the available information, and a network with
another initialization has to learn them while it overfits.
"""

from collections.abc import Mapping
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import special

from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import network as event_network

_STEPS = 20
# Bounds of a component's deviation, in deviations of all log gaps.
_NARROW, _WIDE = 0.1, 1.0


Shares = tuple[tuple[float, ...], tuple[float, ...]]


def shares(
  network: event_network.EventNetwork, train: event_sequences.Sequences
) -> Shares | None:
  """Returns outputs for gaps and marks that predict training frequencies.

  They are None if the arm has another initialization.

  Args:
    network: network of an arm.
    train: the training sequences.

  Raises:
    ValueError: if the head is not "density".
  """
  known, config = network.statistics, network.config
  if not config.from_shares:
    return None
  inside = masks.inside(train.gaps.shape[1], np.asarray(train.lengths))
  gaps = np.asarray(train.gaps, np.float64)[inside]
  # The time from the last event to the end is a lower bound of a gap.
  last = np.where(inside, train.times, 0).max(axis=1, initial=0)
  until = known.horizon if train.until is None else np.asarray(train.until)
  logs, ends = (
    (np.log(x[x > 0]) - known.log_mean) / known.log_deviation
    for x in (gaps, np.float64(until) - last)
  )
  marks = np.asarray(train.marks)[inside]
  counts = np.bincount(marks, minlength=known.num_marks)
  if known.columns:
    counts = known.words() @ counts
  # A mark without events counts as half an event.
  logits = np.log(np.maximum(counts, 0.5))
  logits -= logits.mean()
  gap = _outputs(logs, ends, config.components)
  return tuple(gap.tolist()), tuple(logits.tolist())


def begun(variables: Mapping[str, Any], shares: Shares | None) -> Any:
  """Returns variables that predict `shares`, if there are any.

  Args:
    variables: random variables of the network.
    shares: outputs from `shares`.
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
  network["head"] = base.last_changed(network["head"], last)
  kernel = jnp.zeros_like(params["marks"]["kernel"])
  params |= {"network": network, "marks": {"kernel": kernel, "bias": marks}}
  return {**variables, "params": params}


def _outputs(logs, ends, count):
  """Outputs (3 count,) of a mixture fitted to log gaps, censored at `ends`."""
  # EM uses the conditional moments of censored gaps.
  levels = (np.arange(count) + 0.5) / count
  mean = np.quantile(logs, levels)
  scale = np.full(count, np.clip(2.0 / count, _NARROW, _WIDE))
  weight = np.full(count, 1 / count)
  # Ends below all gaps carry no information, and may be 0 by rounding.
  ends = ends[ends > logs.min()]
  for _ in range(_STEPS):
    z = (logs[:, None] - mean) / scale
    part = _parts(np.log(weight) - 0.5 * z * z - np.log(scale))
    z = (ends[:, None] - mean) / scale
    above = special.log_ndtr(-z)
    part_cut = _parts(np.log(weight) + above)
    ratio = np.exp(-0.5 * z * z - above) / math.sqrt(2 * math.pi)
    expected = mean + scale * ratio
    spread = scale**2 * np.maximum(1 + z * ratio - ratio**2, 0)
    total = part.sum(axis=0) + part_cut.sum(axis=0) + 1e-6
    mean = (part * logs[:, None]).sum(axis=0) + (part_cut * expected).sum(
      axis=0
    )
    mean /= total
    square = (part * (logs[:, None] - mean) ** 2).sum(axis=0)
    square += (part_cut * (spread + (expected - mean) ** 2)).sum(axis=0)
    # The fewer gaps there are, the less they cover other possible gaps.
    square = square / total + 0.25 * len(logs) ** -0.4
    scale = np.clip(np.sqrt(square), _NARROW, _WIDE)
    weight = total / total.sum()
  offsets = np.linspace(-2.0, 2.0, count) if count > 1 else np.zeros(1)
  low, high = event_network.LOG_SCALE
  share = (np.log(scale) - low) / (high - low)
  bounded = np.log(share / (1 - share)) - 1.5
  return np.concatenate([np.log(weight), mean - offsets, bounded])


def _parts(logs):
  """Responsibilities (n, count) of components, from logarithms."""
  parts = np.exp(logs - logs.max(axis=1, keepdims=True))
  return parts / parts.sum(axis=1, keepdims=True)
