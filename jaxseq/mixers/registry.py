"""The names of the mixers, and the contract that all of them keep.

A mixer is a module with these five names:

  Config(d_model, ...)
    A frozen dataclass, hashable. d_model is the width of inputs and outputs and
    the only field without a default.
  init(key, config) -> params
    A dict of float32 arrays.
  initial_state(config, batch_shape=(), dtype=float32) -> state
    The state of a fresh sequence: a pytree of arrays with leading axes
    batch_shape. `dtype` is the real dtype of the state, float32 where a
    narrower one is asked for; complex states take the complex dtype of the same
    precision.
  apply(config, params, x, state=None, reset=None, *, axis=None) -> (y, state)
    x and y are (*batch, time, d_model) of one dtype; reset is (*batch, time)
    bool. axis is the name of a mesh axis over which time is split into equal,
    contiguous parts, for use inside `jax.shard_map` only: x, reset and y are
    then the part of this device, and both states those of the whole sequence,
    the same on all devices.
  step(config, params, x, state, reset=None) -> (y, state)
    The same for one element: x and y are (*batch, d_model), reset (*batch,).

What holds for every mixer:

  1. `apply` equals folding `step` over time.
  2. `apply` on two halves with the state carried equals `apply` on the whole.
  3. `apply` with `reset` equals `apply` on each episode alone: where reset[t]
     is True the state is put back to `initial_state` before element t is
     consumed, whatever it held.
  4. Nothing of the future leaks into y[:t]. (Not for configurations that read
     in both directions; these take no state and have no step.)
  5. Gradients reach params, x and state, through y and through the last state.
  6. `jit`, `vmap`, `grad`, `jax.checkpoint` and any length of at least 1 work.
     States are at least float32 and keep structure, shapes and dtypes from
     call to call, so that `step` can be the body of a `lax.scan`.
  7. The original implementation's numbers are reproduced.
  8. `apply` with the time split over the devices of a mesh axis equals `apply`
     on one device. (Configurations that read in both directions raise a
     ValueError where they cannot.)
"""

import dataclasses
import importlib
import sys
import types
from typing import Any

_CONTRACT = ("Config", "init", "initial_state", "apply", "step")

# Module paths and not modules: a mixer is imported when it is first asked for.
_MODULES = {
  "aaren": "jaxseq.mixers.aaren",
  "attention": "jaxseq.mixers.attention",
  "elman": "jaxseq.mixers.elman",
  "gru": "jaxseq.mixers.gru",
  "lightnet": "jaxseq.mixers.lightnet",
  "linear_attention": "jaxseq.mixers.linear_attention",
  "lstm": "jaxseq.mixers.lstm",
  "mamba": "jaxseq.mixers.mamba",
  "mamba2": "jaxseq.mixers.mamba2",
  "s4": "jaxseq.mixers.s4",
  "s4d": "jaxseq.mixers.s4d",
  "s5": "jaxseq.mixers.s5",
  "slstm": "jaxseq.mixers.slstm",
}


def register(name: str, module_path: str) -> None:
  """Makes a mixer known under a name.

  Args:
    name: name for `get`.
    module_path: import path of the mixer's module; it is imported when the
      mixer is first asked for.

  Raises:
    ValueError: if the name stands for another module already.
  """
  if _MODULES.setdefault(name, module_path) != module_path:
    raise ValueError(
      f"name {name!r} is taken: it stands for {_MODULES[name]}, not for "
      f"{module_path}."
    )


def names() -> tuple[str, ...]:
  """Returns the names of all mixers, sorted."""
  return tuple(sorted(_MODULES))


def get(name: str) -> types.ModuleType:
  """Returns the module of a mixer.

  Args:
    name: one of `names()`.

  Returns:
    The module.

  Raises:
    ValueError: if there is no such mixer, or its module breaks the contract.
  """
  if name not in _MODULES:
    raise ValueError(
      f"there is no mixer {name!r}; the mixers are {', '.join(names())}."
    )
  module = importlib.import_module(_MODULES[name])
  missing = [entry for entry in _CONTRACT if not hasattr(module, entry)]
  if missing:
    raise ValueError(
      f"the module {_MODULES[name]} of mixer {name!r} lacks "
      f"{', '.join(missing)}."
    )
  return module


def module_of(config: Any) -> types.ModuleType:
  """Returns the module of the mixer that a configuration belongs to.

  Args:
    config: an instance of some mixer's Config.

  Returns:
    The module.

  Raises:
    ValueError: if no registered mixer has this kind of Config.
  """
  for path in _MODULES.values():
    # A module that was never imported cannot have made the configuration.
    module = sys.modules.get(path)
    if module is not None and type(config) is getattr(module, "Config", None):
      return module
  kind = type(config)
  raise ValueError(
    f"config must be the Config of one of the mixers {', '.join(names())}; got "
    f"{kind.__module__}.{kind.__qualname__}."
  )


def make_config(name: str, **options: Any) -> Any:
  """Makes the configuration of a mixer from a name and options.

  Args:
    name: one of `names()`.
    **options: fields of the mixer's Config; d_model is needed.

  Returns:
    The configuration.

  Raises:
    ValueError: if there is no such mixer or option, an option is missing, or a
      value is out of range.
  """
  kind = get(name).Config
  fields = {field.name: field for field in dataclasses.fields(kind)}
  unknown = [option for option in options if option not in fields]
  if unknown:
    raise ValueError(
      f"mixer {name!r} has no option {', '.join(sorted(unknown))}; its options "
      f"are {', '.join(fields)}."
    )
  missing = [
    field.name
    for field in fields.values()
    if field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
    and field.name not in options
  ]
  if missing:
    raise ValueError(f"mixer {name!r} needs the option {', '.join(missing)}.")
  return kind(**options)
