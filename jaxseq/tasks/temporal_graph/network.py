"""A network over the events of a graph, whose nodes have a memory.

Any stack of mixers is the cell of the memory: a node's state makes a step at
each of its events. TGN, JODIE and DyRep are settings of `Options`:

    TGN    gru, embedding "attention" or "sum"
    JODIE  elman, embedding "time"
    DyRep  elman, message "embeddings", embedding "identity"

Sources: Rossi et al., arXiv:2006.10637, and its code; Kumar et al., JODIE,
arXiv:1908.01207; Trivedi et al., DyRep, 2019; PRES, arXiv:2402.04284.
"""

from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import masks
from jaxseq.tasks.temporal_graph import graph_neighbors
from jaxseq.tasks.temporal_graph import graph_options
from jaxseq.tasks.temporal_graph import node_memory

Options = graph_options.Options
Events = graph_options.Events

# How many times as likely as one without an event a destination with one is,
# before training.
_REPEATED = 20.0


class Outputs(NamedTuple):
  """The results for a batch.

  Attributes:
    scores: (n, candidates), or None.
    memory: memory after the batch.
    incoherence: see `node_memory.incoherence`; 0 without PRES.
  """

  scores: jax.Array | None
  memory: node_memory.Memory
  incoherence: jax.Array | float


