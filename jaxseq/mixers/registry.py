"""The names of the mixers, and their contract.

A mixer is a module with these five names:

- `Config(d_model, ...)`: a frozen dataclass, hashable. d_model is the width of
  inputs and outputs and the only field without a default.
- `init(key, config) -> params`: a dict of float32 arrays.
- `initial_state(config, batch_shape=(), dtype=float32) -> state`: the state of
  a fresh sequence, a pytree of arrays with leading axes batch_shape. `dtype` is
  the real dtype of the state, float32 if a narrower one is requested;
  complex states take the complex dtype of the same precision. A mixer whose
  fresh state is learned has a fourth argument `params`, and resets set its
  state to that of the parameters; nothing else in the contract changes.
- `apply(config, params, x, state=None, reset=None, *, axis=None)
  -> (y, state)`: x and y are (*batch, time, d_model) of one dtype; reset is
  (*batch, time) bool. axis is the name of a mesh axis over which time is split
  into equal, contiguous chunks, only for use inside `jax.shard_map`: x, reset
  and y are then the chunk of this device, and both states those of the whole
  sequence, the same on all devices.
- `step(config, params, x, state, reset=None) -> (y, state)`: the same for one
  element: x and y are (*batch, d_model), reset (*batch,).

One more name is optional:

- `TRAITS`: a `contract.Traits`, which declares the state between elements, its
  fields whose initial numbers can be learned, the parameters with the smaller
  learning rate, how time can be split over devices, and the block of its paper.
  Every field has a default that works.

`jaxseq.nn` calls these optional functions, by which the layers of a stack share
arrays and parameters:

- `apply_shared(config, params, x, state, reset, shared, *, axis=None)
  -> (y, state, shared)` and `step_shared`: `apply` and `step` with a dict of
  arrays (*batch, time, n) that is passed from layer to layer, {} at first.
- `init_layers(key, config, layers) -> array` and `over_layers(array) ->
  options`: one parameter of all layers with this mixer, or None, and options of
  `apply` and `step` computed from it, each with a leading axis of layers.
- `auxiliary_loss(config, params, x, mask=None) -> scalar`: a term of the
  training loss, for the elements whose mask (*batch, time) is true.

A mixer may also read a `recurrence.Tree` of elements in one pass, in which each
follows its parent; `jaxseq.generation` calls these, and runs through the tree
by `step` if they are missing:

- `tree(config, params, x, state, nodes) -> (y, residue)`: x and y are (*batch,
  nodes, d_model), and the residue is of any structure, its leaves (*batch,
  ...). NotImplemented for options that are not covered.
- `commit(config, residue, state, nodes, node) -> state`: the state after one
  node (*batch,) of each row; state is the one before the tree.

A configuration may have an attribute `bidirectional`: if it is true `apply`
accepts no state and no axis, and there is no step.

`jaxseq.mixers.contract` has decorators that check arguments and complete
docstrings, and `jaxseq.recurrence` the recurrences of mixers. To add a mixer to
the package, write its file and add its line to the registry below: tests, the
API reference and `python -m scripts.mixers_table` take it from there.

Every mixer has these properties:

  1. `apply` equals folding `step` over time.
  2. `apply` on two halves with the state carried equals `apply` on the whole.
  3. `apply` with `reset` equals `apply` on each episode separately: if reset[t]
     is True the state is reset to `initial_state` before element t is
     consumed, whatever it was.
  4. y[:t] does not depend on later elements. (Not for configurations that read
     in both directions; these accept no state and have no step.)
  5. Gradients reach params, x and state, through y and through the last state.
  6. `jit`, `vmap`, `grad`, `jax.checkpoint` and any length of at least 1 work;
     an empty batch raises a ValueError.
     States are at least float32 and keep structure, shapes and dtypes from
     call to call, so that `step` can be the body of a `lax.scan`.
  7. The original implementation's numbers are reproduced.
  8. `apply` with the time split over the devices of a mesh axis equals `apply`
     on one device. (Configurations that read in both directions raise a
     ValueError if they cannot.)
  9. For x in bfloat16 the products with weights have bfloat16 operands and
     float32 sums, and residuals of the gradient are bfloat16; parameters with
     their gradients, states, decays and statistics are float32
     (docs/precision.md). For float32 and float64 everything has that dtype.
"""

