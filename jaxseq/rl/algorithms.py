"""The algorithms by name.

Each is a module with `Config`, `player(config)`, `init(config, key)`,
`update(config, runner)` and `train(config, runner, num_updates)`. A Config has
`env_id`, `num_updates` and `steps_per_update`; what `init` returns has
`variables` for the network of the player.
"""

import types
from typing import Any

from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2

_MODULES = types.MappingProxyType({"ppo": ppo, "r2d2": r2d2})


def names() -> tuple[str, ...]:
  """Returns the names of all algorithms."""
  return tuple(_MODULES)


def get(name: str) -> types.ModuleType:
  """Returns the module of an algorithm.

  Raises:
    ValueError: there is none of that name.
  """
  if name not in _MODULES:
    raise ValueError(
      f"algorithm: got {name!r}, expected one of {', '.join(names())}."
    )
  return _MODULES[name]


def of(config: Any) -> types.ModuleType:
  """Returns the module that a configuration belongs to.

  Raises:
    TypeError: it is no algorithm's.
  """
  for module in _MODULES.values():
    if isinstance(config, module.Config):
      return module
  raise TypeError(f"config: got {config!r}, expected an algorithm's Config.")
