"""Compiled programs of an engine: slots of rows, and prompts that are read."""

import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.generation import _drawing
from jaxseq.generation import _row_states
from jaxseq.generation import offline
from jaxseq.generation import token_sampling


class Reading(NamedTuple):
  """Results of reading prompts, a line for each.

  Attributes:
    logits: (lines, vocab), after the newest token.
    states: of the network, (lines, ...).
  """

  logits: jax.Array
  states: PyTree


class Slots(NamedTuple):
  """Rows that tokens are drawn for.

  Attributes:
    logits: (slots, vocab), of the next token.
    states: of the network, (slots, ...).
    rows: what the drawing carries.
    controls: options of each row.
    limit: (slots,) int32, the most tokens of each row.
    active: (slots,) bool, which slots hold a row that has not ended.
    before: (slots,) int32, the tokens in front of the rows' last ones.
    memory: what drafts remember of all rows; None for nothing.
  """

  logits: jax.Array
  states: PyTree
  rows: _drawing.Rows
  controls: token_sampling.Controls
  limit: jax.Array
  active: jax.Array
  before: jax.Array
  memory: PyTree = None


class Arrivals(NamedTuple):
  """Rows that begin.

  Attributes:
    slot: (n,) int32, where each goes; the number of slots for nowhere.
    seeds: (n,) uint32.
    continuation: (n,) uint32.
    limit: (n,) int32.
    controls: options of each.
    seen: (n, vocab) bool, the tokens of the prompts.
    before: (n,) int32, the last of them.
    constraint: state of the constraint that each begins in; None for the first.
  """

  slot: Any
  seeds: Any
  continuation: Any
  limit: Any
  controls: token_sampling.Controls
  seen: Any
  before: Any
  constraint: Any = None


class Work(NamedTuple):
  """Work of one call.

  Attributes:
    reads: () bool, whether there is something to read.
    tokens: (lines, chunk) int32, the next tokens of the prompts.
    reset: (lines, chunk) bool, true where a prompt begins.
    arrivals: rows whose prompts are read to their ends with this chunk.
    held: (slots,) bool, which slots' rows go on; the others are given up.
    steps: () int32, tokens to draw for each row at most.
    enough: () int32, ended rows after which no more tokens are drawn, so that
      others can take their slots.
  """

  reads: Any
  tokens: Any
  reset: Any
  arrivals: Arrivals
  held: Any
  steps: Any
  enough: Any


class Drawn(NamedTuple):
  """Tokens of one call.

  Attributes:
    tokens: (steps, slots) int32.
    log_probs: (steps, slots), which the network gives them.
    valid: (steps, slots) bool, which of them are there.
    ended: (steps, slots) bool, which of them end their row, whatever its limit.
  """

  tokens: jax.Array
  log_probs: jax.Array
  valid: jax.Array
  ended: jax.Array


def nothing(count: int, slots: int, dtype: Any) -> Drawn:
  """Returns places of so many tokens for each slot."""
  shape = count, slots
  return Drawn(
    jnp.zeros(shape, jnp.int32),
    jnp.zeros(shape, dtype),
    jnp.zeros(shape, bool),
    jnp.zeros(shape, bool),
  )


def fresh(
  network: Any,
  variables: PyTree,
  slots: int,
  lines: int,
  key: jax.Array,
  constraint: Any,
  memory: PyTree = None,
) -> tuple[Slots, Reading]:
  """Returns slots without rows, and lines without prompts."""
  token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  logits, states = jax.eval_shape(network.apply, variables, token)

  def zeros(count):
    return Reading(
      jnp.zeros((count, logits.shape[-1]), logits.dtype),
      jax.tree.map(
        lambda leaf: jnp.zeros((count, *leaf.shape[1:]), leaf.dtype), states
      ),
    )

  vocab_size = logits.shape[-1]
  row_state = zeros(slots)
  controls = token_sampling.make_controls(
    [token_sampling.Sampling()] * slots, vocab_size
  )
  keys = token_sampling.row_keys(key, np.zeros(slots, np.uint32))
  history = token_sampling.History(
    jnp.zeros((slots, vocab_size), bool),
    jnp.zeros((slots, vocab_size), jnp.int32),
  )
  result = Slots(
    row_state.logits,
    row_state.states,
    _drawing.start(keys, history, constraint),
    # Copies: what is donated must not be an array of the host.
    jax.tree.map(jnp.array, controls),
    jnp.zeros(slots, jnp.int32),
    jnp.zeros(slots, bool),
    jnp.zeros(slots, jnp.int32),
    # A copy, as others may hold the memory.
    jax.tree.map(jnp.array, memory),
  )
  return result, zeros(lines)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(4, 5))
