"""The destinations that a trained network predicts, after all known events.

A graph model contains the memory after all events of its data, including those
for validation and testing. A file of later events continues it: the
destinations of a row are ranked from the memory before it (before its batch, if
messages wait as in training), and then the row is read. A row without a
destination is a query and does not change the memory. `compute` answers queries
right after the training data.
"""

from collections.abc import Mapping
import functools
from typing import Any

from absl import logging
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.tasks import outputs
from jaxseq.tasks.temporal_graph import graph_neighbors
from jaxseq.tasks.temporal_graph import graph_options
from jaxseq.tasks.temporal_graph import network as graph_network
from jaxseq.tasks.temporal_graph import node_memory
from jaxseq.types import PyTree

TOP = 10
# Entries of a model's variables that do not belong to the network.
_OF_PAST = ("memory", "past", "destinations")


def events_of(
  nodes: np.ndarray,
  time: np.ndarray,
  features: np.ndarray | None,
  earlier: np.ndarray | None = None,
) -> graph_network.Events:
  """Converts consecutive events to the network's form.

  Args:
    nodes: (n, 2) sources and destinations; an event without one is not valid.
    time: (n,) float64 since the first event of all, non-decreasing.
    features: (n, k) or None.
    earlier: (m,) float64 times of all events before, if they count.
  """
  valid = nodes[:, 1] > 0
  every = time[valid]
  if earlier is not None:
    every = np.concatenate([earlier, every])
  high, rest = graph_options.halves(time)
  return graph_network.Events(
    nodes[:, 0],
    nodes[:, 1],
    high,
    np.searchsorted(every, time).astype(np.int32),
    features,
    valid,
    rest,
  )


def past_of(
  network: graph_network.GraphNetwork,
  nodes: np.ndarray,
  time: np.ndarray,
  features: np.ndarray | None,
) -> graph_neighbors.Neighbors:
  """Returns the events that a network looks up, see `graph_neighbors.index`."""
  sources = network.options.repeats > 0
  count = network.num_nodes
  return graph_neighbors.index(nodes, time, features, count, sources)


