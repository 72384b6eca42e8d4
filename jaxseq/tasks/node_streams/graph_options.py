"""Options of networks over the events of a graph, and a batch of these."""

from collections.abc import Sequence
import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import _validate
from jaxseq import data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of the network around the memory.

  Attributes:
    run: when a node sees an event: "waiting", at its next one in a later batch,
      so that all events of a batch see the memory before it; or "exact", at
      once, so that results do not depend on the batch size.
    message: what an event tells a node of the other one: its "states"; those,
      but for sources the "embeddings" of their destinations; or its "vectors",
      which are learned, and do not change with time.
    function: from a message to the cell: "linear", or an "mlp".
    aggregate: what a node sees of several events in a batch: the "last", or the
      "mean" of their messages.
    embedding: how a node is read: "identity", its state; "time", projected by
      the time since; "sum" and "attention", with those of recent neighbors.
    target: whether destinations are read so, "states", or are their learned
      "vectors".
    score: of source and destination: an "mlp", or the product, "dot", beside
      which learned vectors have a bias.
    vectors: whether nodes have learned vectors, which the embeddings of
      neighbors add to the states; those of "vectors" always have.
    time_width: of the encoding of times.
    neighbors: recent ones that are read.
    heads: of the attention.
    pres: whether states are corrected by their running rates of change.
    gamma: weight of the cell's state in that; learned if None.
    coherence: weight of the penalty of states that turn, with `pres`.
    released: whether the code of TGN is followed where it differs: of a batch,
      destinations' messages count as later than all sources', a sum runs over
      neighbors that are not there as well, and the time since a node's last
      event is that since the first of all where it has seen none.
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
  pres: bool = False
  gamma: float | None = None
  coherence: float = 0.1
  released: bool = False

  def __post_init__(self):
    _validate.literals(self)
    counts = ("time_width", "neighbors", "heads")
    _validate.fields(self, positive=counts, not_negative=("coherence",))
    if self.gamma is not None:
      _validate.number("gamma", self.gamma, 0, 1)
    if self.message == "vectors" and self.aggregate == "mean":
      expected = "'last' where messages are 'vectors'"
      raise _validate.error("aggregate", "mean", expected)
    simple = self.message == self.target == "vectors" and not self.reads_graph
    if self.run == "exact" and (not simple or self.pres):
      expected = (
        "'waiting', but where message and target are 'vectors', embedding is "
        "'identity' or 'time' and pres is False: what else a node sees depends "
        "on the states of others in the batch"
      )
      raise _validate.error("run", "exact", expected)

  @property
  def reads_graph(self) -> bool:
    """True if neighbors are looked up."""
    return self.embedding in ("sum", "attention") or self.embeds

  @property
  def timeless(self) -> bool:
    """True if nodes are read alike at all times."""
    return self.embedding == "identity" and not self.reads_graph

  @property
  def embeds(self) -> bool:
    """True if messages have embeddings of destinations."""
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
  """Returns float64 times (n,) as two arrays of float32, which sum to them.

  So the difference of two times is exact to a millionth of itself, also where
  float32 steps over seconds: 2**27 seconds are four years.
  """
  high = time.astype(np.float32)
  return high, (time - high).astype(np.float32)


class Events(NamedTuple):
  """Events of a batch.

  Attributes:
    source: (n,) int32, from 1 on.
    destination: (n,) int32.
    time: (n,) float32, since the first event of all.
    before: (n,) int32, the number of the first event at that time.
    features: (n, k) float32, or None.
    valid: (n,) bool, False of what fills a batch up.
    rest: (n,) float32, what `time` lacks of the exact time; None if nothing.
  """

  source: jax.Array
  destination: jax.Array
  time: jax.Array
  before: jax.Array
  features: jax.Array | None
  valid: jax.Array
  rest: jax.Array | None = None
