"""Rows of a memory: which are written, and PRES."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.temporal_graph import node_memory


def fresh(nodes, rates=True):
  # The layers' states are no states here: the output is all there is.
  return node_memory.fresh({"none": jnp.zeros((nodes, 1))}, 4, 1, rates)


def row(memory, nodes):
  start = {"none": jnp.zeros((1, 1))}, jnp.zeros((1, 4))
  return node_memory.take(memory, jnp.asarray(nodes), jnp.int32(0), start, 0.0)


def test_the_last_of_several_writers_wins():
  rng = np.random.default_rng(0)
  nodes, order = rng.integers(0, 5, 40), rng.permutation(40)
  valid = rng.random(40) < 0.7
  expected = {}
  for place in np.argsort(order):
    if valid[place]:
      expected[nodes[place]] = place
  winner = node_memory.last(*map(jnp.asarray, (nodes, order, valid)), 5)
  assert sorted(np.flatnonzero(winner)) == sorted(expected.values())


def test_rows_of_another_epoch_are_fresh():
  memory = fresh(3)
  rows = row(memory, [1, 2])
  rows = rows._replace(time=jnp.array([4.0, 5.0]), waiting=jnp.ones(2, bool))
  memory = node_memory.put(
    memory, jnp.array([1, 2]), rows, jnp.array([True, False])
  )
  assert memory.time.tolist() == [0, 4, 0]
  assert memory.waiting.tolist() == [False, True, False]
  later = node_memory.take(
    memory,
    jnp.array([1]),
    jnp.int32(1),
    ({"none": jnp.ones((1, 1))}, jnp.full((1, 4), 7.0)),
  )
  assert later.time.tolist() == [node_memory.UNSEEN]
  assert node_memory.since(later.time, jnp.array([9.0])).tolist() == [0]
  assert not later.waiting[0]
  assert later.states[1].tolist() == [[7] * 4]


@pytest.mark.slow
def test_pres_is_that_of_the_equations(golden, x64):
  known = golden("temporal_graph/pres_equations")
  count = len(known["final_variance"])
  memory = jax.tree.map(
    lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x,
    fresh(count),
  )
  gamma, beta = known["gamma"], known["beta"]
  for step in range(5):
    of = {k[3:]: v for k, v in known.items() if k.startswith(f"k{step}/")}
    nodes, time = of["nodes"], jnp.asarray(of["time"])
    rows = row(memory, nodes)
    states = rows.states[0], jnp.asarray(of["measured"])
    guess = node_memory.predicted(rows, time)[1]
    np.testing.assert_allclose(guess, of["predicted"], rtol=1e-6)
    mixed, rates = node_memory.corrected(rows, states, time, gamma)
    np.testing.assert_allclose(mixed[1], of["corrected"], rtol=1e-6)
    penalty = beta * node_memory.incoherence(
      rows.states[1], mixed[1], jnp.ones(len(nodes), bool)
    )
    np.testing.assert_allclose(penalty, of["penalty"], rtol=1e-6)
    rows = rows._replace(states=mixed, time=time, rates=rates)
    memory = node_memory.put(memory, nodes, rows, jnp.ones(len(nodes), bool))
    for name, value in {
      "memory": memory.states[1],
      "last_update": memory.time,
      "count": memory.rates.count,
      "xi": memory.rates.total[1],
      "psi": memory.rates.squares[1],
    }.items():
      np.testing.assert_allclose(value, of[name], rtol=1e-6, err_msg=name)
  # A difference of squares: it loses digits.
  np.testing.assert_allclose(
    memory.rates.variance()[1], known["final_variance"], rtol=1e-5, atol=1e-9
  )


def test_pres_foresees_a_linear_drift():
  memory, slope = fresh(1), jnp.array([1.0, -2.0, 0.5, 0.0])
  for time in (1.0, 3.0, 4.0):
    rows, now = row(memory, [0]), jnp.array([time])
    states = rows.states[0], slope[None] * time
    mixed, rates = node_memory.corrected(rows, states, now, 1.0)
    if time > 1:
      guess = node_memory.predicted(rows, now)[1]
      np.testing.assert_allclose(guess, states[1], rtol=1e-6)
    rows = rows._replace(states=mixed, time=now, rates=rates)
    memory = node_memory.put(memory, jnp.array([0]), rows, jnp.array([True]))
  # A rate over no time is none.
  same = row(memory, [0])
  _, rates = node_memory.corrected(same, states, jnp.array([4.0]), 0.5)
  assert rates.count.tolist() == [3]
  assert np.isfinite(rates.total[1]).all()
