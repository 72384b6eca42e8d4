"""Recorded episodes for offline reinforcement learning.

Steps of all episodes lie one after the other in host or device arrays; a model
sees windows of them. `from_flat` splits recorded steps into episodes, `mix`
combines players of different skill, and `sample_windows` draws training batches
on the device:

  recorded = trajectories.from_flat(observations, actions, rewards, dones)
  windows = trajectories.sample_windows(key, recorded, batch=64, context=20)

Source: Decision Transformer, arXiv 2106.01345.
"""

from collections.abc import Sequence
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data import cache
from jaxseq.data import datasets
from jaxseq.data import value_checks

Array = jax.Array | np.ndarray
# Arrays stored in a file: returns and time steps follow from these.
_STORED = ("observations", "actions", "rewards", "dones")


class Trajectories(NamedTuple):
  """Complete episodes, one after the other.

  Attributes:
    observations: (steps, ...), observation before the action.
    actions: (steps, ...) float32, or (steps,) int32.
    rewards: (steps,) float32, reward after the action.
    dones: (steps,) bool, True at the last step of an episode.
    timesteps: (steps,) int32, number of the step in its episode, from 0.
    returns_to_go: (steps,) float32, sum of this and all later rewards of the
      episode.
  """

  observations: Array
  actions: Array
  rewards: Array
  dones: Array
  timesteps: Array
  returns_to_go: Array


class Windows(NamedTuple):
  """Windows within single episodes, padded with zeros before their start.

  Attributes:
    observations: (batch, context, ...).
    actions: (batch, context, ...).
    rewards: (batch, context).
    returns_to_go: (batch, context) float32.
    timesteps: (batch, context) int32.
    mask: (batch, context) bool, False in the padding; the last is True.
  """

  observations: jax.Array
  actions: jax.Array
  rewards: jax.Array
  returns_to_go: jax.Array
  timesteps: jax.Array
  mask: jax.Array


class Statistics(NamedTuple):
  """Statistics that normalize a model, and returns to compare it with.

  Attributes:
    mean: mean observation, float32 of an observation's shape.
    deviation: standard deviation of each of its entries, at least 1e-6.
    lengths: (episodes,) int32.
    returns: (episodes,) float32.
  """

  mean: np.ndarray
  deviation: np.ndarray
  lengths: np.ndarray
  returns: np.ndarray


def _narrow(name, array):
  """Converts values to float32 or int32, unless they are smaller."""
  if array.dtype.kind == "f":
    return value_checks.to_float32(name, array, axes=("step",))
  if array.dtype.kind not in "biu":
    raise validate.error(name, f"dtype {array.dtype}", "numbers")
  if array.dtype in (np.int64, np.uint32, np.uint64):
    expected = "integers of 32 bits"
    value_checks.check_range(name, array, -(2**31), 2**31, ("step",), expected)
    return array.astype(np.int32)
  return array