from collections.abc import Iterable
import dataclasses
import sys
from typing import Any
from typing import cast

import jax

from jaxseq import _registry
from jaxseq import validate
from jaxseq.mixers import contract
from jaxseq.types import PyTree

_CONTRACT = ("Config", "init", "initial_state", "apply", "step")

_MIXERS = _registry.Registry(
  "mixer",
  {
    "aaren": "jaxseq.mixers.averages.aaren",
    "attention": "jaxseq.mixers.keys_and_values.attention",
    "based": "jaxseq.mixers.matrix_states.based",
    "comba": "jaxseq.mixers.matrix_states.comba",
    "elman": "jaxseq.mixers.gated.elman",
    "ffm": "jaxseq.mixers.state_space.ffm",
    "fox": "jaxseq.mixers.keys_and_values.fox",
    "gated_deltanet": "jaxseq.mixers.matrix_states.gated_deltanet",
    "gdn2": "jaxseq.mixers.matrix_states.gdn2",
    "gla": "jaxseq.mixers.matrix_states.gla",
    "gru": "jaxseq.mixers.gated.gru",
    "gsa": "jaxseq.mixers.matrix_states.gsa",
    "hgrn": "jaxseq.mixers.gated.hgrn",
    "hgrn2": "jaxseq.mixers.matrix_states.hgrn2",
    "jrt": "jaxseq.mixers.matrix_states.jrt",
    "latent_attention": "jaxseq.mixers.keys_and_values.latent_attention",
    "lightnet": "jaxseq.mixers.averages.lightnet",
    "linear_attention": "jaxseq.mixers.matrix_states.linear_attention",
    "log_linear": "jaxseq.mixers.matrix_states.log_linear",
    "lru": "jaxseq.mixers.state_space.lru",
    "lstm": "jaxseq.mixers.gated.lstm",
    "mamba": "jaxseq.mixers.state_space.mamba",
    "mamba2": "jaxseq.mixers.state_space.mamba2",
    "mamba3": "jaxseq.mixers.state_space.mamba3",
    "mesa": "jaxseq.mixers.matrix_states.mesa",
    "mingru": "jaxseq.mixers.gated.mingru",
    "minlstm": "jaxseq.mixers.gated.minlstm",
    "mlstm": "jaxseq.mixers.matrix_states.mlstm",
    "mlstm_large": "jaxseq.mixers.matrix_states.mlstm_large",
    "mom": "jaxseq.mixers.matrix_states.mom",
    "nsa": "jaxseq.mixers.keys_and_values.nsa",
    "path_attention": "jaxseq.mixers.keys_and_values.path_attention",
    "retention": "jaxseq.mixers.matrix_states.retention",
    "rglru": "jaxseq.mixers.state_space.rglru",
    "routing": "jaxseq.mixers.keys_and_values.routing",
    "rtu": "jaxseq.mixers.state_space.rtu",
    "rwkv4": "jaxseq.mixers.averages.rwkv4",
    "rwkv6": "jaxseq.mixers.matrix_states.rwkv6",
    "rwkv7": "jaxseq.mixers.matrix_states.rwkv7",
    "s4": "jaxseq.mixers.state_space.s4",
    "s4d": "jaxseq.mixers.state_space.s4d",
    "s5": "jaxseq.mixers.state_space.s5",
    "shm": "jaxseq.mixers.matrix_states.shm",
    "short_conv": "jaxseq.mixers.state_space.short_conv",
    "slstm": "jaxseq.mixers.gated.slstm",
    "ttt": "jaxseq.mixers.matrix_states.ttt",
  },
)


