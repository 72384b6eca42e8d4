"""Decoding from networks that point at their inputs, by beam search.

`pointer.PointerNetwork` and `set_network.SetNetwork` have the methods
`begin` and `step`; their choices are the tokens of `beams.beam_search`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.generation import beams as search
from jaxseq.generation import constraints
from jaxseq.generation import offline
from jaxseq.types import PyTree


@functools.partial(jax.jit, static_argnums=0)
def _begin(network, variables, points, lengths):
  """Compiled part that initializes a search."""
  return network.apply(variables, points, lengths, method="begin")


def decode(
  network: Any,
  variables: PyTree,
  points: jax.Array,
  time: int,
  *,
  lengths: jax.Array | None = None,
  beams: int = 1,
  end: int | None = 0,
  constraint: constraints.Constraint | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Searches for the most probable choices; with one beam, greedily.

      network = PointerNetwork(PointerConfig(no_repeat=True))
      chosen, log_prob = decode(network, variables, points, 10, beams=4)

  Args:
    network: a `PointerNetwork`, a `SetNetwork`, or one with their methods.
    variables: of the network.
    points: (*batch, n, features).
    time: number of choices.
    lengths: (*batch,) numbers of points; n if None.
    beams: number of beams.
    end: the choice that ends a row; None for networks without a terminator.
    constraint: constraint of the choices, such as a `Tour`.

  Returns:
    (*batch, beams, time) int32, the best first, with only `end` after it; and
    their log probabilities, (*batch, beams).

  Raises:
    ValueError: as in `beam_search`.
  """
  logits, states = _begin(network, variables, points, lengths)
  seen = jnp.zeros(logits.shape, bool)
  result = search.beam_search(
    network,
    variables,
    offline.Prefix(logits, states, seen),
    time,
    beams=beams,
    end_token=end,
    constraint=constraint,
  )
  best = search.ranked(result)
  return best.tokens, best.log_prob


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tour:
  """A constraint: every city once, and then the end, choice 0.

  Its state are the remaining choices, (*batch, cities + 1) bool; the search has
  three axes: batches, groups and beams.

  Attributes:
    lengths: (batch,) numbers of cities.
    cities: maximum number of cities.
  """

  lengths: jax.Array
  cities: int = dataclasses.field(metadata={"static": True})

  def initial(self, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """Returns the state before the first city."""
    place = jnp.arange(self.cities + 1)
    rows = (place > 0) & (place <= self.lengths[:, None])
    if not batch_shape:  # Without a row: as if it had all cities.
      return place > 0
    wide = rows.reshape(
      rows.shape[0], *[1] * (len(batch_shape) - 1), len(place)
    )
    return jnp.broadcast_to(wide, (*batch_shape, len(place)))

  def allowed(self, state: jax.Array) -> jax.Array:
    """Returns the allowed choices, (*batch, cities + 1) bool."""
    return state.at[..., 0].set(~state.any(axis=-1))

  def advance(self, state: jax.Array, token: jax.Array) -> jax.Array:
    """Returns the remaining choices after a choice."""
    return state & (jnp.arange(self.cities + 1) != token[..., None])
