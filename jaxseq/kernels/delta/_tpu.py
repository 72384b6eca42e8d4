"""Chunks of `delta_scan` on a TPU, by the formulas of `_delta_forms.tied`."""

import enum
import functools
from typing import NamedTuple

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from jaxseq.kernels.delta import _products
from jaxseq.kernels.delta import _tpu_channels
from jaxseq.kernels.outer import _products as _outer_products
from jaxseq.kernels.outer import _tpu_call as _outer_tpu_call
from jaxseq.kernels.outer import _tpu_channels as _outer_tpu_channels
from jaxseq.recurrence.platform import support

dot = _outer_products.dot
accurate = _products.accurate


class Plan(NamedTuple):
  """Static sizes and options of a call."""

  rows: int  # rows of one program
  chunk: int  # C, a power of two
  decay: bool  # whether there are decays
  channels: bool  # whether each key has its own decay
  reset: bool  # whether there are resets
  form: support.Form  # form of the kernel


class Facts(enum.IntEnum):
  """Rows of `facts`, each with one number per element."""

  SUMS = 0  # Sums of the log-decays.
  REST = 1  # Low-order parts of the sums.
  BAD = 2  # 1 where the decay is undefined, so that no state survives.
  RESET = 3  # 1 at resets.
  EPISODE = 8  # Number of resets up to the element, in eight equal rows.


class Blocks(NamedTuple):
  """Arrays of a call; states are [rows, K, V], heads among the rows."""

  q: jax.Array  # [rows, time, K]
  k: jax.Array  # [rows, time, K]
  v: jax.Array  # [rows, time, V]
  read: jax.Array  # [rows, time, K]
  a: jax.Array | None  # [rows, time, K], log-decays if each key has one
  facts: jax.Array | None  # [rows, chunks, F, C], see `Facts`


class Given(NamedTuple):
  """Masks and decays of a chunk of one row."""

  masks: _outer_products.Masks
  by: _products.Factors | _outer_tpu_channels.Decays
  bad: jax.Array | None  # [C, 1], flags of undefined decays.
  episode: jax.Array | None = None  # [8, C], for decays of each key.


def given_of(plan, a, facts, careful):
  """Returns masks and decays from a row's decays [C, K] and facts [F, C]."""
  if plan.channels:
    episode = None
    if plan.reset:
      episode, at = facts[int(Facts.EPISODE) :], int(Facts.RESET)
      # Decays at resets are ignored.
      begins = facts.T[:, at : at + 1] > 0
      a = jnp.where(begins, 0.0, a)
    by = _outer_tpu_channels.decays_of(a, episode, careful)
    return Given(by.masks, by, by.bad, episode)
  if facts is None:
    masks = _outer_products.Masks.of(plan.chunk, None)
    return Given(masks, _products.factors(masks, None), None)
  columns, sums, bad = facts.T, None, None
  episode = facts[int(Facts.EPISODE) :] if plan.reset else None
  masks = _outer_products.Masks.of(plan.chunk, episode)
  if plan.decay:
    sums = tuple(
      (facts[i : i + 1], columns[:, i : i + 1])
      for i in (int(Facts.SUMS), int(Facts.REST))
    )
    at = int(Facts.BAD)
    bad = columns[:, at : at + 1]
  return Given(masks, _products.factors(masks, sums), bad)


def written(shared, x, state):
  """Returns the inverse [C, C], and the writes at the keys, [C, V] float32."""
  A = dot(x.read, x.k, 1, 1) * shared.by.strict
  like = x.v.dtype
  inverse = _products.inverse(A, like)
  reads = shared.by.enter * dot(x.read, state.astype(x.read.dtype), 1, 0)
  values = x.v.astype(jnp.float32) - reads
  return inverse, accurate(inverse, values, 1, 0, like)


def set_aside(shared, x, state):
  """Returns arrays without undefined numbers, and flags of lost results."""
  before = jnp.max(_outer_products.broken(state), 0, keepdims=True)
  bad = jnp.max(_outer_products.broken(x.read), 1, keepdims=True)
  if shared.bad is not None:
    bad = jnp.maximum(bad, shared.bad)
  flags = _outer_products.ruined(shared.masks, x.q, x.k, x.v, before, bad)
  *cleaned, state = map(_outer_products.clean, (*x[:4], state))
  return Blocks(*cleaned, *x[4:]), state, [part > 0 for part in flags]