def register(name: str, module_path: str) -> None:
  """Registers a mixer under a name.

  Args:
    name: name for `get`.
    module_path: import path of the mixer's module; it is imported when the
      mixer is first requested.

  Raises:
    ValueError: if another module has the name already.
  """
  _MIXERS.register(name, module_path)


def names() -> tuple[str, ...]:
  """Returns the names of all mixers, sorted."""
  return _MIXERS.names()


def get(name: str) -> contract.Mixer:
  """Returns the module of a mixer.

  Args:
    name: one of `names()`.

  Returns:
    The module.

  Raises:
    ValueError: if there is no such mixer, or its module breaks the contract.
  """
  module = _MIXERS.get(name)
  missing = [entry for entry in _CONTRACT if not hasattr(module, entry)]
  if missing:
    raise validate.error(
      f"mixer {name!r}",
      _MIXERS.path(name),
      f"a module with {', '.join(_CONTRACT)}; it lacks {', '.join(missing)}",
    )
  return module


def module_of(config: Any) -> contract.Mixer:
  """Returns the module of the mixer of a configuration.

  Args:
    config: an instance of some mixer's Config.

  Returns:
    The module in which the class of the configuration was defined.

  Raises:
    ValueError: if it is not the Config of a mixer.
  """
  kind = type(config)
  module = sys.modules.get(kind.__module__)
  if getattr(module, "Config", None) is not kind:
    raise validate.error(
      "config",
      f"{kind.__module__}.{kind.__qualname__}",
      f"the Config of a mixer, as of one of {', '.join(names())}",
    )
  return cast(contract.Mixer, module)


def fresh_state(
  config: Any,
  batch_shape: tuple[int, ...] = (),
  dtype: jax.typing.DTypeLike = "float32",
  params: contract.Params | None = None,
) -> PyTree:
  """Returns the state of a fresh sequence, whether it is learned or not.

  Args:
    config: an instance of some mixer's Config.
    batch_shape: leading axes.
    dtype: see `initial_state` above.
    params: parameters of the mixer; used if its fresh state is learned.

  Raises:
    ValueError: if they are needed and missing.
  """
  initial_state = module_of(config).initial_state
  if contract.sees_params(initial_state):
    return initial_state(config, batch_shape, dtype, params)
  return initial_state(config, batch_shape, dtype)


def traits(mixer: str | contract.Mixer) -> contract.Traits:
  """Returns a mixer's traits, with defaults for those it does not declare.

  Args:
    mixer: one of `names()`, or a mixer's module.

  Returns:
    The mixer's `TRAITS`.

  Raises:
    ValueError: if there is no such mixer.
  """
  module = get(mixer) if isinstance(mixer, str) else mixer
  return getattr(module, "TRAITS", contract.Traits())


# Options that saved configurations may have, and that have no effect now.
_RETIRED = {
  "aaren": ("block_size",),
  "mamba2": ("chunk_size",),
  "mamba3": ("chunk_size",),
}


def current_options(
  name: str, options: Iterable[tuple[str, Any]]
) -> tuple[tuple[str, Any], ...]:
  """Returns a mixer's options without those that were removed."""
  retired = _RETIRED.get(name, ())
  return tuple(pair for pair in options if pair[0] not in retired)


def make_config(name: str, **options: Any) -> Any:
  """Returns the configuration of a mixer from a name and options.

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
  options = dict(current_options(name, options.items()))
  fields = dataclasses.fields(kind)
  for option in options:
    validate.choice(
      f"option of mixer {name!r}", option, [field.name for field in fields]
    )
  for field in fields:
    needed = (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    )
    if needed and field.name not in options:
      raise validate.error(
        f"options of mixer {name!r}", sorted(options), f"{field.name} too"
      )
  return kind(**options)
