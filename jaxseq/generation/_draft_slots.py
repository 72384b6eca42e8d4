"""Drafts in the slots of an engine: several tokens of each row in one pass."""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.generation import _drawing
from jaxseq.generation import _network_checks
from jaxseq.generation import _row_states
from jaxseq.generation import _slots
from jaxseq.generation import draft_model
from jaxseq.generation import drafts
from jaxseq.generation import recycling
from jaxseq.generation import speculative


@dataclasses.dataclass(frozen=True)
class Both:
  """A network, and the one that drafts for it: both read the same tokens.

  Variables and states are pairs, so that what an engine keeps of a prompt is
  that of both. The logits are those of the first, after the last token alone.

  Attributes:
    network: which decides.
    small: which drafts.
  """

  network: Any
  small: Any

  def apply(
    self,
    variables: PyTree,
    tokens: jax.Array,
    states: PyTree = None,
    **options: Any,
  ) -> tuple[jax.Array, PyTree]:
    """Reads tokens; see `nn.SequenceNetwork`."""
    read = []
    before = (None, None) if states is None else states
    networks = self.network, self.small
    for network, weights, state in zip(
      networks, variables, before, strict=True
    ):
      at = {}
      if isinstance(network, nn.SequenceNetwork) and "method" not in options:
        last = tokens.shape[-1] - 1
        at["at"] = jnp.full((*tokens.shape[:-1], 1), last)
      read.append(network.apply(weights, tokens, state, **options, **at))
    (logits, first), (_, second) = read
    return logits, (first, second)


def readers(
  network: Any, variables: PyTree, draft: drafts.Draft | None, memory: PyTree
) -> tuple[Any, PyTree, PyTree]:
  """Returns what reads prompts in an engine with drafts."""
  if draft is None:
    if memory is not None:
      raise _validate.error("memory", type(memory).__name__, "None: no drafts")
    return network, variables, None
  kinds = recycling.Recycling | draft_model.DraftModel
  expected = "a draft: Recycling(), or DraftModel(network)"
  _validate.instance("drafts", draft, kinds, expected)
  vocab_size = _network_checks.vocab_size(network, variables)
  shared = draft.begin(memory, vocab_size, 1)
  if isinstance(draft, recycling.Recycling):
    return network, variables, shared
  both = Both(network, draft.network)
  return both, (variables, memory.variables), None


@dataclasses.dataclass(frozen=True)
class Drawing:
  """`draw` with a draft, in the place of `_slots.draw`."""

  draft: drafts.Draft

  def __call__(self, *arguments: Any) -> tuple[_slots.Slots, _slots.Drawn]:
    """Draws; see `draw`."""
    return draw(self.draft, *arguments)


def draw(
  draft: drafts.Draft,
  network: Any,
  variables: PyTree,
  slots: _slots.Slots,
  work: _slots.Work,
  most: int,
  constraint: Any,
) -> tuple[_slots.Slots, _slots.Drawn]:
  """Slots and tokens of at most `most` passes, each over a draft."""
  # The first token of a row is drawn of what its prompt left. From then on the
  # states are those in front of the row's last token, with which a draft
  # begins, and what is not accepted of it was never in them.
  depth = draft.tree.paths.shape[1]
  count = len(slots.active)
  drawn = _slots.nothing(1 + most * depth, count, slots.logits.dtype)
  begun = jnp.sum(slots.active)
  fresh = slots.active & (slots.rows.length == 0) & (work.steps > 0)
  slots, drawn = lax.cond(
    jnp.any(fresh),
    _first,
    lambda *same: same[:2],
    slots,
    drawn,
    fresh,
    constraint,
  )

  def goes_on(carry):
    done, slots, _ = carry
    left = jnp.sum(slots.active)
    return (done < work.steps) & (left > 0) & (begun - left < work.enough)

  def step(carry):
    done, slots, drawn = carry
    controls = _slots.awake(slots.controls, slots.active)
    progress, verdict, logs = speculative.advance_with_logs(
      *_large(network, variables),
      _progress(variables, draft, slots),
      *(draft, controls, constraint, "auto"),
    )
    ended = slots.active & progress.ended
    active = slots.active & ~progress.done
    valid = jnp.arange(depth)[:, None] < verdict.count
    place = 1 + done * depth
    newest = _slots.Drawn(
      verdict.tokens.T, logs.T, valid, jnp.broadcast_to(ended, valid.shape)
    )
    drawn = jax.tree.map(
      lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, place, 0),
      drawn,
      newest,
    )
    return done + 1, _after(draft, slots, progress, active), drawn

  carry = jnp.zeros((), jnp.int32), slots, drawn
  _, slots, drawn = lax.while_loop(goes_on, step, carry)
  return slots, drawn


def _first(slots, drawn, fresh, constraint):
  """Draws the first tokens of rows."""
  controls = _slots.awake(slots.controls, fresh)
  rows, log_prob = _drawing.next_token(
    constraint, controls, slots.rows, slots.logits
  )
  newest = _slots.Drawn(rows.token, log_prob, fresh, rows.ended)
  drawn = jax.tree.map(lambda leaf, new: leaf.at[0].set(new), drawn, newest)
  old = slots.rows
  rows = _row_states.where(
    fresh, rows._replace(keys=fresh), old._replace(keys=fresh)
  )
  rows = rows._replace(keys=old.keys)
  ends = rows.ended | (rows.length >= slots.limit)
  return slots._replace(rows=rows, active=slots.active & ~ends), drawn


def _large(network, variables):
  """The network that decides, and its variables."""
  if isinstance(network, Both):
    return network.network, variables[0]
  return network, variables


def _progress(variables, draft, slots):
  """Rows of slots as those of `speculative`; those that have ended rest."""
  rows = slots.rows
  states, memory = slots.states, slots.memory
  if isinstance(draft, draft_model.DraftModel):
    states, state = states
    memory = draft_model.Memory(variables[1], state)
  return speculative.Progress(
    keys=rows.keys,
    states=states,
    memory=memory,
    recent=jnp.stack([slots.before, rows.token], axis=1),
    tokens=jnp.zeros((len(rows.token), 0), jnp.int32),
    length=rows.length,
    limit=slots.limit,
    ended=rows.ended | ~slots.active,
    passes=jnp.zeros_like(rows.length),
    past=rows.past,
  )


def _after(draft, slots, progress, active):
  """Slots after a pass."""
  states, memory = progress.states, progress.memory
  if isinstance(draft, draft_model.DraftModel):
    states, memory = (states, memory.states), slots.memory
  before, token = progress.recent.T
  rows = slots.rows._replace(
    length=progress.length,
    token=token,
    ended=progress.ended,
    past=progress.past,
  )
  return slots._replace(
    states=states, memory=memory, before=before, rows=rows, active=active
  )
