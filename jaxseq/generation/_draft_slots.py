"""Drafts in the slots of an engine: several tokens of each row in one pass."""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.generation import _draft_passes
from jaxseq.generation import _drafts
from jaxseq.generation import _drawing
from jaxseq.generation import _network_checks
from jaxseq.generation import _pairs
from jaxseq.generation import _row_states
from jaxseq.generation import _slots
from jaxseq.generation import draft_model
from jaxseq.generation import recycling
from jaxseq.generation import requests
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


def readers(
  network: TokenNetwork,
  variables: PyTree,
  draft: _drafts.Draft | None,
  memory: PyTree,
) -> tuple[Any, PyTree, PyTree]:
  """Returns the readers of prompts in an engine with drafts."""
  if draft is None:
    if memory is not None:
      raise validate.error("memory", type(memory).__name__, "None: no drafts")
    return network, variables, None
  kinds = recycling.Recycling | draft_model.DraftModel
  expected = "a draft: Recycling(), or DraftModel(network)"
  validate.instance("drafts", draft, kinds, expected)
  vocab_size = _network_checks.vocab_size(network, variables)
  shared = draft.begin(memory, vocab_size, 1)
  if isinstance(draft, recycling.Recycling):
    return network, variables, shared
  networks = _pairs.Both(network, draft.network)
  return networks, (variables, memory.variables), None


def tuned_states(reader: Any, variables: PyTree) -> PyTree:
  """Returns the initial states of a row; None if they are not tuned."""
  pairs = [(reader, variables)]
  if isinstance(reader, _pairs.Both):
    pairs = list(zip((reader.network, reader.small), variables))
  if not any(_row_states.are_tuned(tree) for _, tree in pairs):
    return None
  states = [_row_states.fresh_states(*pair, 1) for pair in pairs]
  return tuple(states) if isinstance(reader, _pairs.Both) else states[0]


@dataclasses.dataclass(frozen=True)
class Drawing:
  """Draws with a draft, instead of `_slots.draw`."""

  draft: _drafts.Draft

  def __call__(
    self,
    network: TokenNetwork,
    variables: PyTree,
    slots: _slots.Slots,
    work: _slots.Work,
    most: int,
    constraint: Any,
  ) -> tuple[_slots.Slots, _slots.Drawn]:
    """Draws the tokens of at most `most` passes, each over a draft."""
    # The first token of a row is drawn after its prompt. From then on the
    # states are those before the row's last token, the root of the next draft,
    # and never contain rejected tokens.
    depth = self.draft.tree.paths.shape[1]
    fresh = slots.active & (slots.rows.length == 0) & (work.steps > 0)

    def step(done, slots, drawn):
      slots, newest = self._passed(network, variables, slots, work, constraint)
      return slots, _put(drawn, newest, 1 + done * depth)

    active = jnp.sum(slots.active)
    drawn = _slots.nothing(1 + most * depth, slots, work)
    slots, drawn = lax.cond(
      jnp.any(fresh),
      _first,
      lambda *same: same[:2],
      *(slots, drawn, fresh, work, constraint),
    )
    return _slots.repeated(step, slots, drawn, work, active)

  def _passed(self, network, variables, slots, work, constraint):
    """Returns slots after one pass, and the tokens that it has drawn."""
    large, weights = network, variables
    states, memory = slots.states, slots.memory
    pair = isinstance(network, _pairs.Both)
    if pair:
      large, weights = network.network, variables[0]
      states, memory = states[0], draft_model.Memory(variables[1], states[1])
    # Ended rows do not change.
    rows = slots.rows._replace(ended=slots.rows.ended | ~slots.active)
    progress, verdict, logs = _draft_passes.advance(
      large,
      weights,
      _draft_passes.Progress(rows, slots.before, slots.limit, states, memory),
      draft=self.draft,
      controls=_slots.awake(slots.controls, slots.active, work.extras),
      constraint=constraint,
      tops=0 if work.extras is None else requests.MOST_TOPS,
    )
    best = None
    if work.extras is not None:
      logs, best = logs
      best = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), best)
    tokens = verdict.tokens.T
    valid = jnp.arange(len(tokens))[:, None] < verdict.count
    ended = jnp.broadcast_to(slots.active & progress.rows.ended, valid.shape)
    states, memory = progress.states, progress.memory
    if pair:
      states, memory = (states, memory.states), slots.memory
    slots = slots._replace(
      states=states,
      memory=memory,
      before=progress.before,
      rows=progress.rows,
      active=slots.active & ~progress.done,
    )
    return slots, _slots.Drawn(tokens, logs.T, valid, ended, best)


def _put(drawn, newest, place):
  """Writes the newest drawn tokens to others at a place."""
  return jax.tree.map(
    lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, place, 0),
    drawn,
    newest,
  )


def _first(slots, drawn, fresh, work, constraint):
  """Draws the first tokens of rows."""
  controls = _slots.awake(slots.controls, fresh, work.extras)
  rows, log_prob = _drawing.next_token(
    constraint, controls, slots.rows, slots.logits
  )
  best = _slots.tops(jax.nn.log_softmax(slots.logits), work)
  newest = _slots.Drawn(rows.token, log_prob, fresh, rows.ended, best)
  drawn = jax.tree.map(lambda leaf, new: leaf.at[0].set(new), drawn, newest)
  old = slots.rows
  rows = _row_states.where(
    fresh, rows._replace(keys=fresh), old._replace(keys=fresh)
  )
  rows = rows._replace(keys=old.keys)
  ends = rows.ended | (rows.length >= slots.limit)
  return slots._replace(rows=rows, active=slots.active & ~ends), drawn
