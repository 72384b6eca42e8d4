"""The record of a recurrence, and its scan and step."""

from collections.abc import Callable
import functools
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.shared import _checks
from jaxseq.recurrence.shared import _cotangents
from jaxseq.recurrence.shared import _summaries
from jaxseq.recurrence.shared import _varying
from jaxseq.types import PyTree


class Call(NamedTuple):
  """Sizes and dtypes of a call, as its arguments have them.

  Attributes:
    sizes: of the words of their shapes.
    dtype: of the state and of sums, at least float32.
    out: of outputs.
    guarded: whether undefined numbers of one episode must not reach others.
  """

  sizes: dict[str, Any]
  dtype: jnp.dtype
  out: jnp.dtype
  guarded: bool

  def shape(self, words: str) -> tuple[int, ...]:
    """Returns the number of rows, and the sizes of the words."""
    rows = math.prod(self.sizes["*batch"])
    return rows, *(self.sizes[word] for word in words.split())


class Recurrence(NamedTuple):
  """A recurrence: the parts in which it differs from the others.

  Attributes:
    arguments: shapes of the arrays, as `_checks` reads them; the state is
      "init", and the others are fields of a NamedTuple, x. Fields that are left
      out have no part in the dtype of the state.
    run: `run(call, x, state, reset, *, method, ...) -> (y, state)` with one
      batch axis, the state in `call.dtype`; more options are those of
      `choice.choose`, and the further ones of `scan`.
    methods: names that `method` may have.
    chosen: `chosen(call, x) -> (op, dtype, shape)` for `choice.choose`.
    outputs: names of those whose common dtype outputs have; all if empty.
    element: `element(x, state, reset) -> (y, state)` without the time axis, all
      of it in one dtype.
    fresh: `fresh(zeros) -> state`, the state of a fresh sequence, if its arrays
      are not zeros.
    state: class of a state of several arrays.
    check: `check(x, sizes)` raises ValueError if these do not fit together.
    part: `part(run, x, init, reset) -> _summaries.Part` of this device's chunk
      of time, with `run(x, init, reset, wide=False)` for one device.
    products: methods in whose gradient products mix the episodes of a row.
  """

  arguments: str
  run: Callable[..., tuple[PyTree, PyTree]]
  methods: tuple[str, ...]
  chosen: Callable[..., tuple[str, jnp.dtype, tuple[int, ...]]]
  outputs: str = ""
  element: Callable[..., tuple[PyTree, PyTree]] | None = None
  fresh: Callable[..., PyTree] | None = None
  state: Callable[..., PyTree] | None = None
  check: Callable[..., None] | None = None
  part: Callable[..., _summaries.Part] | None = None
  products: tuple[str, ...] = ()


def scan(
  of: Recurrence,
  x: Any,
  init: PyTree,
  reset: jax.Array | None,
  *,
  chunk_size: int | None = None,
  method: str = "auto",
  axis: str | None = None,
  wide: bool = False,
  **options: Any,
) -> tuple[PyTree, PyTree]:
  """Runs a recurrence over time.

  Checks the arguments, makes one of the batch axes, chooses the method by
  platform, and keeps undefined cotangents in their episodes.

  Args:
    of: the recurrence.
    x: its arguments.
    init: state before the first element; the fresh one if None.
    reset: (*batch, time) bool, or None.
    chunk_size: elements per chunk, or None.
    method: one of `of.methods`.
    axis: name of the mesh axis over which time is split, or None.
    wide: whether outputs have the dtype of the state.
    **options: further options of `of.run` and, over devices, of `of.part`.

  Returns:
    Outputs (*batch, time, ...) and the state after the last element.

  Raises:
    ValueError: if shapes, dtypes or options do not fit.
  """
  x = jax.tree.map(jnp.asarray, x)
  if axis is not None:
    settings = {"chunk_size": chunk_size, "method": method} | options
    one = functools.partial(scan, of, **settings)
    part = functools.partial(of.part, one, **options)
    reverse = bool(options.get("reverse"))
    y, last = _summaries.split(part, x, init, reset, axis=axis, reverse=reverse)
    return y if not of.outputs else y.astype(_out(of, x)), last
  call = check(of, x, init, reset)
  validate.choice("method", method, of.methods)
  if chunk_size is not None:
    validate.positive("chunk_size", chunk_size)
    chunk_size = min(chunk_size, call.sizes["time"])
  if wide:
    call = call._replace(out=call.dtype)
  if init is None:
    init = _fresh(of, call, options)
  init = jax.tree.map(lambda leaf: jnp.asarray(leaf, call.dtype), init)
  if of.state is not None:
    init = of.state(*init)
  # In `jax.shard_map` the carry of a loop varies over devices as its inputs.
  init = _varying.vary_as_all(x, init)
  in_rows = _checks.of_rows(of.arguments)
  in_rows = {name: y for name, y in x._asdict().items() if name in in_rows}

  def run(x, init, reset, *, method, **sizes):
    def once(x, init):
      settings = options | sizes | {"method": method}
      return of.run(call, x, init, reset, **settings)

    episodes = reset if call.guarded and method in of.products else None
    return _cotangents.of_episodes(once, x, init, episodes)

  def by_platform(in_rows, init, reset):
    rows = x._replace(**in_rows)
    settings = {"method": method, "chunk_size": chunk_size}
    arguments = run, rows, init, reset
    return choice.by_platform(*of.chosen(call, x), *arguments, **settings)

  return over_rows(by_platform, call.sizes["*batch"], in_rows, init, reset)


