"""Parts of a mixer that all mixers share: declarations, checks, decorators.

The contract of mixers is documented in `jaxseq.mixers.registry`. This module
has what an author of a mixer needs beside `jaxseq.recurrence`: `Options`, the
base of a Config, `Traits`, optional declarations of a mixer, `Draws` of
parameters, and decorators, which check the caller's arguments, so that the
functions contain only the mixer, and complete their docstrings (`init` only the
latter):

    @contract.initial_state
    def initial_state(config, batch_shape=(), dtype=jnp.float32):
      return jnp.zeros((*batch_shape, config.d_model), dtype)

    @contract.apply(Config, init, initial_state)
    def apply(config, params, x, state=None, reset=None, *, axis=None):
      a = params["a"]
      return recurrence.linear_scan(a, x, state, reset=reset, axis=axis)

    @contract.step(Config, init, initial_state)
    def step(config, params, x, state, reset=None):
      state = recurrence.linear_step(params["a"], x, state, reset=reset)
      return state, state

`jaxseq.mixers.passes` builds the last two from one function.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import inspect
import math
import sys
from typing import Annotated
from typing import Any
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq import validate
from jaxseq.mixers import _arguments
from jaxseq.mixers import _documents
from jaxseq.mixers import _parameters
from jaxseq.recurrence.shared import _varying
from jaxseq.types import PyTree
from jaxseq.types import T

# Elements of all rows in a section of time: measured on a CPU, where these took
# 0.57 of the time of an undivided pass; other platforms want larger products,
# which is not measured. And the elements of the longest chunks.
_SECTION, _OTHERS_SECTION, _CHUNKS = 2048, 2**15, 256
_NO_DIRECTION = "None for a model that reads in both directions"

Params = _parameters.Params
Run = Callable[..., tuple[jax.Array, PyTree]]

# Checks of a configuration, for its `__post_init__`.
error = validate.error
choice = validate.choice
fields = validate.fields
divisor = _arguments.divisor
multiple = _arguments.multiple

# Draws of parameters, and their products with activations.
Draws = _parameters.Draws
biases = _parameters.biases
zeros = _parameters.zeros
ones = _parameters.ones
uniform = _parameters.uniform
project = _parameters.project
pointwise = _parameters.pointwise
cast = _parameters.cast
wide_dtype = _parameters.wide_dtype
product_dtype = _parameters.product_dtype

FromZero = Annotated[int, 0]
NotNegative = Annotated[float, 0]
Number = Annotated[float, None]


@dataclasses.dataclass(frozen=True)
class Traits:
  """Traits of a mixer beside the five names of the contract.

  A mixer declares them in a module constant `TRAITS`; every field has a default
  that works.

  Attributes:
    keeps: description of the state between elements, for the table in
      docs/mixers.md.
    ssm_parameters: names of the parameters with the optimizer's smaller
      learning rate and without weight decay.
    schemes: ways of splitting time over devices, the values of `apply`'s option
      `scheme`.
    block: options of `nn.StackConfig` for the block in the mixer's paper, if
      they differ from the defaults.
    splits_time: whether `apply` has `axis`, so that time can be split over the
      devices of a mesh; if not, an axis is rejected.
    memory: names of the state's fields whose initial numbers can be learned,
      see `adapt.initial_states`; "" for a state that is one array. Windows,
      caches, counters and positions are not among them.
    norms: names of further fields that are at least 0, such as sums of weights.
    exponents: names of the logarithms of the scales of these fields and of the
      memory; if a fresh one gives the memory no weight, a sequence starts with
      0.
    traced: parameters that the state depends on, in a recurrence whose decays
      are diagonal and independent of the state, for `mixers.rtrl`; each with
      the axes that index the numbers of the state's first array, if each entry
      affects only one of these numbers, or () if it affects several.
  """

  keeps: str = ""
  ssm_parameters: tuple[str, ...] = ()
  schemes: tuple[str, ...] = ()
  block: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  splits_time: bool = True
  memory: tuple[str, ...] = ()
  norms: tuple[str, ...] = ()
  exponents: tuple[str, ...] = ()
  traced: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )


# `Traits.block` of mixers that replace attention in a Transformer.
TRANSFORMER_BLOCK = {"activation": "none", "feedforward": "swiglu"}


Apply = Callable[..., tuple[jax.Array, PyTree]]
Step = Callable[..., tuple[jax.Array, PyTree]]


class Mixer(Protocol):
  """A module with the five names of the contract."""

  Config: type[Any]
  init: Callable[[jax.Array, Any], Params]
  initial_state: Callable[..., PyTree]
  apply: Apply
  step: Step


@dataclasses.dataclass(frozen=True)
class Options:
  """Base of the mixers' Configs, whose fields are checked by their annotations.

  `int` is an integer of at least 1, `float` a number above 0, `FromZero` and
  `NotNegative` include 0, `Number` is any finite one, and `Literal` its values.
  A derived class documents its own fields; the fields of its base are added
  above them.

  Attributes:
    d_model: width of inputs and outputs.
  """

  d_model: int

  def __init_subclass__(cls, **options):
    super().__init_subclass__(**options)
    cls.__doc__ = _documents.with_fields(cls)

  def __post_init__(self):
    validate.annotated(self)


@dataclasses.dataclass(frozen=True)
class Hidden(Options):
  """Base of a Config with a separate inner width.

  Attributes:
    d_hidden: width of the state; d_model if None.
  """

  d_hidden: int | None = None

  @property
  def width(self) -> int:
    """Width of the state."""
    return self.d_model if self.d_hidden is None else self.d_hidden


def init(function: Callable[..., Params]) -> Callable[..., Params]:
  """Decorator of a mixer's `init`: puts `Args` before its Returns."""
  text = inspect.getdoc(function) or ""
  function.__doc__ = text.replace("Returns:\n", _documents.INIT, 1)
  return function


