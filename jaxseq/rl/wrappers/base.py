"""The base of wrappers, and access to the wrapped environment."""

import dataclasses
from typing import Any

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import protocol
from jaxseq.types import PyTree

select = base.select


def innermost(env: protocol.Env) -> protocol.Env:
  """Returns the environment inside all wrappers."""
  while isinstance(env, Wrapper):
    env = env.env
  return env


def innermost_state(state: PyTree) -> PyTree:
  """Returns the state of the environment inside all wrappers."""
  while hasattr(state, "env_state"):
    state = state.env_state
  return state


@dataclasses.dataclass(frozen=True)
class Wrapper(base.Jitted):
  """Forwards everything to an environment.

  Attributes:
    env: the environment.
  """

  env: protocol.Env

  def __getattr__(self, name: str) -> Any:
    # Unpickling reads attributes before `env` is set.
    if name == "env" or name.startswith("__"):
      raise AttributeError(name)
    return getattr(self.env, name)

  def _reset(self, key, params):
    return self.env.reset(key, params)

  def _step(self, key, state, action, params):
    return self.env.step(key, state, action, params)


@dataclasses.dataclass(frozen=True)
class Physics(Wrapper):
  """An environment with other default parameters.

  Attributes:
    env: the environment.
    values: pairs of names and values of its parameters.
  """

  values: tuple[tuple[str, Any], ...] = ()

  def __post_init__(self):
    names = [f.name for f in dataclasses.fields(self.env.default_params)]
    for name, _ in self.values:
      validate.choice("values", name, names)

  @property
  def default_params(self) -> PyTree:
    """The environment's parameters, with the given values."""
    return self.env.default_params.replace(**dict(self.values))