def from_flat(
  observations: Array, actions: Array, rewards: Array, dones: Array
) -> Trajectories:
  """Builds trajectories from consecutive steps.

  Args:
    observations: (steps, ...); the first starts an episode.
    actions: (steps, ...).
    rewards: (steps,).
    dones: (steps,) bool, or 0 and 1, True at the last step of an episode.

  Returns:
    The episodes, as host arrays. Steps after the last done belong to no
    complete episode and are dropped.

  Raises:
    ValueError: if the shapes do not fit together, no episode ends, or a value
      is not a number, not finite or out of range; naming the first such step.
  """
  arrays = [np.asarray(x) for x in (observations, actions, rewards, dones)]
  observations, actions, rewards, dones = arrays
  steps = dones.shape
  for name, array in zip(_STORED, arrays):
    any_rest = name in ("observations", "actions")
    shape = array.shape[:1] if any_rest else array.shape
    if len(steps) != 1 or shape != steps:
      received = f"shape {array.shape} beside {steps}"
      form = "(steps, ...)" if any_rest else "(steps)"
      expected = f"{form} with the steps of dones"
      raise validate.error(name, received, expected)
  if dones.dtype.kind not in "biuf":
    raise validate.error("dones", f"dtype {dones.dtype}", "booleans")
  value_checks.refuse(
    "dones", dones, lambda x: (x != 0) & (x != 1), ("step",), None, "0 or 1"
  )
  dones = dones.astype(bool)
  if not dones.any():
    raise ValueError(
      f"dones: got none True of {len(dones)} steps, expected True at the end "
      "of an episode."
    )
  ends = np.flatnonzero(dones) + 1
  count = ends[-1]
  lengths = np.diff(ends, prepend=0)
  timesteps = np.arange(count) - np.repeat(ends - lengths, lengths)
  # Sum each episode by itself: the difference of two sums over all steps would
  # lose digits.
  if rewards.dtype.kind not in "biuf":
    raise validate.error("rewards", f"dtype {rewards.dtype}", "numbers")
  rewards = rewards[:count].astype(np.float64)
  narrow = value_checks.to_float32("rewards", rewards, axes=("step",))
  returns = np.concatenate(
    [np.cumsum(part[::-1])[::-1] for part in np.split(rewards, ends[:-1])]
  )
  return Trajectories(
    _narrow("observations", observations[:count]),
    _narrow("actions", actions[:count]),
    narrow,
    dones[:count],
    timesteps.astype(np.int32),
    value_checks.to_float32("returns", returns, axes=("step",)),
  )


def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
  """Concatenates the episodes of several trajectories.

  Args:
    parts: trajectories of one environment.

  Returns:
    All episodes.
  """
  return Trajectories(*(np.concatenate(arrays) for arrays in zip(*parts)))


def _starts(trajectories):
  """The start and the length of each episode."""
  ends = np.flatnonzero(np.asarray(trajectories.dones)) + 1
  lengths = np.diff(ends, prepend=0)
  return ends - lengths, lengths


def take(trajectories: Trajectories, episodes: np.ndarray) -> Trajectories:
  """Returns some episodes.

  Args:
    trajectories: the trajectories.
    episodes: numbers of the episodes, in the order to return.

  Returns:
    These episodes, as host arrays.
  """
  starts, lengths = _starts(trajectories)
  rows = np.concatenate(
    [np.arange(starts[i], starts[i] + lengths[i]) for i in episodes]
  )
  return Trajectories(*(np.asarray(array)[rows] for array in trajectories))


def statistics(trajectories: Trajectories) -> Statistics:
  """Computes the statistics that normalize a model, and the returns.

  Args:
    trajectories: the training episodes.

  Returns:
    The statistics.
  """
  observations = np.asarray(trajectories.observations, np.float64)
  starts, lengths = _starts(trajectories)
  return Statistics(
    observations.mean(0).astype(np.float32),
    np.maximum(observations.std(0), 1e-6).astype(np.float32),
    lengths.astype(np.int32),
    np.asarray(trajectories.returns_to_go)[starts],
  )


def mix(
  parts: Sequence[Trajectories],
  episodes: int,
  seed: int = 0,
  shares: Sequence[float] | None = None,
) -> Trajectories:
  """Combines players of different skill.

  Args:
    parts: the trajectories of each player.
    episodes: number of episodes of the mixture.
    seed: seed of the choice of episodes, and of their order.
    shares: weight of each player; equal if None.

  Returns:
    The episodes, without duplicates.

  Raises:
    ValueError: if the weights are invalid, or a player has too few episodes
      for its share.
  """
  weights = np.ones(len(parts)) if shares is None else np.array(shares, float)
  if weights.shape != (len(parts),) or weights.min() < 0 or not weights.sum():
    expected = f"{len(parts)} weights of at least 0, one for each part"
    raise validate.error("shares", shares, expected)
  # Rounded so that the numbers add up.
  bounds = np.cumsum(weights) / weights.sum() * episodes
  counts = np.diff(np.rint(bounds).astype(int), prepend=0)
  rng = np.random.default_rng(seed)
  chosen, offset = [], 0
  for number, (part, count) in enumerate(zip(parts, counts)):
    available = int(np.sum(part.dones))
    if count > available:
      raise ValueError(
        f"episodes asks for {count} of part {number}, which has {available}."
      )
    chosen.append(offset + rng.choice(available, count, replace=False))
    offset += available
  order = rng.permutation(np.concatenate(chosen))
  return take(concatenate(parts), order)