def inputs_of(plan, refs):
  """Splits a kernel's references into inputs as `Blocks`, and the others."""
  refs, has_facts = list(refs), plan.reset or plan.decay > plan.channels
  arrays, refs = refs[:4], refs[4:]
  a = refs.pop(0) if plan.channels else None
  return Blocks(*arrays, a, refs.pop(0) if has_facts else None), refs


def row_of(refs, row):
  """Returns the arrays of one row of a program."""
  return Blocks(*(None if ref is None else ref[row] for ref in refs))


def _row(shared, x, state):
  """Returns outputs of a row's chunk, and the state after it."""
  by, narrow = shared.by, x.v.dtype
  _, w = written(shared, x, state)
  scores = (dot(x.q, x.k, 1, 1) * by.pairs).astype(narrow)
  o = dot(scores, w.astype(narrow), 1, 0)
  o += by.enter * dot(x.q, state.astype(narrow), 1, 0)
  leaving = (by.leave * w).astype(narrow)
  return o, by.through * state + dot(x.k, leaving, 0, 0)


def _forward_kernel(plan, keeps, *refs):
  """Computes one chunk of some rows; `final` carries the states."""
  inputs, refs = inputs_of(plan, refs)
  init_ref, o_ref, final_ref, *entering_ref = refs
  of_row = _tpu_channels.forward if plan.channels else _row

  @pl.when(pl.program_id(2) == 0)
  def _():
    final_ref[...] = init_ref[...]

  if keeps:
    entering_ref[0][...] = final_ref[...].astype(entering_ref[0].dtype)

  def attempt(careful):
    results, worth = [], []
    for row in range(plan.rows):
      x, state = row_of(inputs, row), final_ref[row]
      shared = given_of(plan, x.a, x.facts, careful)
      if plan.reset and plan.decay:
        worth.append(jnp.where(shared.bad > 0, jnp.inf, 0.0))
      if careful:
        x, state, bad = set_aside(shared, x, state)
      o, state = of_row(shared, x, state)
      if careful:
        o, state = (
          jnp.where(undefined, jnp.nan, y)
          for undefined, y in zip(bad, (o, state))
        )
      worth += [o, state]
      results.append((o.astype(o_ref.dtype), state))
    return results, worth

  def store(results):
    for row, (o, state) in enumerate(results):
      o_ref[row], final_ref[row] = o, state

  _outer_tpu_call.store_defined(plan.reset, attempt, store)


def block_specs(plan, x, state, reverse):
  """Returns the blocks of all arrays by name, and the grid."""
  rows, time, keys = x.q.shape
  values, C = x.v.shape[2], plan.chunk
  chunks = time // C

  def of(shape, index):
    def at(n, _, c):
      return index(n, chunks - 1 - c if reverse else c)

    return pl.BlockSpec((plan.rows, *shape), at)

  def elements(width):
    return of((C, width), lambda n, c: (n, c, 0))

  height = 0 if x.facts is None else x.facts.shape[2]
  specs = {
    "q": elements(keys),
    "v": elements(values),
    "facts": of((None, height, C), lambda n, c: (n, c, 0, 0)),
    "d_sums": of((None, 8, C), lambda n, c: (n, c, 0, 0)),
    "state": of((keys, values), lambda n, c: (n, 0, 0)),
    "entering": of((None, keys, values), lambda n, c: (n, c, 0, 0)),
  }
  return specs, (rows // plan.rows, 1, chunks)


def arguments_of(specs, x):
  """Returns the arrays of `x` that are not None, and their blocks."""
  arrays = [leaf for leaf in x if leaf is not None]
  named = zip(("q", "q", "v", "q", "q", "facts"), x)
  return arrays, [specs[name] for name, leaf in named if leaf is not None]


def forward(
  plan: Plan, x: Blocks, init: jax.Array, keeps: bool
) -> tuple[jax.Array, ...]:
  """Returns outputs like v, last state, and entering states if requested."""
  specs, grid = block_specs(plan, x, init, reverse=False)
  arrays, blocks = arguments_of(specs, x)
  rows, *matrix = init.shape
  states = jax.ShapeDtypeStruct((rows, grid[2], *matrix), x.v.dtype)
  return _outer_tpu_call.call(
    "delta_forward",
    plan.form,
    functools.partial(_forward_kernel, plan, keeps),
    grid,
    [*blocks, specs["state"]],
    [specs["v"], specs["state"], *([specs["entering"]] if keeps else [])],
    [
      jax.ShapeDtypeStruct(x.v.shape, x.v.dtype),
      jax.ShapeDtypeStruct(init.shape, jnp.float32),
      *([states] if keeps else []),
    ],
    [],
    [*arrays, init],
  )