def arguments(
  network: graph_network.GraphNetwork, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "source" (n,), "time" (n,) and perhaps "features" (n, k).

  "time_rest" (n,) is the rounding error of "time".
  """
  time, rest = graph_options.halves(dataset.extras.times[:, 0])
  return outputs.present(
    source=dataset.inputs[:, 0],
    time=time,
    time_rest=rest if network.halved else None,
    features=dataset.extras.features,
  )


def compute(
  network: graph_network.GraphNetwork,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns "destination" (n, k) int32, the best first, and their "score".

  k is `TOP`, or the number of destinations if smaller. Every row is a query
  right after the training data.
  """
  variables = jax.tree.map(jnp.asarray, variables)
  memory, graph = _memory(network, variables), _graph(variables)
  source, time = arguments["source"], arguments["time"]
  rest = arguments.get("time_rest")
  before = jnp.zeros_like(source)
  if graph is not None:
    before = graph_neighbors.before(graph, time, rest)
  events = graph_network.Events(
    source,
    jnp.zeros_like(source),
    time,
    before,
    arguments.get("features"),
    jnp.zeros(source.shape, bool),
    rest,
  )
  scores = _scores(network, variables, memory, events, graph)
  return _best(network, scores)


def remembered(
  network: graph_network.GraphNetwork, variables: PyTree, splits: data.Splits
) -> dict[str, Any]:
  """Returns the variables with the memory after all events.

  Args:
    network: network of a `temporal_graph.Problem`.
    variables: variables of the network.
    splits: splits that it was trained on.

  Returns:
    The variables, "memory" and, if earlier events are read, "past": the last
    ones of each node. If some nodes between the first and the last destination
    are not destinations, there is the mask "destinations" (n,).
  """
  sets = [x for x in (splits.train, splits.valid, splits.test) if x is not None]
  memory, earlier = network.memory(), np.zeros(0)
  nodes, time, features = graph_options.joined(sets)
  graph = None
  if network.options.reads_past:
    graph = past_of(network, nodes, time, features)
  for one in sets:
    at = one.extras.times[:, 0]
    events = events_of(one.inputs, at, one.extras.features, earlier)
    memory, _ = _follow(
      network,
      variables,
      memory,
      jax.tree.map(jnp.asarray, graph),
      _batched(events, network.batch_length),
      False,
    )
    earlier = np.concatenate([earlier, at])
  whole = {**variables, "memory": _flat(memory)}
  if graph is not None:
    whole["past"] = _last_events(nodes, time, features, network)
  every = np.arange(network.first, network.last + 1)
  ends = np.isin(every, nodes[:, 1])
  if not ends.all():
    whole["destinations"] = ends
  return whole


def predict(
  model: Any, examples: data.Examples
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Returns a row for each of the best destinations of an event.

  The true destination also has a row, whatever its rank, unless it is not a
  destination in training.

  Args:
    model: a `models.Model` of a graph.
    examples: examples from `model.examples`, in order of time.

  Returns:
    Columns by name, and the arrays of `compute` with "place" (n,): the rank of
    the true destination among all, from 1 on; 0 without one.
  """
  network, dataset = model.network, examples.dataset
  nodes, time = dataset.inputs, dataset.extras.times[:, 0]
  features = dataset.extras.features
  count = max(int(nodes.max()) + 1, network.num_nodes)
  wide = network.clone(num_nodes=count)
  variables, memory = _widened(model.variables, network, wide)
  past, graph = model.variables.get("past"), None
  if past is not None:
    seen = nodes[:, 1] > 0
    graph = past_of(
      wide,
      np.concatenate([past["nodes"], nodes[seen]]),
      np.concatenate([past["time"], time[seen]]),
      None
      if features is None
      else np.concatenate([past["features"], features[seen]]),
    )
  events = events_of(
    nodes, time, features, None if past is None else past["time"]
  )
  # A query concerns only its node, not other rows of its batch.
  alone = network.options.run == "exact" and not events.valid.all()
  _, arrays = _follow(
    wide,
    variables,
    memory,
    jax.tree.map(jnp.asarray, graph),
    _batched(events, 1 if alone else network.batch_length),
    True,
  )
  arrays = {
    name: np.asarray(x).reshape(-1, *x.shape[2:])[: len(nodes)]
    for name, x in arrays.items()
  }
  return _columns(model, examples, arrays), arrays


def _columns(model, examples, arrays):
  """The rows of a table."""
  nodes, place = examples.dataset.inputs, arrays["place"]
  unranked = int(((place == 0) & (nodes[:, 1] > 0)).sum())
  if unranked:
    logging.warning(
      "%d of %d events go to a node that no event of the training went to: such"
      " a node has no rank, and these events no row that happened.",
      *(unranked, len(nodes)),
    )
  happened = arrays.pop("happened")
  k = arrays["score"].shape[1]
  shown = np.ones((len(nodes), k + 1), bool)
  shown[:, :k] = ~np.isneginf(arrays["score"])
  shown[:, k] = place > k
  columns = outputs.rows(examples.ids, shown, "rank")
  ranks = np.tile(np.arange(1, k + 2), (len(nodes), 1))
  ranks[:, k] = place
  every = np.concatenate([arrays["destination"], nodes[:, 1:]], axis=1)
  scores = np.concatenate([arrays["score"], happened[:, None]], axis=1)
  columns["rank"] = ranks[shown]
  names = [model.preparation.name(int(node)) for node in every[shown]]
  columns["destination"] = np.array(names)
  columns["score"] = scores[shown]
  if examples.labeled:
    columns["happened"] = (every == nodes[:, 1:])[shown]
  return columns


@functools.partial(jax.jit, static_argnums=(0, 5))
def _follow(network, variables, memory, graph, batches, scored):
  """The memory after batches of events, and the predictions of each."""

  def step(memory, events):
    answers = {}
    if scored:
      scores = _scores(network, variables, memory, events, graph)
      answers = _best(network, scores) | _happened(network, scores, events)
    after = network.apply(
      _of_network(variables),
      memory,
      events,
      jnp.zeros((), jnp.int32),
      None,
      graph,
      scored=False,
    )
    return after.memory, answers

  return lax.scan(step, memory, batches)


def _scores(network, variables, memory, events, graph):
  """Scores (n, nodes) of the destinations; -inf for other nodes."""
  options = network.options

  def scored(events, candidates):
    return network.apply(
      _of_network(variables),
      memory,
      events,
      jnp.zeros((), jnp.int32),
      candidates,
      graph,
    ).scores

  every = None
  if not options.timeless and options.target != "vectors":
    # The score of a destination depends on the time of the event.
    every = jnp.arange(network.first, network.last + 1)[None]

  def of(row):
    return scored(jax.tree.map(lambda x: x[None], row), every)[0]

  if not isinstance(events.source.shape[0], int):
    scores = jax.vmap(of)(events)
  elif every is None:
    scores = scored(events, None)
  else:
    # One row at a time takes less memory, but needs a static row count.
    scores = lax.map(of, events)
  there = variables.get("destinations")
  return scores if there is None else jnp.where(there, scores, -jnp.inf)


def _best(network, scores):
  """The destinations with the highest scores; ties by lower number."""
  count = min(TOP, network.last - network.first + 1)
  scores, best = lax.top_k(scores, count)
  return {
    "destination": best.astype(jnp.int32) + network.first,
    "score": scores,
  }


def _happened(network, scores, events):
  """The rank and the score of the true destinations."""
  index = jnp.arange(scores.shape[1])
  goal = (events.destination - network.first)[:, None]
  inside = (goal >= 0) & (goal < len(index)) & (events.destination > 0)[:, None]
  score = jnp.take_along_axis(scores, jnp.where(inside, goal, 0), axis=1)
  inside &= ~jnp.isneginf(score)
  ahead = (scores > score) | ((scores == score) & (index < goal))
  place = jnp.where(inside[:, 0], 1 + ahead.sum(axis=1), 0)
  return {"place": place.astype(jnp.int32), "happened": score[:, 0]}


def _of_network(variables):
  """The network's variables, without the additional entries."""
  return {k: x for k, x in variables.items() if k not in _OF_PAST}


def _batched(events, size):
  """Events in batches, with a batch axis in front; the last is padded."""
  count = len(events.source)
  rows = np.arange(-(-count // size) * size).reshape(-1, size)
  inside = rows < count
  taken = jax.tree.map(lambda x: x[np.minimum(rows, count - 1)], events)
  return taken._replace(valid=taken.valid & inside)


def _flat(memory):
  """The arrays of a memory by number, complex ones as pairs of real numbers."""
  # Fields that earlier files lack are stored by name.
  names = node_memory.ADDED
  added = {name: np.asarray(getattr(memory, name)) for name in names}
  memory = memory._replace(**dict.fromkeys(names))
  leaves = [np.asarray(x) for x in jax.tree.leaves(memory)]
  return added | {
    str(i): np.stack([x.real, x.imag], -1) if np.iscomplexobj(x) else x
    for i, x in enumerate(leaves)
  }


def _memory(network, variables) -> node_memory.Memory:
  """Inverse of `_flat`."""
  names, fresh = node_memory.ADDED, jax.eval_shape(network.memory)
  leaves, form = jax.tree.flatten(fresh._replace(**dict.fromkeys(names)))
  stored = [variables["memory"][str(i)] for i in range(len(leaves))]
  memory = form.unflatten(
    lax.complex(x[..., 0], x[..., 1])
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating)
    else x
    for x, leaf in zip(stored, leaves)
  )
  zeros = jnp.zeros(fresh.time.shape, jnp.float32)
  added = {name: variables["memory"].get(name, zeros) for name in names}
  return memory._replace(**added)


def _last_events(nodes, time, features, network):
  """The events that are among the last of any node, with neighbors."""
  count = network.options.past_count
  graph = past_of(network, nodes, time, features)
  ends = np.repeat(graph.begin[1:], np.diff(graph.begin))
  rows = np.unique(graph.event[np.arange(len(ends)) >= ends - count])
  past = {"nodes": nodes[rows], "time": time[rows]}
  # Device times are float32.
  past["rest"] = graph_options.halves(time[rows])[1]
  if features is not None:
    past["features"] = features[rows]
  late = past_of(network, nodes[rows], time[rows], None)
  return past | {"begin": late.begin, "node": late.node, "event": late.event}


def _graph(variables: Mapping[str, Any]):
  """The neighbors after training; None if they are not read."""
  past = variables.get("past")
  if past is None:
    return None
  return graph_neighbors.Neighbors(
    *(past[name] for name in ("begin", "node", "event")),
    jnp.asarray(past["time"], jnp.float32),
    past.get("features"),
    past.get("rest"),
  )


def _widened(variables, network, wide) -> tuple[PyTree, PyTree]:
  """The variables and the memory of a network with additional nodes."""
  memory = jax.tree.map(jnp.asarray, _memory(network, variables))
  more = wide.num_nodes - network.num_nodes
  if not more:
    return variables, memory
  memory = jax.tree.map(
    lambda x, old: x.at[: network.num_nodes].set(old), wide.memory(), memory
  )
  params = dict(variables["params"])
  for name in ("vectors", "bias"):
    if name in params:
      x = np.asarray(params[name])
      params[name] = np.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1))
  return {**variables, "params": params}, memory
