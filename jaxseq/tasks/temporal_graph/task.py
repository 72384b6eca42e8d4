"""Temporal graphs: prediction of the destination of a node's next event.

A network reads events in order of time, batch by batch, keeps a state per node
(`graph_network`), and scores destinations. Training repeats the events of the
training part, from a fresh memory in each epoch; the memory is the carry of the
problem. A trained network reads all events up to the evaluated ones, and ranks
the destination of each among its candidates (the protocol of TGB-Seq,
arXiv:2502.02975) before it reads the batch. The baselines are those of
`graph_baselines`.
"""

import dataclasses
from typing import Any
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import outputs as model_outputs
from jaxseq.tasks import ranking
from jaxseq.tasks import task
from jaxseq.tasks.temporal_graph import answers as graph_answers
from jaxseq.tasks.temporal_graph import baselines as graph_baselines
from jaxseq.tasks.temporal_graph import graph_options
from jaxseq.tasks.temporal_graph import network as graph_network
from jaxseq.tasks.temporal_graph import node_memory
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """Options of an arm's network and training.

  Attributes:
    batch_size: events of an update, in training and evaluation; a node's
      messages wait as long, see `graph_network.Options.run`.
    graph: options around the cell, which is the `stack` of the network.
    loss: "bce", of the destination and a random one, as in TGN; or "full", the
      cross-entropy over all destinations.
  """

  _: dataclasses.KW_ONLY
  graph: graph_network.Options = graph_network.Options()
  loss: Literal["bce", "full"] = "bce"

  def __post_init__(self):
    super().__post_init__()
    base.check_pooling(self.network, False, "every event is scored")
    self.network.stack.refuse("network.stack", batch_norm="in memories")


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on the events of a graph.

  Attributes:
    graph: fields of `graph_network.Options` that all arms share.
    loss: see `ArmConfig`.
  """

  _: dataclasses.KW_ONLY
  graph: arms.Fields = arms.EMPTY
  loss: Literal["bce", "full"] = "bce"


class Problem(base.ArrayProblem):
  """Predicting where events go.

  Args:
    arm: network and batch size, in events.
    splits: data as from `data.event_graphs.make_splits`.

  Raises:
    ValueError: if the data are not events of a graph, or a batch is larger than
      the training part.
  """

  validated = "mrr"

  def __init__(self, arm: ArmConfig, splits: data.Splits):
    named = zip(("train", "valid", "test"), splits[:3])
    sets = {name: base.host(one) for name, one in named if one is not None}
    first = sets["train"]
    if first.inputs.shape[1:] != (2,) or first.extras.times is None:
      got = f"inputs {first.inputs.shape}"
      raise validate.error("the data", got, "events (n, 2) with times")
    nodes, time, features = graph_options.joined(list(sets.values()))
    candidates = {
      name: np.concatenate([one.inputs[:, 1:], one.targets], axis=1)
      for name, one in sets.items()
      if name != "train"
    }
    ends = [nodes[:, 1], *candidates.values()]
    network = graph_network.GraphNetwork(
      arm.network,
      arm.graph,
      splits.info.vocab_size,
      min(int(x.min()) for x in ends),
      max(int(x.max()) for x in ends),
      0 if features is None else features.shape[1],
      gaps(first.inputs, first.extras.times[:, 0]),
      arm.batch_size,
      halved=True,
    )
    arrays: dict[str, Any] = candidates | {
      "events": graph_answers.events_of(nodes, time, features)
    }
    if arm.graph.reads_past:
      arrays["graph"] = graph_answers.past_of(network, nodes, time, features)
    super().__init__(arm, network, arrays, len(first.inputs))
    self.batches = -(-self.size // arm.batch_size)

  @property
  def carry(self) -> node_memory.Memory:
    """The memory before all events."""
    return self.network.memory()

  def init(self, key: jax.Array) -> PyTree:
    """Returns the initial variables of the network."""
    events = self._events(self.data, 0, 1, 1)
    return self.network.init(
      key,
      self.network.memory(),
      events,
      jnp.zeros((), jnp.int32),
      self._others(key, events),
      self._graph(self.data),
    )

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> PyTree:
    """Returns the next events, their candidates, neighbors and the epoch."""
    size = self.arm.batch_size
    begin = update % self.batches * size
    events = self._events(data, begin, self.size, size)
    key = jax.random.fold_in(key, update)
    epoch = (update // self.batches).astype(jnp.int32)
    return events, self._others(key, events), self._graph(data), epoch

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch, and the memory after it."""
    events, candidates, graph, epoch = batch
    inputs = carry, events, epoch, candidates, graph
    outputs, collections, penalty = base.in_training(
      self.network, variables, key, *inputs
    )
    if self.arm.loss == "full":
      label = jnp.maximum(events.destination - self.network.first, 0)
      value, _, _ = base.cross_entropy(outputs.scores, label, events.valid)
    else:
      sign = jnp.array([-1.0, 1.0])
      each = jax.nn.softplus(sign * outputs.scores).sum(axis=1)
      each = jnp.where(events.valid, each, 0).sum()
      value = each / jnp.maximum(events.valid.sum(), 1)
    metrics = {}
    if self.arm.graph.pres:
      metrics["incoherence"] = outputs.incoherence
      penalty = penalty + self.arm.graph.coherence * outputs.incoherence
    return value + penalty, supervised.Loss(
      metrics, collections, outputs.memory
    )

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Ranks the test events after reading all others.

    Returns:
      "mrr" and "hit_rate_10", and if there are validation events their
      "valid_mrr".
    """
    memory = self.read(variables, data)
    if self.part == "test":
      return self.rank(variables, data, "test", memory)[0]
    valid, memory = self.rank(variables, data, "valid", memory)
    metrics, _ = self.rank(variables, data, "test", memory)
    return metrics | {"valid_mrr": valid["mrr"]}

  def validate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Ranks the validation events; the test events if there are none."""
    if self.part == "test":
      return self.evaluate(variables, data)
    memory = self.read(variables, data)
    metrics, _ = self.rank(variables, data, "valid", memory)
    return {self.watched(name): value for name, value in metrics.items()}

  def read(self, variables: PyTree, data: PyTree) -> node_memory.Memory:
    """Returns the memory after the events of the training part.

    Args:
      variables: variables of the network.
      data: data of the problem.
    """
    memory, _ = self._follow(variables, data, self.carry, 0, self.size, None)
    return memory

  def rank(
    self,
    variables: PyTree,
    data: PyTree,
    part: str,
    memory: node_memory.Memory,
  ) -> tuple[supervised.Metrics, node_memory.Memory]:
    """Ranks the destinations of a part, batch by batch.

    Args:
      variables: variables of the network.
      data: data of the problem.
      part: "valid" or "test".
      memory: memory before the part.

    Returns:
      "mrr" and "hit_rate_10", and the memory after the part.
    """
    count = len(data[part])
    begin = self.size
    if part == "test" and self.part == "validation":
      begin += len(data["valid"])
    memory, place = self._follow(
      variables, data, memory, begin, count, data[part]
    )
    metrics = {
      "mrr": ranking.reciprocal_rank(place).mean(),
      "hit_rate_10": ranking.hit_rate(place, 10).mean(),
    }
    return metrics, memory

  def _follow(self, variables, data, memory, begin, count, candidates):
    """The memory after events, and the ranks of their destinations."""
    size, graph = self.arm.batch_size, self._graph(data)

    def step(memory, number):
      start = number * size
      events = self._events(data, begin + start, begin + count, size)
      some = None
      if candidates is not None:
        rows = start + jnp.arange(size)
        some = jnp.take(jnp.asarray(candidates), rows, axis=0, mode="clip")
      outputs = self.network.apply(
        variables,
        memory,
        events,
        jnp.zeros((), jnp.int32),
        some,
        graph,
        scored=some is not None,
      )
      place = None
      if some is not None:
        place = ranking.ranks(outputs.scores, jnp.zeros(size, jnp.int32))
      return outputs.memory, place

    memory, place = lax.scan(step, memory, jnp.arange(-(-count // size)))
    return memory, jax.tree.map(lambda x: x.reshape(-1)[:count], place)

  def _events(self, data, begin, end, size):
    """A batch of events, padded after the end."""
    index = begin + jnp.arange(size)
    events = jax.tree.map(
      lambda x: jnp.take(jnp.asarray(x), index, axis=0, mode="clip"),
      data["events"],
    )
    return events._replace(valid=index < end)

  def _others(self, key, events):
    """The candidates in training; None for all destinations."""
    if self.arm.loss == "full":
      return None
    low, high = self.network.first, self.network.last
    shape = events.destination.shape
    other = jax.random.randint(key, shape, low, high, events.destination.dtype)
    other += other >= events.destination
    return jnp.stack([events.destination, other], axis=1)

  def _graph(self, data):
    """All events by their nodes, if neighbors are read."""
    graph = data.get("graph")
    return None if graph is None else jax.tree.map(jnp.asarray, graph)


def gaps(
  nodes: np.ndarray, time: np.ndarray
) -> tuple[float, float, float, float]:
  """Returns mean and deviation of the times between a node's events.

  The first event of a node counts from time 0.

  Args:
    nodes: (n, 2).
    time: (n,) from 0 on, non-decreasing.

  Returns:
    Both for the sources, and both for the destinations.
  """
  numbers: list[float] = []
  for column in nodes.T:
    order = np.argsort(column, kind="stable")
    since = np.diff(time[order], prepend=0.0)
    first = np.diff(column[order], prepend=-1) != 0
    since[first] = time[order][first]
    numbers += [float(since.mean()), float(since.std()) or 1.0]
  mean_source, source, mean_destination, destination = numbers
  return mean_source, source, mean_destination, destination


TASK = task.Task(
  name="temporal_graph",
  arm=ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="mrr",
  better="higher",
  unit="events",
  columns={
    "mrr": "MRR",
    "hit_rate_10": "HR@10",
    "valid_mrr": "validation",
  },
  baselines=lambda splits, config, part: graph_baselines.floors(
    splits, part, config.batch_size
  ),
  kind="temporal_graph",
  outputs=model_outputs.Outputs(
    network=graph_network.GraphNetwork,
    arguments=graph_answers.arguments,
    compute=graph_answers.compute,
    predict=graph_answers.predict,
    time_axis=lambda network: None,
    calibrate=graph_answers.remembered,
  ),
  own_files=task.OwnFiles(
    fields={
      "batch_size": 200,
      # Nodes are encoded and ranked by learned vectors, event by event, and
      # by how often they were the source's destinations.
      "graph": {
        "message": "vectors",
        "target": "vectors",
        "score": "dot",
        "run": "exact",
        "repeats": 50,
      },
      "loss": "full",
    },
    stack={"d_model": 32, "num_layers": 1, "dropout": 0.0},
  ),
)
