"""Networks of equal size: parameter counts, widths and state sizes."""

import bisect
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.types import PyTree


def count_parameters(
  config: nn.NetworkConfig,
  num_outputs: int,
  vocab_size: int | None,
  width: int,
  pairs: bool = False,
) -> int:
  """Counts the parameters of a network without allocating them.

  Args:
    config: of the network.
    num_outputs: its outputs.
    vocab_size: number of tokens; None for feature vectors.
    width: number of features, if the inputs are not tokens.
    pairs: whether an example is two sequences.
  """
  network = nn.SequenceNetwork(config, num_outputs, vocab_size, pairs)
  batch = (1, 2) if pairs else (1,)
  inputs = jax.ShapeDtypeStruct((*batch, 2), jnp.int32)
  if vocab_size is None:
    inputs = jax.ShapeDtypeStruct((*batch, 2, width), jnp.float32)
  variables = jax.eval_shape(network.init, _key(), inputs)
  return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def _key() -> PyTree:
  """Returns the shape of a key, without creating one on a device."""
  return jax.eval_shape(lambda: jax.random.key(0))


def fit_width(
  config: nn.NetworkConfig,
  num_outputs: int,
  vocab_size: int | None,
  width: int,
  budget: int,
  multiple: int = 8,
  pairs: bool = False,
) -> nn.NetworkConfig:
  """Chooses d_model so that a network comes closest to a number of parameters.

  Args:
    config: of the network; its d_model is replaced.
    num_outputs: its outputs.
    vocab_size: number of tokens; None for feature vectors.
    width: number of features, if the inputs are not tokens.
    budget: number of parameters.
    multiple: d_model is a multiple of this.
    pairs: whether an example is two sequences.

  Returns:
    The configuration.

  Raises:
    ValueError: if the smallest network exceeds twice the budget.
  """

  def at(units):
    stack = dataclasses.replace(config.stack, d_model=units * multiple)
    chosen = dataclasses.replace(config, stack=stack)
    return chosen, count_parameters(
      chosen, num_outputs, vocab_size, width, pairs
    )

  smallest = at(1)[1]
  if smallest > 2 * budget:
    raise validate.error(
      "budget",
      budget,
      f"at least {smallest // 2} for mixer {config.stack.mixer!r}, whose "
      f"smallest network has {smallest} parameters",
    )
  high = 2
  while at(high)[1] < budget:
    high *= 2
  first = bisect.bisect_left(
    range(high), budget, high // 2, key=lambda units: at(units)[1]
  )
  near = at(max(first - 1, 1)), at(first)
  return min(near, key=lambda pair: abs(pair[1] - budget))[0]


def state_bytes(config: nn.NetworkConfig) -> int:
  """Returns the size of the carried states of one sequence, in bytes."""
  network = nn.SequenceNetwork(config, 1)

  def fresh(key):
    # Some mixers learn their initial state: it is a parameter then.
    inputs = jnp.zeros((1, 2, config.stack.d_model))
    return network.initial_state(variables=network.init(key, inputs))

  states: PyTree = jax.eval_shape(fresh, _key())
  return sum(
    leaf.size * np.dtype(leaf.dtype).itemsize
    for leaf in jax.tree.leaves(states)
  )
