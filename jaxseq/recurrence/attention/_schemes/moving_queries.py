"""Attention over a split sequence: queries go round, results go home."""

import jax
from jax import lax

from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.averages import _softmax_state
from jaxseq.recurrence.shared import _collectives


def token_ring(problem: blocks.Problem, axis: str) -> jax.Array:
  """Averages by queries that go left and partial results that go home."""
  # Keys and values stay. In step t device i processes the queries of device i +
  # t and sends its partial results (m, u, w) to it.
  _, k, v, mask = problem[:4]
  devices = mask.layout.devices
  device = lax.axis_index(axis)
  visiting, state = problem.q, problem.nothing
  for step in range(devices):
    i = (device + step) % devices
    share = blocks.accumulate(problem.nothing, visiting, k, v, mask, i, device)
    if step:
      share = blocks.unpack(_collectives.shift(blocks.pack(share), axis, step))
    state = _softmax_state.softmax_combine(state, share)
    if step < devices - 1:
      visiting = _collectives.shift(visiting, axis, -1)
  return blocks.finish(problem, state)
