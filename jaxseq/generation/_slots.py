"""Compiled programs of an engine: slots of rows, and prompts that are read."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq.adapt import batch
from jaxseq.generation import _drawing
from jaxseq.generation import _row_states
from jaxseq.generation import _thin_states
from jaxseq.generation import offline
from jaxseq.generation import requests
from jaxseq.generation import token_sampling
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Reading(NamedTuple):
  """Results of reading prompts, a line for each."""

  logits: jax.Array  # (lines, vocab), after the newest token.
  states: PyTree  # Of the network, (lines, ...).


class Slots(NamedTuple):
  """Rows for which tokens are drawn, one in each slot."""

  logits: jax.Array  # (slots, vocab), for the next token.
  states: PyTree  # Of the network, (slots, ...).
  rows: _drawing.Rows
  controls: token_sampling.Controls  # Options of each row.
  limit: jax.Array  # (slots,) int32, the maximum number of tokens.
  active: jax.Array  # (slots,) bool, which slots have a row that has not ended.
  before: jax.Array  # (slots,) int32, the tokens before the last ones.
  adapter: jax.Array  # (slots,) int32, the numbers of the rows' adapters.
  memory: PyTree = None  # Memory of drafts, of all rows.


class Arrivals(NamedTuple):
  """Rows that start."""

  slot: Any  # (n,) int32, the slot of each; the number of slots for none.
  seeds: Any  # (n,) uint32.
  continuation: Any  # (n,) uint32.
  limit: Any  # (n,) int32, the maximum number of tokens.
  controls: token_sampling.Controls  # Options of each.
  seen: Any  # (n, vocab) bool, the tokens of the prompts.
  before: Any  # (n,) int32, the last of them.
  adapter: Any  # (n,) int32, numbers of adapters, 0 for no adapter.
  constraint: Any = None  # The initial state of each; None for the default.


class Extras(NamedTuple):
  """Rare options of rows, with which a call runs a separate program."""

  # (slots, n), tokens with a bias and their biases; the vocabulary's size for
  # no token. The most probable tokens are returned beside drawn ones.
  tokens: Any
  biases: Any


class Work(NamedTuple):
  """Inputs of one call: prompt chunks, arriving rows and the step budget."""

  reads: Any  # () bool, whether there are prompt tokens to read.
  tokens: Any  # (lines, chunk) int32, the next tokens of the prompts.
  # (lines, chunk) bool, true at the first token of a prompt; None if it resumes
  # from states in its line.
  reset: Any
  adapter: Any  # (lines,) int32, the numbers of the prompts' adapters.
  arrivals: Arrivals  # Rows whose prompts end with this chunk.
  held: Any  # (slots,) bool, rows that continue; the others are canceled.
  steps: Any  # () int32, maximum number of tokens for each row.
  # () int32, number of ended rows after which the call returns, so that others
  # can use their slots.
  enough: Any
  extras: Extras | None = None


class Drawn(NamedTuple):
  """Tokens of one call, (steps, slots) each."""

  tokens: jax.Array  # int32
  log_probs: jax.Array  # By the network.
  valid: jax.Array  # bool, which of the entries are tokens.
  ended: jax.Array  # bool, tokens that end their row before its limit.
  # (steps, slots, k) each, for the entries; None without extras.
  tops: requests.Tops | None = None


def nothing(count: int, slots: Slots, work: Work) -> Drawn:
  """Returns empty entries for that many tokens of each slot."""
  shape = count, len(slots.active)
  kinds = jnp.int32, slots.logits.dtype, bool, bool
  drawn = Drawn(*(jnp.zeros(shape, kind) for kind in kinds))
  if work.extras is None:
    return drawn
  shape = *shape, min(requests.MOST_TOPS, slots.logits.shape[-1])
  tops = (jnp.zeros(shape, kind) for kind in kinds[:2])
  return drawn._replace(tops=requests.Tops(*tops))


def tops(log_probs: jax.Array, work: Work) -> requests.Tops | None:
  """Returns the most probable tokens of entries, if a row has extras."""
  if work.extras is None:
    return None
  return _drawing.tops(log_probs, requests.MOST_TOPS)


def fresh(
  network: TokenNetwork,
  variables: PyTree,
  slots: int,
  lines: int,
  key: jax.Array,
  constraint: Any,
  memory: PyTree = None,
  thinning: _thin_states.Thinning | None = None,
) -> tuple[Slots, Reading]:
  """Returns slots without rows, and lines without prompts."""
  token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  logits, states = jax.eval_shape(
    network.apply, batch.at_rows(variables, [0]), token
  )
  vocab_size = logits.shape[-1]
  drawing = states
  if thinning is not None:
    observed = functools.partial(thinning.observed, network, variables)
    states = jax.eval_shape(observed, states)
    drawing = jax.eval_shape(thinning.thin, states)

  def zeros(count, states):
    return Reading(
      jnp.zeros((count, vocab_size), logits.dtype),
      jax.tree.map(
        lambda leaf: jnp.zeros((count, *leaf.shape[1:]), leaf.dtype), states
      ),
    )

  controls = token_sampling.make_controls(
    [token_sampling.Sampling()] * slots, vocab_size
  )
  keys = token_sampling.row_keys(key, np.zeros(slots, np.uint32))
  seen = jnp.zeros((slots, vocab_size), bool)
  history = token_sampling.unused_history(seen)
  empty = zeros(slots, drawing)
  result = Slots(
    empty.logits,
    empty.states,
    _drawing.start(keys, history, constraint),
    # Copies: donated arrays must not be arrays of the host.
    jax.tree.map(jnp.array, controls),
    limit=jnp.zeros(slots, jnp.int32),
    active=jnp.zeros(slots, bool),
    before=jnp.zeros(slots, jnp.int32),
    adapter=jnp.zeros(slots, jnp.int32),
    # A copy, as others may use the memory.
    memory=jax.tree.map(jnp.array, memory),
  )
  return result, zeros(lines, states)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(4, 5))
def advance(
  network: TokenNetwork,
  most: int,
  drawing: Any,
  variables: PyTree,
  slots: Slots,
  reading: Reading,
  work: Work,
  key: jax.Array,
  constraint: object,
) -> tuple[Slots, Reading, Drawn]:
  """Slots, reading and tokens after a chunk of prompts and `most` tokens."""
  # The prompts' first tokens come with a reset, so that earlier states of a
  # line have no effect; nor have those of a slot. `drawing` replaces `draw`, if
  # it is given.
  slots = slots._replace(active=slots.active & work.held)

  def read(slots, reading):
    logits, states = network.apply(
      batch.at_rows(variables, work.adapter),
      *(work.tokens, reading.states),
      reset=work.reset,
      **_last(network, *work.tokens.shape),
    )
    reading = Reading(logits[:, -1], states)
    slots = _placed(slots, reading, work.arrivals, key, constraint)
    return slots, reading

  slots, reading = lax.cond(
    work.reads, read, lambda *both: both, slots, reading
  )
  variables = batch.at_rows(variables, slots.adapter)
  options = network, variables, slots, work, most, constraint
  slots, drawn = (drawing or draw)(*options)
  return slots, reading, drawn


def repeated(
  step: Callable[..., tuple[Slots, Drawn]],
  slots: Slots,
  drawn: Drawn,
  work: Work,
  active: jax.Array,
) -> tuple[Slots, Drawn]:
  """Runs a step until `work.steps`, or until `work.enough` rows have ended."""

  def goes_on(carry):
    done, slots, _ = carry
    left = jnp.sum(slots.active)
    return (done < work.steps) & (left > 0) & (active - left < work.enough)

  carry = jnp.zeros((), jnp.int32), slots, drawn
  _, slots, drawn = lax.while_loop(
    goes_on, lambda carry: (carry[0] + 1, *step(*carry)), carry
  )
  return slots, drawn


def draw(
  network: TokenNetwork,
  variables: PyTree,
  slots: Slots,
  work: Work,
  most: int,
  constraint: Any,
) -> tuple[Slots, Drawn]:
  """Draws up to `most` tokens of each row, one after the other."""

  def step(done, slots, drawn):
    controls = awake(slots.controls, slots.active, work.extras)
    rows, log_prob = _drawing.next_token(
      constraint, controls, slots.rows, slots.logits
    )
    best = tops(jax.nn.log_softmax(slots.logits), work)
    newest = Drawn(rows.token, log_prob, slots.active, rows.ended, best)
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
    return slots, drawn

  count = jnp.sum(slots.active)
  return repeated(step, slots, nothing(most, slots, work), work, count)


@functools.partial(jax.jit, donate_argnums=0)
def place(
  slots: Slots,
  prefix: offline.Prefix,
  arrivals: Arrivals,
  key: jax.Array,
  constraint: Any,
) -> Slots:
  """Starts a row after a prompt that was read before."""
  reading = Reading(prefix.logits, prefix.states)
  return _placed(slots, reading, arrivals, key, constraint)


@jax.jit
def line(reading: Reading, number: jax.Array, seen: jax.Array) -> Any:
  """Returns a copy of the state of one prompt."""
  one = jax.tree.map(
    lambda leaf: lax.dynamic_slice_in_dim(leaf, number, 1), reading
  )
  return offline.Prefix(*one, seen)


@functools.partial(jax.jit, donate_argnums=0)
def put_line(
  reading: Reading, number: jax.Array, prefix: offline.Prefix
) -> Reading:
  """Resumes a line after a prefix that was read before."""
  return jax.tree.map(
    lambda leaf, one: lax.dynamic_update_slice_in_dim(leaf, one, number, 0),
    reading,
    Reading(prefix.logits, prefix.states),
  )


@functools.partial(jax.jit, static_argnums=0)
def read_on(
  network: TokenNetwork,
  variables: PyTree,
  prefix: offline.Prefix,
  tokens: jax.Array,
  seen: jax.Array,
  adapter: jax.Array,
) -> offline.Prefix:
  """Reads some tokens (n,) after a prefix."""
  variables = batch.at_rows(variables, adapter[None])
  if len(tokens) == 1:
    read = network.apply(variables, tokens, prefix.states, method="step")
    return offline.Prefix(*read, seen)
  logits, states = network.apply(
    variables, tokens[None], prefix.states, **_last(network, 1, len(tokens))
  )
  return offline.Prefix(logits[:, -1], states, seen)


def _last(network, rows, time):
  """The option for logits of the last token alone, if a network has it."""
  if not isinstance(network, nn.SequenceNetwork):
    return {}
  return {"at": jnp.full((rows, 1), time - 1)}


def awake(
  controls: token_sampling.Controls,
  active: jax.Array,
  extras: Extras | None = None,
) -> token_sampling.Controls:
  """Makes inactive slots greedy, so that they cost no sort and no noise.

  Biases, which slots do not store, are added for rows that have them.
  """
  greedy = token_sampling.Sampling(temperature=0)
  idle = token_sampling.make_controls(greedy, controls.stop.shape[-1])
  idle = idle._replace(stop=controls.stop)
  controls = _row_states.where(active, controls, idle)
  if extras is None:
    return controls
  bias = jnp.zeros(controls.stop.shape, extras.biases.dtype)
  rows = jnp.arange(len(bias))[:, None]
  bias = bias.at[rows, extras.tokens].add(extras.biases, mode="drop")
  return controls._replace(bias=bias)


def _placed(slots, reading, arrivals, key, constraint):
  """Returns slots with the started rows."""
  keys = token_sampling.row_keys(key, arrivals.seeds, arrivals.continuation)
  history = token_sampling.unused_history(arrivals.seen)
  fresh = Slots(
    reading.logits,
    _thin_states.thin_like(reading.states, slots.states),
    _drawing.start(keys, history, constraint, arrivals.constraint),
    arrivals.controls,
    limit=arrivals.limit,
    active=jnp.ones(keys.shape, bool),
    before=arrivals.before,
    adapter=arrivals.adapter,
  )
  placed = jax.tree.map(
    lambda leaf, new: leaf.at[arrivals.slot].set(new, mode="drop"),
    slots._replace(memory=None),
    fresh,
  )
  return placed._replace(memory=slots.memory)
