"""Options of networks over the events of a graph, and batches of events."""

from collections.abc import Sequence
import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import data
from jaxseq import validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of the network around the memory.

  Attributes:
    run: when a node sees an event: "waiting", at its next one in a later batch,
      so that all events of a batch see the memory before it; or "exact", at
      once, so that results do not depend on the batch size.
    message: information about the other node in a message: its "states"; the
      same, but for sources the "embeddings" of their destinations; or its
      "vectors", which are learned, and do not change with time.
    function: map from a message to the cell: "linear", or an "mlp".
    aggregate: how several events of a node in a batch are combined: the "last",
      or the "mean" of their messages.
    embedding: representation of a node: "identity", its state; "time",
      projected by the time since; "sum" and "attention", with those of recent
      neighbors.
    target: representation of destinations: the same, "states", or their learned
      "vectors".
    score: score of source and destination: an "mlp", or the product, "dot", in
      which learned vectors also have a bias.
    vectors: whether nodes have learned vectors, which the embeddings of
      neighbors add to the states; always so with "vectors" above.
    time_width: width of the encoding of times.
    neighbors: number of recent neighbors that are read.
    heads: number of attention heads.
    repeats: number of a source's last destinations whose scores are raised, by
      learned weights; 0 for none. Only with "vectors" as target, and without
      the embeddings of neighbors.
    pres: whether states are corrected by their running rates of change.
    gamma: weight of the cell's state in that; learned if None.
    coherence: weight of the penalty of incoherent states, with `pres`.
    released: whether to follow the code of TGN where it differs: in a batch,
      destinations' messages count as later than all sources', a sum includes
      padded neighbors, and the time since a node's last event counts from the
      first event of all if it has seen none.
  """

  run: Literal["waiting", "exact"] = "waiting"
  message: Literal["states", "embeddings", "vectors"] = "states"
  function: Literal["linear", "mlp"] = "linear"
  aggregate: Literal["last", "mean"] = "last"
  embedding: Literal["identity", "time", "sum", "attention"] = "identity"
  target: Literal["states", "vectors"] = "states"
  score: Literal["mlp", "dot"] = "mlp"
  vectors: bool = False
  time_width: int = 16
  neighbors: int = 10
  heads: int = 2
  repeats: int = 0
  pres: bool = False
  gamma: float | None = None
  coherence: float = 0.1
  released: bool = False

  def __post_init__(self):
    validate.literals(self)
    counts = ("time_width", "neighbors", "heads")
    validate.fields(
      self, positive=counts, not_negative=("coherence", "repeats")
    )
    if self.gamma is not None:
      validate.number("gamma", self.gamma, 0, 1)
    if self.message == "vectors" and self.aggregate == "mean":
      expected = "'last' where messages are 'vectors'"
      raise validate.error("aggregate", "mean", expected)
    simple = self.message == self.target == "vectors" and not self.reads_graph
    if self.run == "exact" and (not simple or self.pres):
      expected = (
        "'waiting', but where message and target are 'vectors', embedding is "
        "'identity' or 'time' and pres is False: what else a node sees depends "
        "on the states of others in the batch"
      )
      raise validate.error("run", "exact", expected)

    if self.repeats and (self.target != "vectors" or self.reads_graph):
      expected = "0, but where target is 'vectors' and no neighbors are read"
      raise validate.error("repeats", self.repeats, expected)

  @property
  def reads_past(self) -> bool:
    """True if the network reads earlier events, see `graph_neighbors.of`."""
    return self.reads_graph or self.repeats > 0

  @property
  def past_count(self) -> int:
    """Number of the last events of a node that are read."""
    return self.repeats or self.neighbors

  @property
  def reads_graph(self) -> bool:
    """True if neighbors are read."""
    return self.embedding in ("sum", "attention") or self.embeds

  @property
  def timeless(self) -> bool:
    """True if the representation of nodes does not depend on time."""
    return self.embedding == "identity" and not self.reads_graph

  @property
  def embeds(self) -> bool:
    """True if messages contain embeddings of destinations."""
    return self.message == "embeddings"

  @property
  def has_vectors(self) -> bool:
    """True if nodes have learned vectors."""
    return self.vectors or "vectors" in (self.message, self.target)


def joined(
  sets: Sequence[data.ArrayDataset],
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Returns nodes (events, 2), times (events,) and features (events, k)."""
  features = [one.extras.features for one in sets]
  return (
    np.concatenate([one.inputs for one in sets]),
    np.concatenate([one.extras.times[:, 0] for one in sets]),
    None if features[0] is None else np.concatenate(features),
  )


def halves(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Splits float64 times (n,) into two float32 arrays that sum to them.

  So the difference of two times has a relative error of a millionth, even if
  float32 cannot represent seconds: 2**27 seconds are four years.
  """
  high = time.astype(np.float32)
  return high, (time - high).astype(np.float32)


class Events(NamedTuple):
  """A batch of events.

  Attributes:
    source: (n,) int32, from 1 on.
    destination: (n,) int32.
    time: (n,) float32, since the first event of all.
    before: (n,) int32, index of the first event at that time.
    features: (n, k) float32, or None.
    valid: (n,) bool, False in the padding of a batch.
    rest: (n,) float32, rounding error of `time`; None if it is 0.
  """

  source: jax.Array
  destination: jax.Array
  time: jax.Array
  before: jax.Array
  features: jax.Array | None
  valid: jax.Array
  rest: jax.Array | None = None
