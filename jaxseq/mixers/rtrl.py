"""Real-time recurrent learning: states that carry their own derivatives.

Backpropagation ends at the first element of a call: of earlier elements it
knows only the state. Here a state comes with traces, E = dh / dparams, which
are propagated forward, so that a gradient of this call includes the elements of
all earlier calls:

  E_t = a_t E_{t-1} + (da_t / dparams) h_{t-1} + db_t / dparams

for h_t = a_t h_{t-1} + b_t; and the gradient of a loss with respect to the
state before the call, times E, is added to that of the call. Williams and
Zipser, "A learning algorithm for continually running fully recurrent neural
networks" (1989); for diagonal recurrences, whose traces are as large as the
parameters and not states times parameters: Zucchet et al., "Online learning of
long-range dependencies", arXiv:2305.15947, and Irie et al., "Exploring the
promise and limits of real-time recurrent learning", arXiv:2305.19044.

With constant parameters this is the gradient of backpropagation through the
whole stream, for the parameters of the mixer. Layers below it, such as an
encoder, learn only from within a call, as in those papers: the effect of their
parameters on elements of earlier calls is dropped. If parameters change between
calls, traces are those of the old parameters.

`Config(config of a mixer)` is a mixer like others, with the same parameters;
`nn.StackConfig(..., rtrl=True)` applies it to the layers of a stack:

    config = rtrl.Config(mixers.make_config("lru", d_model=8))
    y, state = rtrl.apply(config, params, x, state, reset)
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
from typing import Any
from typing import NamedTuple

import jax
from jax import flatten_util
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq.mixers import contract
from jaxseq.mixers import registry
from jaxseq.types import PyTree

TRAITS = contract.Traits(
  keeps="what its mixer keeps, and its derivatives", splits_time=False
)


@dataclasses.dataclass(frozen=True)
class Config:
  """A mixer whose state has traces.

  Attributes:
    mixer: Config of a diagonal recurrence: of a mixer that declares in
      `contract.Traits.traced` which parameters affect its state, such as lru,
      s5, rtu, mingru, minlstm and rglru. Traces of the first five are as large
      as parameters, once for each row of a batch. Those of the gates' matrices
      of rglru are larger by the number of states, since its gates mix channels.

  Raises:
    ValueError: if it is a Config of another mixer, or a bidirectional one.
  """

  mixer: Any

  def __post_init__(self):
    module = registry.module_of(self.mixer)
    if not registry.traits(module).traced:
      names = [n for n in registry.names() if registry.traits(n).traced]
      expected = f"one of {', '.join(names)}, whose recurrences are diagonal"
      name = module.__name__.rpartition(".")[2]
      raise contract.error("rtrl: mixer", name, expected)
    if getattr(self.mixer, "bidirectional", False):
      raise contract.error("rtrl: bidirectional", True, "False")

  @property
  def d_model(self) -> int:
    """Width of inputs and outputs."""
    return self.mixer.d_model


@_serialization.exported("jaxseq.mixers.rtrl.State")
class State(NamedTuple):
  """State of a mixer with traces.

  Attributes:
    mixer: the mixer's own state.
    traces: by name of a parameter, dh / dparameter: (*batch, *shape) if each of
      its numbers affects only one number of the state, else (*batch, numbers of
      the state, *shape). Complex if the state is.
  """

  mixer: PyTree
  traces: dict[str, jax.Array]


def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: those of the mixer."""
  return registry.module_of(config.mixer).init(key, config.mixer)