def over_rows(
  run: Callable[..., tuple[PyTree, PyTree]],
  batch: tuple[int, ...],
  x: PyTree,
  init: PyTree,
  reset: jax.Array | None,
) -> tuple[PyTree, PyTree]:
  """`run(x, init, reset)` with one axis instead of all batch axes."""
  rows = math.prod(batch)

  def flat(leaf):
    return jnp.reshape(leaf, (rows, *jnp.shape(leaf)[len(batch) :]))

  x, init, reset = jax.tree.map(flat, (x, init, reset))
  results = run(x, init, reset)
  return jax.tree.map(lambda y: y.reshape(*batch, *y.shape[1:]), results)


def step(
  of: Recurrence,
  x: Any,
  state: PyTree,
  reset: jax.Array | None,
  **options: Any,
) -> tuple[PyTree, PyTree]:
  """Consumes one element: `scan` without the time axis."""
  call = check(of, x, state, reset, time=False)
  x, state = jax.tree.map(lambda z: jnp.asarray(z, call.dtype), (x, state))
  if of.state is not None:
    state = of.state(*state)
  y, state = of.element(x, state, reset, **options)
  return y.astype(call.out), state


def of_one_head(of: Recurrence) -> Recurrence:
  """The recurrence without an axis of heads, of the arguments of `one_head`."""
  line = of.arguments.replace(" heads", "").replace(" groups", "")
  return of._replace(arguments=line, check=None)


def one_head(
  of: Recurrence, x: Any, init: PyTree, reset: jax.Array | None, **options: Any
) -> tuple[PyTree, PyTree]:
  """Runs the `scan` of a recurrence with heads for arrays without that axis."""
  call = check(of_one_head(of), x, init, reset)

  def run(x, init, reset):
    x = jax.tree.map(lambda z: z.reshape(*z.shape[:2], 1, *z.shape[2:]), x)
    init = jax.tree.map(lambda z: z.reshape(len(z), 1, *z.shape[1:]), init)
    y, last = scan(of, x, init, reset, **options)
    return jnp.squeeze(y, 2), jax.tree.map(lambda z: jnp.squeeze(z, 1), last)

  return over_rows(run, call.sizes["*batch"], x, init, reset)


def check(
  of: Recurrence,
  x: Any,
  state: PyTree,
  reset: jax.Array | None,
  *,
  time: bool = True,
) -> Call:
  """Checks all arrays; without `time` those of one element."""
  arrays = x._asdict() | {"init": state}
  sizes = _checks.arguments(of.arguments, arrays, time=time)
  if of.check is not None:
    of.check(x, sizes)
  batch = sizes["*batch"]
  _checks.reset(reset, (*batch, sizes["time"]) if time else batch)
  counted = [arrays[name] for name in _checks.names(of.arguments)]
  dtype = jnp.result_type(*jax.tree.leaves(counted), jnp.float32)
  out = _out(of, x) if of.outputs else dtype
  return Call(sizes, dtype, out, contexts.is_guarded())


def _out(of, x):
  """Dtype of outputs."""
  named = [getattr(x, name) for name in of.outputs.split()]
  return jnp.result_type(*jax.tree.leaves(named))


def _fresh(of, call, options):
  """State of a fresh sequence."""
  shapes = _checks.shapes(of.arguments, "init", call.sizes)
  zeros = [jnp.zeros(shape, call.dtype) for shape in shapes]
  state = zeros[0] if of.state is None else of.state(*zeros)
  return state if of.fresh is None else of.fresh(state, **options)