def initial_state(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
  """Decorator of a mixer's `initial_state`.

  The function gets a checked batch_shape, and a dtype that is float32 or wider.
  If it has an argument `params` it gets these, too: its fresh state is learned.
  """
  learned = sees_params(function)

  @functools.wraps(function)
  def run(config, batch_shape=(), dtype=jnp.float32, params=None):
    if not isinstance(batch_shape, tuple | list):
      raise error("batch_shape", batch_shape, "a tuple, as (8,)")
    if not jnp.issubdtype(dtype, jnp.floating):
      raise error("dtype", dtype, "a real floating one, as float32")
    arguments = config, batch_shape, jnp.promote_types(dtype, jnp.float32)
    if not learned:
      return function(*arguments)
    if params is None:
      raise error("params", None, "those of the mixer, as its state is learned")
    return function(*arguments, params)

  if learned:
    run.__doc__ = f"{inspect.getdoc(run)}\n\n{_documents.LEARNED}"
  _documents.complete(run, _documents.INITIAL_STATE)
  return run


@functools.cache
def sees_params(initial_state: Callable[..., PyTree]) -> bool:
  """Returns whether the fresh states of an `initial_state` are learned."""
  return "params" in inspect.signature(initial_state).parameters


def _of_params(initial_state, params):
  """Returns `initial_state` with the parameters, if it has such an argument."""
  if not sees_params(initial_state):
    return initial_state
  return functools.partial(initial_state, params=params)


def apply(
  config_type: type,
  init: Callable[..., Params],
  initial_state: Callable[..., PyTree],
  *,
  fresh: bool = True,
  sections: bool = False,
) -> Callable[[Run], Apply]:
  """Returns the decorator of a mixer's `apply`.

  The function gets checked arguments, and its y is cast to the dtype of x.
  Configurations with a true attribute `bidirectional` reject states and split
  time.

  Args:
    config_type: the mixer's Config.
    init: the mixer's function of this name.
    initial_state: the mixer's function of this name.
    fresh: whether the function gets a fresh state instead of None.
    sections: whether the function runs over sections of a long sequence in
      turn, if there is no gradient. For mixers whose projections need several
      times the memory of their inputs.

  Returns:
    The decorator.
  """

  def decorate(function):
    @functools.wraps(function)
    def run(config, params, x, state=None, reset=None, *more, **options):
      x = jnp.asarray(x)
      _arguments.check_params(config_type, init, config, params)
      make = _of_params(initial_state, params)
      batch = _arguments.check_inputs(config, x, state, make, reset, step=False)
      if getattr(config, "bidirectional", False):
        for name, value in (("state", state), ("axis", options.get("axis"))):
          if value is not None:
            raise error(name, type(value).__name__, _NO_DIRECTION)
      if not _splits_time(config_type):
        axis = options.pop("axis", None)
        if axis is not None:
          expected = f"None: {config_type.__module__} does not split time"
          raise error("axis", axis, expected)
      if state is None and fresh:
        state = make(config, batch, wide_dtype(x))
      if options.get("axis") is None:
        # In `jax.shard_map` with the rows split; gradients are then summed.
        params, state, reset = varying_as(x, (params, state, reset))
      if sections and all(value is None for value in options.values()):
        return _forward_in_chunks(function, config, params, x, state, reset)
      arguments = config, params, x, state, reset, *more
      y, *rest = function(*arguments, **options)
      return y.astype(x.dtype), *rest

    _documents.complete(run, _documents.APPLY)
    return run

  return decorate


def _forward_in_chunks(function, config, params, x, state, reset):
  """Runs `function`, in chunks unless x is short or there is a gradient."""

  def run(params, state, x, reset):
    y, state = function(config, params, x, state, reset)
    return state, y.astype(x.dtype)

  rows = math.prod(x.shape[:-2])
  rows = rows if isinstance(rows, int) else 1
  # Multiples of the chunks of recurrences, so that their borders are the same.
  on_cpu = recurrence.kernels.contexts.machine()[0] == "cpu"
  section = _SECTION if on_cpu else _OTHERS_SECTION
  size = max(_CHUNKS, section // max(rows, 1) // _CHUNKS * _CHUNKS)
  if not isinstance(x.shape[-2], int) or x.shape[-2] <= size:
    state, y = run(params, state, x, reset)
  else:
    state, y = recurrence.forward_in_chunks(run, size, params, state, x, reset)
  return y, state


def _splits_time(config_type):
  """Returns the mixer's trait `splits_time`, True by default."""
  module = sys.modules.get(config_type.__module__)
  return getattr(module, "TRAITS", Traits()).splits_time


def varying_as(x: jax.Array, tree: T) -> T:
  """Returns arrays that vary over devices as x does, see `jax.shard_map`."""
  return jax.tree.map(functools.partial(_varying.vary_as, x), tree)


def step(
  config_type: type,
  init: Callable[..., Params],
  initial_state: Callable[..., PyTree],
) -> Callable[[Run], Step]:
  """Returns the decorator of a mixer's `step`, as `apply` for its `apply`."""

  def decorate(function):
    @functools.wraps(function)
    def run(config, params, x, state, reset=None, *more, **options):
      x = jnp.asarray(x)
      _arguments.check_params(config_type, init, config, params)
      make = _of_params(initial_state, params)
      _arguments.check_inputs(config, x, state, make, reset, step=True)
      if getattr(config, "bidirectional", False):
        raise error("config.bidirectional", True, "False: steps see no future")
      arguments = config, params, x, state, reset, *more
      y, *rest = function(*arguments, **options)
      return y.astype(x.dtype), *rest

    _documents.complete(run, _documents.STEP)
    return run

  return decorate


def of_module(config_type: type, **functions: Any) -> tuple[Any, ...]:
  """Returns functions, by name, as those of the module of a mixer's Config."""
  for name, function in functions.items():
    function.__module__ = config_type.__module__
    function.__name__ = function.__qualname__ = name
  return tuple(functions.values())


def one_element(
  apply: Apply, config: Any, params: Params, x, state, reset=None, **flags: Any
) -> tuple[jax.Array, PyTree]:
  """Runs a step by `apply`, on a sequence of one element.

  Args:
    apply: the mixer's function of this name.
    config: options.
    params: from `init`.
    x: (*batch, d_model).
    state: state before the element.
    reset: (*batch,) bool or None.
    **flags: further options of `apply`, (*batch,) or None each.

  Returns:
    y (*batch, d_model) and the state after the element.
  """
  reset, flags = jax.tree.map(lambda flag: flag[..., None], (reset, flags))
  y, state = apply(config, params, x[..., None, :], state, reset, **flags)
  return y[..., 0, :], state


def masked_mean(
  x: jax.Array, mask: jax.Array | None, axis: int | tuple[int, ...]
) -> jax.Array:
  """Returns the mean of the elements in the mask, 0 if there are none.

  Args:
    x: (..., n).
    mask: (...) bool, or None if all count.
    axis: axes to take the mean over, not the last one.
  """
  if mask is None:
    return jnp.mean(x, axis=axis)
  mask = jnp.broadcast_to(mask, x.shape[:-1])[..., None]
  count = jnp.sum(mask, axis=axis)
  total = jnp.sum(jnp.where(mask, x, 0), axis=axis)
  return total / jnp.maximum(count, 1).astype(x.dtype)


def largest_divisor(number: int, most: int) -> int:
  """Returns the largest divisor of a number that is not above `most`."""
  return max(n for n in range(1, min(most, number) + 1) if number % n == 0)


def check_mask(mask: jax.Array | None, x: jax.Array) -> None:
  """Checks the mask of the elements that a mixer leaves out.

  Args:
    mask: the caller's mask, or None.
    x: (..., d_model), checked already.

  Raises:
    ValueError: unless the mask is bool and has the shape of x without its
      features.
  """
  if mask is not None:
    _arguments.check_flags("mask", mask, x.shape[:-1])