def initial_state(
  config: Config,
  batch_shape: tuple[int, ...] = (),
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> State:
  """Returns the state of a fresh sequence; its traces are zeros."""
  module = registry.module_of(config.mixer)
  make = module.initial_state
  one = jax.eval_shape(
    lambda: flatten_util.ravel_pytree(make(config.mixer, (), dtype))[0]
  )
  params = jax.eval_shape(lambda: init(jax.random.key(0), config))
  traces = {}
  for name, axes in _traced(config, params).items():
    front = () if axes else one.shape
    shape = *batch_shape, *front, *params[name].shape
    traces[name] = jnp.zeros(shape, one.dtype)
  return State(make(config.mixer, batch_shape, dtype), traces)


def apply(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  state: State | None = None,
  reset: jax.Array | None = None,
  *,
  axis: None = None,
  **options: Any,
) -> tuple[jax.Array, State]:
  """Runs over a sequence.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model).
    state: state before the first element; a fresh one if None. Its gradient
      reaches the parameters only through its traces.
    reset: (*batch, time) bool; if True, state and traces are reset before the
      element.
    axis: None, as time is not split over devices.
    **options: options of the mixer's own `apply`, without arrays.

  Returns:
    y of x's shape, and the state after the last element, whose gradient does
    not reach this call.
  """
  if axis is not None:
    raise contract.error("axis", axis, "None: rtrl does not split time")
  run = registry.module_of(config.mixer).apply
  if state is None:
    state = initial_state(config, x.shape[:-2], contract.wide_dtype(x))
  return _run(run, config, params, x, state, reset, x.shape[:-2], options)


def step(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  state: State,
  reset: jax.Array | None = None,
  **options: Any,
) -> tuple[jax.Array, State]:
  """Consumes one element; `apply` without the time axis."""
  run = registry.module_of(config.mixer).step
  return _run(run, config, params, x, state, reset, x.shape[:-1], options)


def _run(run, config, params, x, state, reset, batch, options):
  """Runs the mixer's function over a batch, with traces for each row."""
  state = jax.lax.stop_gradient(state)

  def traces(params, x, state, reset):

    def last(params):
      before = _attached(config, params, state)
      _, after = run(config.mixer, params, x, before, reset, **options)
      return flatten_util.ravel_pytree(after)[0]

    return _derivatives(config, params, last)

  begin = functools.partial(_attached, config)
  for _ in batch:
    begin = jax.vmap(begin, (None, 0))
    traces = jax.vmap(traces, (None, 0, 0, 0))
  before = begin(params, state)
  y, after = run(config.mixer, params, x, before, reset, **options)
  fixed = jax.lax.stop_gradient((params, x))
  return y, jax.lax.stop_gradient(State(after, traces(*fixed, state, reset)))


def _attached(config, params, state):
  """Returns the state of a row, with its gradient passed to the parameters."""
  flat, restore = flatten_util.ravel_pytree(state.mixer)
  count = jax.tree.leaves(state.mixer)[0].size
  for name, axes in _traced(config, params).items():
    trace = state.traces[name]
    # Zero, with the derivative of the state by the parameter.
    value = params[name].astype(jnp.finfo(trace.dtype).dtype)
    value -= jax.lax.stop_gradient(value)
    if axes:
      flat = flat.at[:count].add(_sums(trace * value, axes, count))
    else:
      flat += jnp.tensordot(trace, value, value.ndim)
  return restore(flat)


def _derivatives(config, params, last):
  """Returns traces: derivatives of the numbers of a state by parameters."""
  flat, pull = jax.vjp(last, params)
  module = registry.module_of(config.mixer)
  fresh = jax.eval_shape(lambda: module.initial_state(config.mixer))
  count = jax.tree.leaves(fresh)[0].size
  # Each entry of a parameter with axes affects only one of the first numbers,
  # so that the derivatives of their sum are those of all numbers.
  of_sum = _pulled(pull, (jnp.arange(flat.size) < count).astype(flat.dtype))
  table = _traced(config, params)
  by_row = None
  if not all(table.values()):
    rows = jnp.eye(flat.size, dtype=flat.dtype)
    by_row = jax.vmap(lambda row: _pulled(pull, row))(rows)
  return {
    name: (of_sum if axes else by_row)[name] for name, axes in table.items()
  }


def _pulled(pull, row):
  """Derivatives of a sum, perhaps of complex numbers, by real parameters."""
  (real,) = pull(row)
  if not jnp.iscomplexobj(row):
    return jax.tree.map(lambda x: x.astype(row.dtype), real)
  (imaginary,) = pull(-1j * row)
  return jax.tree.map(
    lambda x, y: jax.lax.complex(x, y).astype(row.dtype), real, imaginary
  )


def _sums(values, axes, count):
  """Sums over all entries that belong to each of `count` numbers of a state."""
  values = jnp.moveaxis(values, axes, range(len(axes)))
  sizes = values.shape[: len(axes)]
  # Several matrices may be concatenated.
  return values.reshape(math.prod(sizes) // count, count, -1).sum((0, 2))


def _traced(config, params) -> Mapping[str, tuple[int, ...]]:
  """Returns the parameters that affect the state, with their traced axes."""
  traced = registry.traits(registry.module_of(config.mixer)).traced
  return {name: axes for name, axes in traced.items() if name in params}
