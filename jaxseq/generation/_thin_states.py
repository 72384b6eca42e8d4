"""States of networks whose attention keeps thin keys of prompts."""

import dataclasses
from typing import Any

import jax

from jaxseq import nn
from jaxseq import validate
from jaxseq.generation import _pairs
from jaxseq.generation import _row_states
from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import thin_keys
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


@dataclasses.dataclass(frozen=True)
class Thinning:
  """Sizes of thin keys of prompts."""

  channels: float  # Share of the channels of a head that are kept.
  whole: int  # Number of keys that have room for all channels.

  def kept(self, config: attention.Config) -> int:
    """Number of channels that a head's keys keep."""
    width = config.head_width
    # Without the rounding errors of decimal fractions: 0.2 of 10 are dropped.
    return width - int(round((1 - self.channels) * width, 6))

  def observed(
    self,
    network: TokenNetwork,
    variables: PyTree,
    states: PyTree,
    reset: Any = None,
  ) -> PyTree:
    """Returns states that read a prompt.

    Layers whose window is within the whole keys do not change.

    Raises:
      ValueError: if the network has no attention whose keys can be thin.
    """
    if isinstance(network, _pairs.Both):
      # The drafting network keeps its keys.
      first, second = states
      arguments = network.network, variables[0], first
      return self.observed(*arguments, reset), second
    if not isinstance(network, nn.SequenceNetwork):
      expected = "1 for networks other than a SequenceNetwork"
      raise validate.error("key_channels", self.channels, expected)
    if reset is not None and _row_states.are_tuned(variables):
      expected = "1 with tuned states and prompts of different lengths"
      raise validate.error("key_channels", self.channels, expected)
    stack = nn.SequenceModel(network.config.stack, parent=None)
    owners = stack.states_of(lambda config, *path: config)
    found = []

    def of_mixer(config, state):
      if not isinstance(config, attention.Config):
        return state
      if thin_keys.is_state(state):
        found.append(config)
        return state
      thin_keys.check(config)
      if config.window <= self.whole:
        return state
      found.append(config)
      return thin_keys.observe(config, state)

    states = jax.tree.map(of_mixer, owners, states)
    if not found:
      expected = "1 for a network in which no attention sees more than "
      expected += f"{self.whole} elements, the whole_keys"
      raise validate.error("key_channels", self.channels, expected)
    return states

  def thin(self, states: PyTree) -> PyTree:
    """Returns the states after a prompt, with thin keys."""

    def leaf(state):
      if not isinstance(state, thin_keys.Observed):
        return state
      return thin_keys.thin(state, self.kept(state.config), self.whole)

    return jax.tree.map(leaf, states, is_leaf=thin_keys.is_state)


def parse(key_channels: float, whole_keys: int) -> Thinning | None:
  """Returns the options of thin keys; None if all channels are kept.

  Raises:
    ValueError: if a number is out of range.
  """
  share = validate.fraction("key_channels", key_channels)
  validate.integer("whole_keys", whole_keys, thin_keys.RECENT)
  return None if share == 1 else Thinning(float(share), whole_keys)


def thin_like(states: PyTree, like: PyTree) -> PyTree:
  """Returns states after prompts, in the form of others with thin keys."""

  def leaf(like, state):
    if not isinstance(state, thin_keys.Observed):
      return state
    kept, whole = like.thin_keys.shape[-1], like.keys.shape[-3]
    return thin_keys.thin(state, kept, whole)

  return jax.tree.map(leaf, like, states, is_leaf=thin_keys.is_state)
