"""Beam search, and Diverse Beam Search, with any network of tokens.

Diverse Beam Search (arXiv:1610.02424) divides the beams into groups. At each
step the groups choose one after the other, and a token costs a later group
`strength` for each beam of an earlier one that has just chosen it. Beams are
one or two more batch axes of all states of a network, which are gathered with
the beams, whatever their structure.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.generation import _row_states
from jaxseq.generation import constraints
from jaxseq.generation import offline
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Beams(NamedTuple):
  """Beams of each group, in order of their selection scores.

  Attributes:
    tokens: (*batch, groups, beams // groups, length) int32; after the end of a
      beam its last token is repeated.
    count: (*batch, groups, beams // groups) int32, tokens of each beam up to
      its end, an end token included.
    log_prob: (*batch, groups, beams // groups), sum over all tokens; -inf for a
      beam without a sequence.
    selection: like `log_prob`, the scores that selected the beams: divided by
      length, minus the penalties.
    states: states of the network, with the same leading axes, after all tokens
      before the end token; after all tokens if there is none.
  """

  tokens: jax.Array
  count: jax.Array
  log_prob: jax.Array
  selection: jax.Array
  states: PyTree


def beam_search(
  network: TokenNetwork,
  variables: PyTree,
  prompt: jax.Array | Sequence[object] | offline.Prefix,
  length: int,
  *,
  beams: int,
  groups: int = 1,
  strength: float = 0.0,
  end_token: int | None = None,
  length_penalty: float = 0.0,
  carry_penalty: bool = False,
  constraint: constraints.Constraint | None = None,
  renormalize: bool = True,
  end_at_match: bool = True,
  states: PyTree = None,
  lengths: jax.Array | None = None,
  reset: jax.Array | None = None,
) -> Beams:
  """Searches for the most probable continuations of prompts.

  The prompt is read once, and one step of the network serves the beams of all
  groups. A group keeps the beams // groups best of all continuations of its
  beams by one token, by

      log_prob / tokens ** length_penalty - strength * taken,

  with `taken` the number of beams of the groups before it that chose the same
  token in this step; among equals the earlier beam, and the lower token, comes
  first. A beam ends with `end_token`, or if the constraint allows no more
  tokens. It then keeps its score, costs nothing and is not counted.

      found = beam_search(network, variables, prompt, 40, beams=6, groups=3,
                          strength=0.5)
      best = ranked(found).tokens[..., 0, :]

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or another
      hashable object with the same `apply`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one; or a list of arrays; or the
      result of `read_prefix`.
    length: number of tokens, at least 1.
    beams: number of beams of a prompt.
    groups: number of groups, a divisor of `beams`; 1 for plain beam search.
    strength: penalty for a token that beams of earlier groups chose. The paper
      recommends as many groups as beams, and 0.2 to 0.8.
    end_token: token that ends a beam; or None.
    length_penalty: exponent of the number of tokens, including the end token,
      by which log probabilities are divided: 0 compares sums, 1 means. It
      decides between beams that have ended and others.
    carry_penalty: whether a beam keeps the penalties of earlier steps, as in
      the public codes; in the paper's objective they count only in their step.
    constraint: constraint of the next tokens; all are allowed if None. It
      starts after the prompt.
    renormalize: whether the allowed tokens share all of the probability; False
      only masks probabilities, as in SEAL's code.
    end_at_match: whether a beam ends if the constraint allows no more tokens;
      False drops it, as SEAL's code does, so that longer ones replace it.
    states: states before the prompt; fresh ones if None.
    lengths: (*batch,) integers, as in `generate`, for prompts of different
      lengths at the starts of their rows.
    reset: (*batch, time) bool, as in `generate`, for prompts at their ends.

  Returns:
    The beams.

  Raises:
    ValueError: if the prompt is empty, has a token outside of the network's
      vocabulary, or an option is out of range.
  """
  validate.all_positive(length=length, beams=beams, groups=groups)
  if beams % groups:
    expected = f"a multiple of groups, {groups}"
    raise validate.error("beams", beams, expected)
  validate.number("strength", strength, 0)
  validate.number("length_penalty", length_penalty, 0)
  if not isinstance(prompt, offline.Prefix):
    prompt = offline.read_prefix(
      network, variables, prompt, states=states, lengths=lengths, reset=reset
    )
  elif not (states is lengths is reset is None):
    expected = "None with a prefix that has been read"
    raise validate.error("states, lengths and reset", "values", expected)
  vocab_size = prompt.logits.shape[-1]
  if end_token is not None:
    validate.integer("end_token", end_token, 0, vocab_size - 1)
  constraints.check(constraint, vocab_size)
  options = _Options(
    length,
    groups,
    beams // groups,
    end_token,
    carry_penalty,
    renormalize,
    end_at_match and constraint is not None,
  )
  penalties = strength, length_penalty
  return _search(network, options, variables, prompt, constraint, *penalties)


def ranked(beams: Beams, *, length_penalty: float = 0.0) -> Beams:
  """Sorts the beams of all groups, best first.

  They are ranked by log probability, divided by a power of their length as in
  `beam_search`, without the penalties of groups.

  Args:
    beams: from `beam_search`.
    length_penalty: exponent of the number of tokens.

  Returns:
    The same with one axis instead of groups and their beams: tokens (*batch,
    beams, length).
  """
  axis = beams.log_prob.ndim - 2
  flat = jax.tree.map(
    lambda x: x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :]), beams
  )
  score = _normalized(flat.log_prob, flat.count, length_penalty)
  return _gather(flat, jnp.argsort(-score, axis=-1, stable=True))


class _Options(NamedTuple):
  """Options of a program, which is recompiled if they change."""

  length: int
  groups: int
  width: int
  end_token: int | None
  carry_penalty: bool
  renormalize: bool
  end_at_match: bool

  @property
  def may_end(self) -> bool:
    """Permission for beams to end before `length` tokens."""
    return self.end_token is not None or self.end_at_match


class _Carry(NamedTuple):
  """All beams, (*batch, groups, width, ...)."""

  tokens: jax.Array
  log_prob: jax.Array
  selection: jax.Array
  paid: jax.Array
  count: jax.Array
  ended: jax.Array
  logits: jax.Array
  states: PyTree
  constraint: PyTree
  allowed: jax.Array | None  # Tokens that the constraint allows next.


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(
  network, options, variables, prefix, constraint, strength, length_penalty
):
  """Runs the compiled part of `beam_search`."""

  def body(old, time):
    logs = _log_probs(options, old, time)
    total = old.log_prob[..., None] + logs
    count = jnp.where(old.ended, old.count, old.count + 1)
    score = _normalized(total, count[..., None], length_penalty)
    score = score - old.paid[..., None]
    selection, parent, token, paid = _choose(
      options, score, old.ended, strength
    )
    chosen = _gather(
      old._replace(logits=None, allowed=None, count=count), parent
    )
    flat = parent * logs.shape[-1] + token
    total = total.reshape(*total.shape[:-2], -1)
    chosen = chosen._replace(
      tokens=chosen.tokens.at[..., time].set(token),
      log_prob=jnp.take_along_axis(total, flat, axis=-1),
      selection=selection,
      paid=chosen.paid + paid if options.carry_penalty else old.paid,
    )
    return _advance(
      network, options, variables, constraint, chosen, token
    ), None

  start = _begin(options, prefix, constraint)
  last, _ = lax.scan(body, start, jnp.arange(options.length))
  return Beams(
    last.tokens, last.count, last.log_prob, last.selection, last.states
  )


def _begin(options, prefix, constraint) -> _Carry:
  """Returns beams without tokens: the first one of each group is alive."""
  batch_shape = prefix.logits.shape[:-1]
  shape = (*batch_shape, options.groups, options.width)
  axes = len(batch_shape), len(batch_shape) + 1
  logits, states = jax.tree.map(
    lambda x: jnp.broadcast_to(
      jnp.expand_dims(x, axes), shape + x.shape[len(batch_shape) :]
    ),
    (prefix.logits, prefix.states),
  )
  zeros = jnp.zeros(shape, logits.dtype)
  first = jnp.where(jnp.arange(options.width) == 0, zeros, -jnp.inf)
  state = allowed = None
  if constraint is not None:
    state = constraint.initial(shape)
    allowed = constraint.allowed(state)
  return _Carry(
    tokens=jnp.zeros((*shape, options.length), jnp.int32),
    log_prob=first,
    selection=first,
    paid=zeros,
    count=jnp.zeros(shape, jnp.int32),
    ended=jnp.zeros(shape, bool),
    logits=logits,
    states=states,
    constraint=state,
    allowed=allowed,
  )


def _log_probs(options, old, time):
  """Returns log probabilities; a beam that has ended repeats its token."""
  logs = constraints.masked_log_probs(
    old.logits, old.allowed, renormalize=options.renormalize
  )
  if not options.may_end:
    return logs
  last = lax.dynamic_index_in_dim(old.tokens, jnp.maximum(time - 1, 0), axis=-1)
  same = jnp.where(jnp.arange(logs.shape[-1]) == last, 0.0, -jnp.inf)
  return jnp.where(old.ended[..., None], same.astype(logs.dtype), logs)


def _advance(network, options, variables, constraint, chosen, token) -> _Carry:
  """Reads the chosen tokens: the network, the constraint, and which end."""
  logits, states = network.apply(variables, token, chosen.states, method="step")
  ended = chosen.ended
  if options.end_token is not None:
    ended = ended | (token == options.end_token)
  if options.may_end:
    states = _row_states.where(ended, chosen.states, states)
  state = allowed = None
  if constraint is not None:
    state = constraint.advance(chosen.constraint, token)
    allowed = constraint.allowed(state)
  if options.end_at_match:
    ended = ended | ~jnp.any(allowed, axis=-1)
  return chosen._replace(
    ended=ended,
    logits=logits,
    states=states,
    constraint=state,
    allowed=allowed,
  )


def _choose(options, score, ended, strength):
  """Selects the beams of all groups: score, parent, token, new penalty."""
  vocab = score.shape[-1]
  group_axis = score.ndim - 3

  def group(taken, beams):
    score, ended = beams
    cost = jnp.where(ended[..., None], 0, strength * taken[..., None, :])
    cost = jnp.broadcast_to(cost.astype(score.dtype), score.shape)
    flat = (score - cost).reshape(*score.shape[:-2], -1)
    best, index = lax.top_k(flat, options.width)
    parent, token = index // vocab, index % vocab
    counts = ~jnp.take_along_axis(ended, parent, -1) & (best > -jnp.inf)
    hits = jax.nn.one_hot(token, vocab, dtype=taken.dtype)
    taken = taken + jnp.sum(hits * counts[..., None], axis=-2)
    cost = jnp.take_along_axis(cost.reshape(flat.shape), index, axis=-1)
    return taken, (best, parent, token, cost)

  none = jnp.zeros((*score.shape[:-3], vocab), score.dtype)
  per_group = jnp.moveaxis(score, group_axis, 0), jnp.moveaxis(ended, -2, 0)
  _, chosen = lax.scan(group, none, per_group)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -2), chosen)


def _normalized(log_prob, count, length_penalty):
  """Divides log probabilities by a power of the number of tokens."""
  return log_prob / jnp.asarray(count, log_prob.dtype) ** length_penalty


def _gather(tree, index):
  """Takes entries of the last axis of `index` from that axis of each leaf."""
  axis = index.ndim - 1

  def take(leaf):
    wide_index = index.reshape(index.shape + (1,) * (leaf.ndim - index.ndim))
    return jnp.take_along_axis(leaf, wide_index, axis=axis)

  return jax.tree.map(take, tree)
