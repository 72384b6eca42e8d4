"""The next events of the nodes of a graph, as an estimator."""

import dataclasses
from typing import Any
from typing import Self
from typing import final

import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import event_graphs
from jaxseq.data import series_frames
from jaxseq.data import sources
from jaxseq.estimators import base
from jaxseq.estimators import item_rows
from jaxseq.tasks import temporal_graph
from jaxseq.tasks.temporal_graph import answers as graph_answers
from jaxseq.tasks.temporal_graph import network as graph_network
from jaxseq.types import PyTree

_GRAPH = graph_network.Options(
  message="vectors", target="vectors", score="dot", run="exact", repeats=50
)


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class TemporalGraph(base.SequenceEstimator):
  """Ranks the destinations of nodes' next events, such as messages or payments.

    model = TemporalGraph().fit(frame)  # with source, destination and time
    model.predict(["anna", "bert"])
    model.predictions(["anna"])  # the ten best, with their scores

  X is a pandas frame with a row for each event, or the three columns source,
  destination and time themselves. Times are numbers or dates. Early stopping
  evaluates the last events. The very last one is read, but not trained on.

  Args:
    OPTIONS
    bipartite: whether sources and destinations are nodes of two kinds, so that
      equal names are different nodes.
    columns: column names of a frame.

  Attributes:
    model_: a `models.Model`, with the memory after all events.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_mrr".
    n_updates_: number of updates at which the variables were found.
  """

  _task = temporal_graph.TASK

  mixer: str = "gru"
  _: dataclasses.KW_ONLY
  d_model: int = 32
  num_layers: int = 1
  batch_size: int = 200
  bipartite: bool = False
  columns: tuple[str, str, str] = ("source", "destination", "time")

  @final
  def fit(self, X: object, y: object = None) -> Self:
    """Trains a network from the beginning, and reads all events.

    Args:
      X: see the class.
      y: not used.

    Raises:
      ValueError: naming the invalid input.
    """
    del y
    return self._fit(X)

  @final
  def predict(self, nodes: Any, times: Any = None) -> np.ndarray:
    """Returns the likeliest destination (n,) of each node's next event.

    Args:
      nodes: names of sources; or later events, see the class, each of which is
        read after its prediction.
      times: time of each event, not before the end of the training; its last
        time if None.

    Raises:
      ValueError: naming the invalid input.
    """
    examples = self._examples(nodes, times)
    best = self.model_.predict(examples).arrays["destination"][:, 0]
    found = np.empty(len(best), object)
    for row, node in zip(examples.ids, best):
      found[int(row)] = self.model_.preparation.name(int(node))
    return found.astype(str)

  def score(self, X: Any, y: Any = None) -> float:
    """Returns the mean reciprocal rank of the destinations of later events.

    All destinations of the training are ranked before an event is read; a
    destination without a training event counts as 0.

    Args:
      X: events after the training, see the class.
      y: not used.
    """
    del y
    examples = self._examples(X)
    place = self.model_.predict(examples).arrays["place"]
    return float(np.where(place > 0, 1 / np.maximum(place, 1), 0).mean())

  def _read(self, X: Any, times: Any = None, *, reset: bool) -> base.Rows:
    if reset or _are_events(X):
      begins, ends, stamps = item_rows.columns(X, self.columns, "TemporalGraph")
    else:
      begins, ends, stamps = item_rows.column(X), [""] * len(X), times
      for row, node in enumerate(begins):
        item_rows.user(f"node {row}", node)
      if times is None:
        stamps = [self.model_.preparation.last] * len(begins)
      if len(stamps) != len(begins):
        expected = f"{len(begins)}, one for each node"
        raise validate.error("times", len(stamps), expected)
    stamps = item_rows.stamps(stamps, lambda row: f"time of row {row}")
    order = np.argsort(stamps, kind="stable")
    pairs = list(zip(begins, ends))
    return base.Rows(
      [tuple(map(str, pairs[i])) for i in order],
      times=stamps[order],
      ids=tuple(map(str, order)),
    )

  def _material(
    self,
    rows: base.Rows,
    seed: int | None,
    prepared: sources.Source | None = None,
  ) -> base.Material:
    count = len(rows.values)
    if count < 2:
      raise validate.error("X", f"{count} events", "two or more")
    part = np.zeros(count, int)
    part[-1] = 2
    if self._patience(rows) != 0:
      held = max(1, round(count * self.validation_fraction))
      part[max(1, count - 1 - held) : -1] = 1
    begins, ends = zip(*rows.values)
    splits = event_graphs.of_events(
      begins,
      ends,
      np.asarray(rows.times),
      "X",
      prepared,
      bipartite=self.bipartite,
      parts=part,
      seed=seed or 0,
    )
    example = data.take(splits.train, slice(0, 1))
    size = len(splits.train.inputs)
    return base.Material(splits, size, splits.info.preparation, example)

  def _variables(
    self, network: Any, variables: PyTree, material: base.Material
  ) -> Any:
    return graph_answers.remembered(network, variables, material.source)

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    return prepared.prepare(rows.values, times=rows.times)

  def _configure(self, batch_size: int) -> temporal_graph.ArmConfig:
    return temporal_graph.ArmConfig(
      self._network("none"),
      self._recipe(),
      batch_size,
      graph=_GRAPH,
      loss="full",
    )


def _are_events(X):
  """Returns whether X is a frame or three columns, rather than node names."""
  frame = series_frames.is_frame(series_frames.of_pandas(X))
  return frame or (len(X) == 3 and all(np.ndim(x) == 1 for x in X))
