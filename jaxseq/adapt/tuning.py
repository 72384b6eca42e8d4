"""Methods of adapting a network: trainable variables and adapted networks.

  method = tuning.Lora(network, lora.Config(("in_proj", "out_proj")))
  params = method.init(key, variables)
  training = method.training(variables, params, key)
  served = method.served(variables, params)

The network's variables are frozen; the optimizer updates `params`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax

from jaxseq import nn
from jaxseq import validate
from jaxseq.adapt import initial_states
from jaxseq.adapt import lora
from jaxseq.types import PyTree

Variables = Mapping[str, PyTree]


class Method:
  """Base of methods of adapting a network."""

  def init(self, key: jax.Array, variables: Variables) -> PyTree:
    """Returns initial trainable variables, which change no output."""
    raise NotImplementedError

  def training(
    self, variables: Variables, params: PyTree, key: jax.Array
  ) -> dict[str, PyTree]:
    """Returns variables for training; by default those of `served`.

    Args:
      variables: variables of the network, which are frozen.
      params: the trainable variables.
      key: random key of an update, such as for dropout.
    """
    del key
    return self.served(variables, params)

  def served(self, variables: Variables, params: PyTree) -> dict[str, PyTree]:
    """Returns variables for use after training."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Full(Method):
  """Trains all parameters."""

  def init(self, key: jax.Array, variables: Variables) -> PyTree:
    """Returns the network's own parameters."""
    del key
    return variables["params"]

  def served(self, variables: Variables, params: PyTree) -> dict[str, PyTree]:
    """Returns the variables with the trained parameters."""
    return {**variables, "params": params}


@dataclasses.dataclass(frozen=True)
class Lora(Method):
  """Trains low-rank adapters, see `adapt.lora`.

  Attributes:
    network: the network to adapt.
    config: adapter options.
    names: other names of weights, see `lora.match`.
    dropout: dropout rate of the adapters' inputs in training; the frozen
      weights read the whole input.
  """

  network: nn.SequenceNetwork
  config: lora.Config
  names: lora.Names | None = None
  dropout: float = 0.0

  def __post_init__(self):
    validate.number("dropout", self.dropout, 0, 1)
    if self.dropout == 1:
      raise validate.error("dropout", self.dropout, "less than 1")

  def init(self, key: jax.Array, variables: Variables) -> PyTree:
    """Returns the adapters, whose B is zero."""
    return lora.init(key, self.network, variables, self.config, self.names)

  def training(
    self, variables: Variables, params: PyTree, key: jax.Array
  ) -> dict[str, PyTree]:
    """Returns the variables with adapters attached to the weights."""
    frozen: Any = jax.tree.map(jax.lax.stop_gradient, variables)
    return lora.attach(frozen, params, dropout=self.dropout, key=key)

  def served(self, variables: Variables, params: PyTree) -> dict[str, PyTree]:
    """Returns the variables with adapters merged into the weights."""
    return lora.merge(variables, params)


@dataclasses.dataclass(frozen=True)
class States(Method):
  """Trains initial states, see `initial_states`.

  Attributes:
    network: the network to adapt.
    which: regular expression of states, see `initial_states.parameters`.
    alpha: factor of the trained states.
  """

  network: nn.SequenceNetwork
  which: str | None = None
  alpha: float = 1.0

  def init(self, key: jax.Array, variables: Variables) -> PyTree:
    """Returns zeros."""
    del key
    return initial_states.parameters(self.network, variables, self.which)

  def training(
    self, variables: Variables, params: PyTree, key: jax.Array
  ) -> dict[str, PyTree]:
    """Returns the variables with unscaled states."""
    del key
    return initial_states.attach(self.network, variables, params)

  def served(self, variables: Variables, params: PyTree) -> dict[str, PyTree]:
    """Returns the variables with the scaled states."""
    return initial_states.attach(self.network, variables, self.scaled(params))

  def scaled(self, params: PyTree) -> initial_states.States:
    """Returns the scaled states."""
    return initial_states.scaled(params, self.alpha)


@dataclasses.dataclass(frozen=True)
class LoraAndStates(Method):
  """Trains adapters and initial states together; params are a dict of both.

  Attributes:
    lora: method of the adapters, "lora".
    states: method of the states, "states".
  """

  lora: Lora
  states: States

  def init(self, key: jax.Array, variables: Variables) -> PyTree:
    """Returns the initial adapters and states."""
    return {
      "lora": self.lora.init(key, variables),
      "states": self.states.init(key, variables),
    }

  def training(
    self, variables: Variables, params: PyTree, key: jax.Array
  ) -> dict[str, PyTree]:
    """Returns the variables with adapters and states attached."""
    attached = self.lora.training(variables, params["lora"], key)
    return self.states.training(attached, params["states"], key)

  def served(self, variables: Variables, params: PyTree) -> dict[str, PyTree]:
    """Returns the variables with merged adapters and the states."""
    merged = self.lora.served(variables, params["lora"])
    return self.states.served(merged, params["states"])