class GraphNetwork(linen.Module):
  """A memory of nodes, and scores of the destinations of events.

  Attributes:
    config: options of the cell: its `stack`; and the `embedding_scale` of
      vectors in messages, which are initialized at .02, while times are near 1.
    options: options of the network.
    num_nodes: number of nodes, including the padding node 0.
    first: first destination.
    last: last destination; destinations are consecutive.
    num_features: number of features of an event.
    gaps: mean and deviation of the time between events of a source, and of a
      destination, which normalize times for "time".
    batch_length: number of events that see the same memory if messages wait, in
      training and in predictions for a file.
    halved: whether times have two parts, see `graph_options.halves`; not in
      older files.
  """

  config: nn.NetworkConfig
  options: Options
  num_nodes: int
  first: int
  last: int
  num_features: int = 0
  gaps: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
  batch_length: int = 1
  halved: bool = False

  def setup(self) -> None:
    """Creates the modules that the options require."""
    options, d = self.options, self.config.stack.d_model
    self.stack = nn.SequenceModel(self.config.stack)
    self.frequency = self.param(
      "frequency",
      lambda key, size: 10 ** -jnp.linspace(0.0, 9.0, size),
      options.time_width,
    )
    self.phase = self.param(
      "phase", linen.initializers.zeros, (options.time_width,)
    )
    if options.has_vectors:
      shape = self.num_nodes, d
      self.vectors = self.param(
        "vectors", linen.initializers.normal(0.02), shape
      )
    if options.target == "vectors" and options.score == "dot":
      self.bias = self.param(
        "bias", linen.initializers.zeros, (self.num_nodes,)
      )
    if options.repeats:
      # By how many events ago a destination was the source's.
      zeros = linen.initializers.zeros
      self.recency = self.param("recency", zeros, (options.repeats,))
      self.repeat = self.param("repeat", zeros, ())
    if options.function == "mlp":
      self.hidden = dense.Dense((d + self._message_width) // 2)
    self.encoder = dense.Dense(d)
    if options.embedding == "time":
      self.projection = dense.Dense(d)
    if options.reads_graph:
      width = d + options.time_width
      if self._read == "sum":
        self.neighbor, self.joined = dense.Dense(d), dense.Dense(d)
      else:
        validate.integer("heads", options.heads, 1, width)
        inside = options.heads * (width // options.heads)
        self.query, self.key, self.value = (
          dense.Dense(inside) for _ in range(3)
        )
        self.attended = dense.Dense(width)
        self.merged, self.joined = dense.Dense(d), dense.Dense(d)
    if options.score == "mlp":
      self.from_source = dense.Dense(d)
      self.from_target = dense.Dense(d, use_bias=False)
      self.score = dense.Dense(1)
    if options.pres and options.gamma is None:
      self.gamma = self.param("gamma", linen.initializers.constant(2.0), ())

  @property
  def _by_vector(self):
    """True if messages do not contain states."""
    return self.options.message == "vectors"

  @property
  def _read(self):
    """The way to read neighbors; DyRep does so only for messages."""
    return "sum" if self.options.embedding == "sum" else "attention"

  @property
  def _message_width(self):
    """Width of a message, without the state of its node."""
    width = self.num_features + self.options.time_width
    return width + (0 if self._by_vector else self.config.stack.d_model)

  @linen.nowrap
  def memory(self) -> node_memory.Memory:
    """Returns the memory before all events."""
    stack = nn.SequenceModel(self.config.stack, parent=None)
    return node_memory.fresh(
      stack.initial_state((self.num_nodes,)),
      self.config.stack.d_model,
      self._message_width,
      self.options.pres,
    )

  def __call__(
    self,
    memory: node_memory.Memory,
    events: Events,
    epoch: jax.Array,
    candidates: jax.Array | None = None,
    graph: graph_neighbors.Neighbors | None = None,
    scored: bool = True,
    train: bool = False,
  ) -> Outputs:
    """Scores the destinations of a batch of events, and updates the memory.

    Args:
      memory: memory before the batch.
      events: n events of the batch.
      epoch: () int32; rows of the memory of other epochs are fresh.
      candidates: (n, k) destinations to score; all of them, from `first` on, if
        None.
      graph: all events, if neighbors or repeated destinations are read.
      scored: whether to compute scores.
      train: whether dropout is on.
    """
    arguments = memory, events, epoch
    if self.options.run == "exact":
      z, memory = self._run(*arguments, train)
      scores = None
      if scored:
        scores = self._score_vectors(z, events, candidates, graph)
      return Outputs(scores, memory, 0.0)
    return self._wait(*arguments, candidates, graph, scored, train)

  def _wait(self, memory, events, epoch, candidates, graph, scored, train):
    """The batch if messages wait for their nodes' next events."""
    options, count = self.options, len(events.source)
    both = jnp.concatenate([events.source, events.destination])
    others = jnp.zeros(0, both.dtype)
    if scored and options.target == "states":
      if candidates is None and not options.timeless:
        expected = "given, as embeddings differ from event to event"
        raise validate.error("candidates", None, expected)
      every = jnp.arange(self.first, self.last + 1)
      others = every if candidates is None else candidates.ravel()
    nodes = jnp.concatenate([both, others])
    found, wanted, at = None, nodes, None
    if not options.timeless:
      # The event index of each node.
      number = jnp.arange(count)
      event = jnp.repeat(number, len(others) // count)
      event = jnp.concatenate([number, number, event])
      at = events.time[event], _rest(events)[event]
    if options.reads_graph:
      before = events.before[event]
      found = graph_neighbors.recent(graph, nodes, before, options.neighbors)
      wanted = jnp.concatenate([nodes, found.node.ravel()])
    old, rows = self._updated(memory, wanted, epoch, train)
    z, embedded = self._embed(rows, nodes, at, found, count)
    scores = None
    if scored and options.target == "vectors":
      scores = self._score_vectors(z[:count], events, candidates, graph)
    elif scored:
      target = z[2 * count :]
      if candidates is not None:
        target = target.reshape(count, -1, z.shape[-1])
      scores = self._score(z[:count], target)
    after = jax.tree.map(lambda x: x[: 2 * count], rows)
    after, winner = self._stored(after, both, events, embedded)
    incoherence = 0.0
    if options.pres:
      before, waited = old.states[1][: 2 * count], old.waiting[: 2 * count]
      incoherence = node_memory.incoherence(
        before, after.states[1], winner & waited
      )
    memory = node_memory.put(memory, both, after, winner)
    return Outputs(scores, memory, incoherence)

  def _updated(self, memory, nodes, epoch, train):
    """Rows before and after their waiting messages are applied."""
    every = len(nodes) > self.num_nodes
    wanted = jnp.arange(self.num_nodes) if every else nodes
    old = self._taken(memory, wanted, epoch)
    x = self._encode(old.states[1], old.message, old.partner)
    output, states = self.stack(x, old.states[0], train=train, step=True)
    both, rates = (states, output.astype(jnp.float32)), old.rates
    if self.options.pres:
      gamma = self.options.gamma
      gamma = jax.nn.sigmoid(self.gamma) if gamma is None else gamma
      both, rates = node_memory.corrected(
        old, both, old.since, gamma, old.since_rest
      )
    new = old._replace(
      states=both, time=old.since, time_rest=old.since_rest, rates=rates
    )
    rows = masks.choose(old.waiting, new, old)
    if every:
      old, rows = jax.tree.map(lambda x: x[nodes], (old, rows))
    return old, rows

  def _taken(self, memory, nodes, epoch):
    """The rows of nodes in the memory."""
    stack = nn.SequenceModel(self.config.stack, parent=None)
    zeros = jnp.zeros((1, self.config.stack.d_model), jnp.float32)
    start = stack.initial_state((1,)), zeros
    time = 0.0 if self.options.released else node_memory.UNSEEN
    return node_memory.take(memory, nodes, epoch, start, time)

  def _encode(self, state, message, partner):
    """The cell's input for messages."""
    own = state
    if self._by_vector:
      own = self.config.embedding_scale * self.vectors[partner]
    x = jnp.concatenate([own, message], axis=-1)
    if self.options.function == "mlp":
      x = jax.nn.relu(self.hidden(x))
    return self.encoder(x)

  def _times(self, since):
    """The encoding of times."""
    return jnp.cos(since[..., None] * self.frequency + self.phase)

  def _embed(self, rows, nodes, at, found, count):
    """Embeddings for scoring nodes, and those for messages."""
    options = self.options
    state = rows.states[1][: len(nodes)]
    around = None
    if options.reads_graph:
      h = rows.states[1]
      if options.has_vectors:
        h = h + self.vectors[jnp.concatenate([nodes, found.node.ravel()])]
      around = self._gather(h, at, found)
    if options.embedding in ("sum", "attention"):
      return around, around
    if options.embedding == "time":
      is_source = jnp.arange(len(nodes)) < count
      mean, deviation = (
        jnp.where(is_source, *pair)
        for pair in zip(self.gaps[:2], self.gaps[2:])
      )
      last = (x[: len(nodes)] for x in (rows.time, rows.time_rest))
      since = _since(*last, *at)
      since = (since - mean) / deviation
      state = state * (1 + self.projection(since[:, None]))
    return state, around

  def _gather(self, h, at, found):
    """Embeddings from recent neighbors; `h` has the nodes, then these."""
    size, neighbors = found.node.shape
    own, other = h[:size], h[size:].reshape(size, neighbors, -1)
    time, rest = (x[:, None] for x in at)
    since = time - found.time
    if found.rest is not None:
      since = since + (rest - found.rest)
    since = self._times(since)
    there = found.node > 0
    fresh = self._times(jnp.zeros(size))
    if self._read == "sum":
      each = _side_by_side(other, since, found.features)
      each = self.neighbor(each)
      if not self.options.released:
        each = jnp.where(there[..., None], each, 0)
      total = jax.nn.relu(each.sum(axis=1))
      return self.joined(jnp.concatenate([total, own, fresh], axis=-1))
    heads = self.options.heads
    each = _side_by_side(other, found.features, since)
    q = self.query(jnp.concatenate([own, fresh], axis=-1))
    q = q.reshape(size, heads, -1)
    k, v = (
      part(each).reshape(size, neighbors, heads, -1)
      for part in (self.key, self.value)
    )
    logits = jnp.einsum("nhd,njhd->nhj", q, k) / jnp.sqrt(q.shape[-1])
    weights = jax.nn.softmax(jnp.where(there[:, None], logits, -1e30), axis=-1)
    mixed = jnp.einsum("nhj,njhd->nhd", weights, v).reshape(size, -1)
    mixed = jnp.where(there.any(axis=1)[:, None], self.attended(mixed), 0)
    joined = self.merged(jnp.concatenate([mixed, own], axis=-1))
    return self.joined(jax.nn.relu(joined))

  def _score_vectors(self, source, events, candidates, graph):
    """Scores (n, k) by the learned vectors of candidates; all if None."""
    every = slice(self.first, self.last + 1)
    some = every if candidates is None else candidates
    scores = self._score(source, self.vectors[some])
    if self.options.score == "dot":
      # A source without earlier events has a state of zeros.
      scores = scores + self.bias[some]
    if self.options.repeats:
      scores = scores + self._repeated(events, candidates, graph)
    return scores

  def _repeated(self, events, candidates, graph):
    """Scores (n, k) of candidates by the last destinations of sources."""
    count = self.options.repeats
    found = graph_neighbors.recent(graph, events.source, events.before, count)
    weights = jnp.where(found.node > 0, jnp.exp(self.recency[::-1]), 0)
    if candidates is None:
      size = self.last + 1 - self.first
      inside = (found.node >= self.first) & (found.node <= self.last)
      place = jnp.where(inside, found.node - self.first, size)
      row = jnp.arange(len(weights))[:, None]
      met = jnp.zeros((len(weights), size))
      met = met.at[row, place].add(weights, mode="drop")
    else:
      same = candidates[:, :, None] == found.node[:, None]
      met = jnp.where(same, weights[:, None], 0).sum(axis=-1)
    # In a softmax: shares of counts beside those of the vectors.
    return jnp.exp(self.repeat) * jnp.log1p(_REPEATED * met)

  def _score(self, source, target):
    """Scores (n, k) of sources (n, d), by targets (k, d) or (n, k, d)."""
    if self.options.score == "mlp":
      joined = self.from_source(source)[:, None] + self.from_target(target)
      return self.score(jax.nn.relu(joined))[..., 0]
    form = "nd,kd->nk" if target.ndim == 2 else "nd,nkd->nk"
    return jnp.einsum(form, source, target)

  def _stored(self, rows, nodes, events, embedded):
    """The rows of a batch's nodes with its messages, and the write mask."""
    count, options = len(events.source), self.options
    output = rows.states[1]
    order = jnp.arange(2 * count)
    if not options.released:
      order = order % count * 2 + order // count
    valid = jnp.tile(events.valid, 2)
    winner = node_memory.last(nodes, order, valid, self.num_nodes)
    other = jnp.concatenate([output[count:], output[:count]])
    if options.embeds:
      other = other.at[:count].set(embedded[count : 2 * count])
    times, rest = (jnp.tile(x, 2) for x in (events.time, _rest(events)))
    message = _side_by_side(
      None if self._by_vector else other,
      None if events.features is None else jnp.tile(events.features, (2, 1)),
      self._times(_since(rows.time, rows.time_rest, times, rest)),
    )
    if options.aggregate == "mean":
      total, number = (
        jax.ops.segment_sum(x, nodes, self.num_nodes)[nodes]
        for x in (jnp.where(valid[:, None], message, 0), valid * 1.0)
      )
      message = total / jnp.maximum(number, 1)[:, None]
    partner = jnp.concatenate([events.destination, events.source])
    rows = rows._replace(
      waiting=valid,
      since=times,
      since_rest=rest,
      message=message,
      partner=partner,
    )
    return rows, winner

  def _run(self, memory, events, epoch, train):
    """Embeddings of sources before their events, and the memory after them."""

    def pairs(first, second):
      return jnp.stack([first, second], axis=1).ravel()

    node = pairs(events.source, events.destination)
    # An event of a node with itself counts once.
    itself = events.source == events.destination
    valid = pairs(events.valid & ~itself, events.valid)
    # Events are sorted by node; padding comes last.
    order = jnp.argsort(jnp.where(valid, node, self.num_nodes), stable=True)
    node, valid = node[order], valid[order]
    time, rest = (jnp.repeat(x, 2)[order] for x in (events.time, _rest(events)))
    partner = pairs(events.destination, events.source)[order]
    same = (node[1:] == node[:-1]) & (valid[1:] == valid[:-1])
    first = jnp.concatenate([jnp.ones(1, bool), ~same])
    final = jnp.concatenate([~same, jnp.ones(1, bool)])
    rows = self._taken(memory, node, epoch)
    earlier, earlier_rest = (
      jnp.where(first, old, jnp.roll(new, 1))
      for old, new in ((rows.time, time), (rows.time_rest, rest))
    )
    features = events.features
    if features is not None:
      features = jnp.repeat(features, 2, axis=0)[order]
    passed = _since(earlier, earlier_rest, time, rest)
    message = _side_by_side(features, self._times(passed))
    message = jax.lax.stop_gradient(message)
    x = self._encode(None, message, partner)

    def step(stack, state, inputs):
      first, start, x = inputs
      state = jax.tree.map(
        lambda fresh, old: jnp.where(first, fresh[None], old), start, state
      )
      y, state = stack(x[None], state, train=train, step=True)
      return state, (jax.tree.map(lambda leaf: leaf[0], state), y[0])

    begin = jax.tree.map(lambda leaf: leaf[:1], rows.states[0])
    _, (states, output) = linen.scan(
      step,
      variable_broadcast="params",
      split_rngs={"params": False, "dropout": True},
    )(self.stack, begin, (first, rows.states[0], x))
    seen = jnp.where(
      first[:, None], rows.states[1], jnp.roll(output, 1, axis=0)
    )
    z = jnp.zeros_like(seen).at[order].set(seen)
    z = jnp.where(itself[:, None], z[1::2], z[::2])
    if self.options.embedding == "time":
      when = jnp.stack([earlier, earlier_rest])
      when = jnp.zeros_like(when).at[:, order].set(when)
      when = jnp.where(itself, when[:, 1::2], when[:, ::2])
      since = _since(*when, events.time, _rest(events))
      since = (since - self.gaps[0]) / self.gaps[1]
      z = z * (1 + self.projection(since[:, None]))
    rows = rows._replace(states=(states, output), time=time, time_rest=rest)
    return z, node_memory.put(memory, node, rows, final & valid)


def _rest(events):
  """The second parts of the times of events; zeros if missing."""
  return jnp.zeros_like(events.time) if events.rest is None else events.rest


def _since(last, last_rest, time, rest):
  """The time (n,) since the last events, by both parts of the times."""
  return node_memory.since(last, time, last_rest, rest)


def _side_by_side(*parts):
  """The arrays that are not None, concatenated in the last axis."""
  return jnp.concatenate([x for x in parts if x is not None], axis=-1)