def best(trajectories: Trajectories, share: float = 0.1) -> Trajectories:
  """Returns the episodes with the highest returns, in the original order.

  Cloning their actions is the usual baseline for return conditioning.

  Args:
    trajectories: the trajectories.
    share: share of the episodes, in 0 .. 1; at least one is returned.

  Raises:
    ValueError: if share is not in 0 .. 1.
  """
  validate.fraction("share", share)
  returns = statistics(trajectories).returns
  count = max(1, round(share * len(returns)))
  order = np.argsort(-returns, kind="stable")
  return take(trajectories, np.sort(order[:count]))


def windows(trajectories: Trajectories, starts: Array, context: int) -> Windows:
  """Cuts windows; can be traced.

  Args:
    trajectories: the trajectories.
    starts: (batch,) integers, the first step of each window.
    context: number of steps of a window; if the episode ends earlier, the
      window is shifted right, behind padding.
  """
  timesteps = jnp.asarray(trajectories.timesteps)
  ahead = jnp.arange(context)
  places = jnp.minimum(starts[:, None] + ahead, len(timesteps) - 1)
  # In the next episode time restarts; past the last step it stands still.
  same = timesteps[places] == timesteps[starts][:, None] + ahead
  moved = ahead - (context - same.sum(axis=1, keepdims=True))
  mask = moved >= 0
  places = jnp.where(mask, starts[:, None] + moved, 0)

  def cut(array):
    entries = jnp.asarray(array)[places]
    padding = mask.reshape(mask.shape + (1,) * (entries.ndim - 2))
    return jnp.where(padding, entries, jnp.zeros((), entries.dtype))

  names = Windows._fields[:-1]
  return Windows(*(cut(getattr(trajectories, name)) for name in names), mask)


def sample_windows(
  key: jax.Array, trajectories: Trajectories, batch: int, context: int
) -> Windows:
  """Draws windows that start at uniformly random steps; can be traced.

  So an episode is drawn in proportion to its length. Put the trajectories on
  the device once, by `jax.device_put`.

  Args:
    key: random key.
    trajectories: the trajectories.
    batch: number of windows.
    context: number of steps of a window.
  """
  starts = jax.random.randint(key, (batch,), 0, len(trajectories.timesteps))
  return windows(trajectories, starts, context)


def save(path: str | os.PathLike, trajectories: Trajectories) -> None:
  """Writes trajectories to a file, whole or not at all.

  Args:
    path: the file, by custom *.npz; its folder must exist.
    trajectories: the trajectories.

  Raises:
    ValueError: if the file cannot be written.
  """
  arrays = {name: np.asarray(getattr(trajectories, name)) for name in _STORED}
  try:
    cache.write(path, arrays)
  except OSError as error:
    said = f"path {path} cannot be written to: {error.strerror}."
    raise ValueError(said) from error


def load(path: str | os.PathLike) -> Trajectories:
  """Loads trajectories that `save` wrote.

  Args:
    path: the file.

  Returns:
    The trajectories, as host arrays.

  Raises:
    ValueError: if the file is damaged or holds something else.
    MissingData: if there is no such file.
  """
  path = datasets.find_file(path, "record trajectories and save them there")
  try:
    stored = cache.read(path)
    arrays = [stored[name] for name in _STORED]
  except (*cache.UNREADABLE, KeyError) as error:
    raise ValueError(
      f"{path} does not hold the arrays that save writes: reading it failed "
      f"with {error!r}."
    ) from error
  try:
    return from_flat(*arrays)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
