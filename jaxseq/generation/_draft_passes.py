"""Passes of a network over drafts, each of which adds some tokens to a row."""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.generation import _drafts
from jaxseq.generation import _drawing
from jaxseq.generation import _network_checks
from jaxseq.generation import _pasts
from jaxseq.generation import _row_states
from jaxseq.generation import _thin_states
from jaxseq.generation import token_sampling
from jaxseq.generation import tree_passes
from jaxseq.recurrence import tree as trees
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Progress(NamedTuple):
  """Rows in the middle of generation."""

  rows: _drawing.Rows  # Their lengths, last tokens and pasts, among others.
  before: jax.Array  # (rows,) int32, the tokens before the last ones.
  limit: jax.Array  # (rows,) int32, the maximum number of tokens of each.
  states: PyTree  # After all tokens but the last, leaves (rows, ...).
  memory: PyTree  # State of the draft.

  @property
  def done(self) -> jax.Array:
    """(rows,) bool: whether all tokens are generated."""
    return self.rows.ended | (self.rows.length >= self.limit)


def begin(
  network: TokenNetwork,
  variables: PyTree,
  prompt: jax.Array,
  length: int,
  keys: jax.Array,
  *,
  draft: _drafts.Draft,
  memory: PyTree = None,
  states: PyTree = None,
  reset: jax.Array | None = None,
  history: token_sampling.History | None = None,
  constraint: Any = None,
  thinning: _thin_states.Thinning | None = None,
) -> Progress:
  """Reads prompts (rows, time) up to the last tokens, the drafts' roots."""
  count = len(prompt)
  prompt = jnp.asarray(prompt, jnp.int32)
  vocab_size = _network_checks.vocab_size(network, variables)
  memory = draft.begin(memory, vocab_size, count)
  fresh = _row_states.fresh_states(network, variables, count)
  if states is None:
    states = fresh
  if thinning is not None:
    observed = functools.partial(thinning.observed, network, variables)
    fresh, states = observed(fresh, reset), observed(states, reset)
  if prompt.shape[1] > 1:
    flags = None if reset is None else reset[:, :-1]
    tokens = prompt[:, :-1]
    arguments = variables, tokens, states, flags
    logits, states = _row_states.read(network, *arguments)
    memory = draft.read_prompt(memory, tokens, flags, logits)
  if reset is not None:
    states = _row_states.where(reset[:, -1], fresh, states)
  if thinning is not None:
    states = thinning.thin(states)
  before, token = jnp.pad(prompt, [(0, 0), (1, 0)])[:, -2:].T
  rows = _drawing.Rows(
    keys=keys,
    length=jnp.zeros(count, jnp.int32),
    token=token,
    ended=jnp.zeros(count, bool),
    past=_pasts.begin(constraint, history, (count,)),
    allowed=None,
  )
  limit = jnp.full(count, length, jnp.int32)
  return Progress(rows, before, limit, states, memory)


def advance(
  network: TokenNetwork,
  variables: PyTree,
  progress: Progress,
  *,
  draft: _drafts.Draft,
  controls: token_sampling.Controls,
  constraint: object = None,
  scheme: str = "auto",
  tops: int = 0,
) -> tuple[Progress, _drafts.Verdict, Any]:
  """Proposes one draft, and reads it.

  Rows that are done do not change.

  Returns:
    The progress; the accepted tokens, none for rows that were done and at most
    as many as were left to generate; and the network's log probabilities of the
    verdict's tokens, (rows, depth), in a pair with those of the `tops` most
    probable ones if `tops` is not 0.
  """
  rows = progress.rows
  recent = jnp.stack([progress.before, rows.token], axis=1)
  draws = _drafts.Draws(rows.keys, controls, rows.length)
  guess = draft.propose(progress.memory, recent, draws)
  arguments = guess.ids, progress.states, draft.tree, scheme
  result = tree_passes.read(network, variables, *arguments)
  pasts = _pasts.at_nodes(constraint, rows.past, guess.ids, draft.tree)
  draws = draws._replace(
    history=pasts.history, allowed=_pasts.allowed(constraint, pasts)
  )
  verdict = draft.judge(guess, result.logits, draws)
  space = jnp.where(rows.ended, 0, progress.limit - rows.length)
  count = jnp.minimum(verdict.count, space)
  ends = jnp.take_along_axis(controls.stop, verdict.tokens, axis=1)
  # The past after each token that follows an accepted node.
  pasts = _pasts.after_nodes(pasts, verdict.nodes)
  pasts = _pasts.extend(constraint, pasts, verdict.tokens)
  if constraint is not None:
    some = jnp.any(_pasts.allowed(constraint, pasts), axis=-1)
    ends = ends | ~some
  ends = ends & (jnp.arange(ends.shape[1]) < count[:, None])
  ended = jnp.any(ends, axis=1)
  count = jnp.where(ended, jnp.argmax(ends, axis=1) + 1, count)
  count = count.astype(jnp.int32)
  verdict = verdict._replace(count=count)
  states = tree_passes.commit(
    network, variables, result, verdict.nodes, count, draft.tree, scheme
  )
  logits = result.logits
  memory = draft.learn(progress.memory, recent, guess, logits, verdict)
  newest = jnp.concatenate([recent, verdict.tokens], axis=1)
  last = count[:, None] + jnp.arange(2)
  before, token = jnp.take_along_axis(newest, last, axis=1).T
  past = trees.after_node(pasts, jnp.maximum(count - 1, 0))
  rows = rows._replace(
    length=rows.length + count,
    token=token,
    ended=rows.ended | ended,
    past=_row_states.where(count > 0, past, rows.past),
  )
  log_probs = jax.nn.log_softmax(logits)
  logs = jax.vmap(lambda x, *at: x[at])(
    log_probs, verdict.nodes, verdict.tokens
  )
  if tops:
    places = jax.vmap(lambda x, at: x[at])(log_probs, verdict.nodes)
    logs = logs, _drawing.tops(places, tops)
  progress = Progress(rows, before, progress.limit, states, memory)
  return progress, verdict, logs