def advance(
  network: Any,
  most: int,
  drawing: Any,
  variables: PyTree,
  slots: Slots,
  reading: Reading,
  work: Work,
  key: jax.Array,
  constraint: Any,
) -> tuple[Slots, Reading, Drawn]:
  """Slots, reading and tokens after a chunk of prompts and `most` tokens."""
  # The prompts' first tokens come with a reset, so that what a line held before
  # does not matter; neither does what a slot held. `drawing` takes the place of
  # `draw`, if it is given.
  slots = slots._replace(active=slots.active & work.held)

  def read(slots, reading):
    options = {}
    if isinstance(network, nn.SequenceNetwork):
      last = work.tokens.shape[-1] - 1
      options["at"] = jnp.full((len(work.tokens), 1), last)
    logits, states = network.apply(
      variables, work.tokens, reading.states, reset=work.reset, **options
    )
    reading = Reading(logits[:, -1], states)
    slots = _placed(slots, reading, work.arrivals, key, constraint)
    return slots, reading

  slots, reading = lax.cond(
    work.reads, read, lambda *both: both, slots, reading
  )
  options = network, variables, slots, work, most, constraint
  slots, drawn = (drawing or draw)(*options)
  return slots, reading, drawn


def draw(
  network: Any,
  variables: PyTree,
  slots: Slots,
  work: Work,
  most: int,
  constraint: Any,
) -> tuple[Slots, Drawn]:
  """Draws up to `most` tokens of each row, one after the other."""
  begun = jnp.sum(slots.active)

  def goes_on(carry):
    done, slots, _ = carry
    left = jnp.sum(slots.active)
    return (done < work.steps) & (left > 0) & (begun - left < work.enough)

  def step(carry):
    done, slots, drawn = carry
    controls = awake(slots.controls, slots.active)
    rows, log_prob = _drawing.next_token(
      constraint, controls, slots.rows, slots.logits
    )
    newest = Drawn(rows.token, log_prob, slots.active, rows.ended)
    drawn = jax.tree.map(
      lambda leaf, new: leaf.at[done].set(new), drawn, newest
    )
    logits, states = network.apply(
      variables, rows.token, slots.states, method="step"
    )
    active = slots.active & ~rows.ended & (rows.length < slots.limit)
    slots = slots._replace(
      logits=logits, states=states, rows=rows, active=active
    )
    return done + 1, slots, drawn

  drawn = nothing(most, len(slots.active), slots.logits.dtype)
  carry = jnp.zeros((), jnp.int32), slots, drawn
  _, slots, drawn = lax.while_loop(goes_on, step, carry)
  return slots, drawn


@functools.partial(jax.jit, donate_argnums=0)
def place(
  slots: Slots,
  prefix: offline.Prefix,
  arrivals: Arrivals,
  key: jax.Array,
  constraint: Any,
) -> Slots:
  """Lets a row begin after a prompt that was read before."""
  reading = Reading(prefix.logits, prefix.states)
  return _placed(slots, reading, arrivals, key, constraint)


@jax.jit
def line(reading: Reading, number: jax.Array, seen: jax.Array) -> Any:
  """Returns a copy of what was read of one prompt."""
  one = jax.tree.map(
    lambda leaf: lax.dynamic_slice_in_dim(leaf, number, 1), reading
  )
  return offline.Prefix(one.logits, one.states, seen)


@functools.partial(jax.jit, donate_argnums=0)
def put_line(
  reading: Reading, number: jax.Array, prefix: offline.Prefix
) -> Reading:
  """Lets a line go on after what was read before."""
  return jax.tree.map(
    lambda leaf, one: lax.dynamic_update_slice_in_dim(leaf, one, number, 0),
    reading,
    Reading(prefix.logits, prefix.states),
  )


@functools.partial(jax.jit, static_argnums=0)
def read_on(
  network: Any,
  variables: PyTree,
  prefix: offline.Prefix,
  tokens: jax.Array,
  count: jax.Array,
  seen: jax.Array,
) -> offline.Prefix:
  """Reads the first `count` of some tokens, one by one, after a prefix."""

  def step(i, carry):
    return network.apply(variables, tokens[i][None], carry[1], method="step")

  carry = prefix.logits, prefix.states
  logits, states = lax.fori_loop(0, count, step, carry)
  return offline.Prefix(logits, states, seen)


def awake(
  controls: token_sampling.Controls, active: jax.Array
) -> token_sampling.Controls:
  """Returns controls by which ended rows ask for nothing that takes time."""
  greedy = token_sampling.Sampling(temperature=0)
  idle = token_sampling.make_controls(greedy, controls.stop.shape[-1])
  idle = idle._replace(stop=controls.stop)
  return _row_states.where(active, controls, idle)


def _placed(slots, reading, arrivals, key, constraint):
  """Slots in which rows have begun."""
  keys = token_sampling.row_keys(key, arrivals.seeds, arrivals.continuation)
  counts = jnp.zeros(arrivals.seen.shape, jnp.int32)
  history = token_sampling.History(arrivals.seen, counts)
  begun = Slots(
    reading.logits,
    reading.states,
    _drawing.start(keys, history, constraint, arrivals.constraint),
    arrivals.controls,
    arrivals.limit,
    jnp.ones(keys.shape, bool),
    arrivals.before,
  )
  placed = jax.tree.map(
    lambda leaf, new: leaf.at[arrivals.slot].set(new, mode="drop"),
    slots._replace(memory=None),
    begun,
  )
  return placed._replace(memory=slots.memory)
