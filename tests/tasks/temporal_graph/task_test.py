"""Problems on graphs: batches, the memory between them, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import event_graphs
from jaxseq.tasks import temporal_graph
from jaxseq.tasks.temporal_graph import network as graph_network
from tests import drawn

NETWORK = nn.NetworkConfig(nn.StackConfig("gru", d_model=6, num_layers=1))
VECTORS = {
  "message": "vectors",
  "target": "vectors",
  "score": "dot",
  "time_width": 2,
}


def graph(events=30, nodes=5, seed=0):
  """Events whose nodes are sources and destinations at once."""
  rng = np.random.default_rng(seed)
  pairs = rng.integers(0, nodes, (events, 2))
  return event_graphs.of_events(
    pairs[:, 0],
    pairs[:, 1],
    np.cumsum(rng.random(events)),
    "here",
    candidates=3,
  )


def problem(batch_size, splits=None, **options):
  arm = temporal_graph.ArmConfig(
    NETWORK,
    batch_size=batch_size,
    graph=graph_network.Options(**options),
    loss="full" if options.get("target") == "vectors" else "bce",
  )
  return temporal_graph.Problem(arm, splits or graph())


def places(one, variables):
  """Ranks of a problem's test events, by the scores of its network."""

  @jax.jit
  def ranked(variables, data):
    memory = one.read(variables, data)
    return one._follow(
      variables, data, memory, one.size, len(data["valid"]), data["valid"]
    )

  return ranked(variables, one.data)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"repeats": 2},
    pytest.param({"embedding": "time"}, marks=pytest.mark.slow),
  ],
)
def test_runs_of_nodes_give_what_batches_of_one_give(options):
  # 22 and 4 events: the last batches are not full; some go to their sources.
  options = {**VECTORS, **options}
  runs = problem(8, run="exact", **options)
  variables = drawn.variables(runs)
  memory, place = places(runs, variables)
  steps = problem(1, **options)
  waiting, expected = places(steps, variables)
  np.testing.assert_array_equal(place.higher, expected.higher)
  # Of steps, the last events of nodes are still to be seen.
  rows = jnp.arange(1, len(waiting.time))
  update = jax.jit(
    lambda variables: steps.network.apply(
      variables, waiting, rows, jnp.int32(0), False, method="_updated"
    )
  )
  _, seen = update(variables)
  np.testing.assert_allclose(
    memory.states[1][1:], seen.states[1], rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(memory.time[1:], seen.time)


def test_repeated_destinations_are_counted_before_training():
  splits = graph()
  one = problem(8, splits, run="exact", repeats=3, **VECTORS)
  variables = one.init(jax.random.key(0))
  # Of the vectors nothing is left.
  params = {k: v for k, v in variables["params"].items() if k != "vectors"}
  params["vectors"] = jnp.zeros_like(variables["params"]["vectors"])
  events, _, past, epoch = one.sample(jax.random.key(1), jnp.int32(1), one.data)
  scores = one.network.apply(
    {"params": params}, one.carry, events, epoch, None, past
  ).scores
  sources, destinations = splits.train.inputs.T
  for row, event in enumerate(range(8, 16)):
    before = destinations[:event][sources[:event] == sources[event]][-3:]
    counts = np.bincount(before, minlength=one.network.num_nodes)
    wanted = np.log1p(20 * counts)[one.network.first : one.network.last + 1]
    np.testing.assert_allclose(scores[row], wanted, rtol=1e-6)
  # Candidates are scored as all are.
  some = events.destination[:, None]
  found = one.network.apply(
    {"params": params}, one.carry, events, epoch, some, past
  ).scores
  np.testing.assert_allclose(
    found, np.take_along_axis(np.asarray(scores), some - one.network.first, 1)
  )


def test_pres_without_weight_is_bit_identical_to_none():
  plain = problem(8, time_width=2)
  pres = problem(8, time_width=2, pres=True, gamma=1.0, coherence=0.0)
  variables = drawn.variables(plain)
  key = jax.random.key(1)

  def results(one):
    @jax.jit
    def step(variables, data, carry, update):
      batch = one.sample(key, update, data)
      value, more = one.loss(variables, batch, carry, key)
      return value, more.carry

    carry, values = one.carry, []
    for update in range(3):
      value, carry = step(variables, one.data, carry, jnp.int32(update))
      values.append(value)
    return values, carry

  (first, memory), (second, other) = results(plain), results(pres)
  np.testing.assert_array_equal(first, second)
  for one, two in zip(memory[:-1], other[:-1]):
    jax.tree.map(np.testing.assert_array_equal, one, two)
  assert memory.rates is None
  assert other.rates.count.max() > 0


def test_order_within_a_batch_matters_to_its_nodes_alone():
  one = problem(4, time_width=2)
  variables, epoch = drawn.variables(one), jnp.int32(0)
  source, destination = jnp.array([1, 3, 1, 2]), jnp.array([2, 4, 5, 1])
  events = graph_network.Events(
    source, destination, jnp.arange(4.0), jnp.arange(4), None, jnp.ones(4, bool)
  )

  @jax.jit
  def after(events):
    outputs = one.network.apply(
      variables, one.carry, events, epoch, scored=False
    )
    return outputs.memory

  memory = after(events)
  # The last events of 1 and 2 are the last, in whatever role.
  assert memory.since.tolist() == [0, 3, 3, 1, 1, 2]
  assert memory.partner.tolist() == [0, 2, 1, 4, 3, 1]
  order = jnp.array([0, 2, 1, 3])
  other = after(jax.tree.map(lambda x: x[order], events))
  jax.tree.map(np.testing.assert_array_equal, memory, other)
  # What fills a batch up is not seen.
  short = after(events._replace(valid=jnp.array([True, True, True, False])))
  assert short.partner.tolist() == [0, 5, 1, 4, 3, 1]


def test_every_epoch_begins_with_a_fresh_memory():
  one = problem(8, time_width=2)
  assert (one.size, one.batches) == (22, 3)
  events = one.data["events"]
  assert np.all(np.diff(events.time) > 0)
  np.testing.assert_array_equal(events.destination[-4:], one.data["test"][:, 0])
  variables, key = drawn.variables(one), jax.random.key(1)

  @jax.jit
  def memory_after(update, carry, data):
    batch = one.sample(key, update, data)
    return one.loss(variables, batch, carry, key)[1].carry

  once = memory_after(jnp.int32(0), one.carry, one.data)
  later = once
  for update in range(1, 4):
    later = memory_after(jnp.int32(update), later, one.data)
  written = later.epoch == 1
  np.testing.assert_array_equal(written, once.epoch == 0)
  for name in ("time", "since", "partner"):
    both = (np.where(written, getattr(x, name), 0) for x in (once, later))
    np.testing.assert_array_equal(*both)


def test_what_makes_no_sense_is_refused():
  with pytest.raises(ValueError, match="run: got 'exact', expected 'waiting'"):
    graph_network.Options(run="exact")
  with pytest.raises(ValueError, match="aggregate: got 'mean', expected 'last"):
    graph_network.Options(message="vectors", aggregate="mean")
  for options in ({}, {"target": "vectors", "embedding": "attention"}):
    with pytest.raises(ValueError, match="repeats: got 3, expected 0, but wh"):
      graph_network.Options(repeats=3, **options)
  for options in ({"embedding": "time"}, {"message": "embeddings"}):
    arm = temporal_graph.ArmConfig(
      NETWORK, graph=graph_network.Options(**options), loss="full", batch_size=4
    )
    one = temporal_graph.Problem(arm, graph())
    with pytest.raises(ValueError, match="candidates: got None, expected give"):
      jax.eval_shape(one.init, jax.random.key(0))
  splits = data.load("item_chains", users=8, items=14, events=6)
  with pytest.raises(ValueError, match="the data: got 'inputs .*, expected ev"):
    problem(4, splits)
  pooled = dataclasses.replace(NETWORK, pooling="mean")
  with pytest.raises(ValueError, match="network.pooling: got 'mean'"):
    temporal_graph.ArmConfig(pooled)


@pytest.mark.slow
@pytest.mark.parametrize(
  "options",
  [
    {"message": "embeddings", "vectors": True, "neighbors": 2},
    {"embedding": "sum", "pres": True, "neighbors": 2},
    {"embedding": "attention", "target": "vectors", "score": "dot"},
  ],
)
def test_other_settings_learn_and_rank(options):
  one = problem(8, time_width=2, **options)
  variables, key = drawn.variables(one), jax.random.key(1)

  @jax.jit
  def results(variables, data):
    batch = one.sample(key, jnp.int32(0), data)
    both = jax.value_and_grad(one.loss, has_aux=True)
    (value, _), grads = both(variables, batch, one.carry, key)
    return value, grads, one.evaluate(variables, data)

  value, grads, metrics = results(variables, one.data)
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  assert 0 < metrics["mrr"] <= 1
  assert 0 < metrics["valid_mrr"] <= 1
