"""Pointer networks: outputs are indices of the inputs.

An encoder reads vectors, a decoder reads the ones chosen so far, and additive
attention gives a distribution over the inputs (and a terminator, place 0) for
the next choice: u_i = v . tanh(W1 m_i + W2 q). There are as many classes as
inputs, so that a network works on more inputs than in training.

Source: Vinyals et al., arXiv 1506.03134. Glimpses, earlier reads of the inputs
  by the same kind of attention, are from arXiv 1511.06391.
"""

import dataclasses
from typing import Any
from typing import ClassVar
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import masks
from jaxseq.nn import sequence_model
from jaxseq.nn import stack
from jaxseq.types import PyTree

LSTM = stack.StackConfig(
  "lstm", norm="none", activation="none", residual=False, num_layers=1
)


@dataclasses.dataclass(frozen=True)
class PointerConfig:
  """Options of a pointer network.

  Attributes:
    encoder: layers that read the inputs; they may be bidirectional.
    decoder: layers that read the chosen inputs, of the same width.
    features: width of an input.
    carry: whether the decoder starts from the encoder's final states, as in the
      paper; their layers must be equal and read forward. If not, it starts from
      fresh states.
    no_repeat: whether each input can be chosen only once; the terminator always
      can.
    glimpses: number of reads of the inputs before a choice.
    add_glimpses: whether a read is added to the query; if not, it replaces the
      query, which loses the decoder's information.
    tour: whether an answer is a tour: every input once, and then the end. The
      network ignores it; models decode by that rule.
    beams: number of beams with which models decode; 1 decodes greedily.
  """

  encoder: stack.StackConfig = LSTM
  decoder: stack.StackConfig = LSTM
  features: int = 2
  carry: bool = True
  no_repeat: bool = False
  glimpses: int = 0
  add_glimpses: bool = False
  tour: bool = False
  beams: int = 1

  def __post_init__(self):
    validate.at_least(self, features=1, glimpses=0, beams=1)
    width = self.encoder.d_model
    if self.decoder.d_model != width:
      expected = f"{width}, as of the encoder"
      raise validate.error("decoder.d_model", self.decoder.d_model, expected)
    if self.carry and self.encoder != self.decoder:
      expected = "False with different layers"
      raise validate.error("carry", True, expected)
    if self.carry and any(
      each.bidirectional for each in self.encoder.every_layer
    ):
      expected = "False with layers that read in both directions"
      raise validate.error("carry", True, expected)


class PointerState(NamedTuple):
  """State of a decoder before a choice, see `PointingDecoder.begin`.

  Attributes:
    memory: (*batch, choices, d_model), encoded choices.
    vectors: (*batch, n + 1, features), the decoder's first input, and its input
      after each input was chosen.
    free: (*batch, choices) bool, the choices that are allowed.
    decoder: states of the decoder.
  """

  memory: jax.Array
  vectors: jax.Array
  free: jax.Array
  decoder: PyTree


def point(
  params: dict[str, jax.Array],
  memory: jax.Array,
  query: jax.Array,
  mask: jax.Array,
) -> jax.Array:
  """Points at memories by additive attention.

  Args:
    params: W1 and W2, (d, k), and v, (k,).
    memory: (*batch, n, d).
    query: (*batch, time, d).
    mask: (*batch, time, n) bool, the allowed choices; the same at all times if
      the axis has length 1.

  Returns:
    (*batch, time, n) log probabilities, -inf outside the mask, and everywhere
    if the mask is empty.
  """
  keys = (memory @ params["W1"])[..., None, :, :]
  queries = (query @ params["W2"])[..., :, None, :]
  scores = jnp.tanh(keys + queries) @ params["v"]
  some = mask.any(axis=-1, keepdims=True)
  scores = jnp.where(some, jnp.where(mask, scores, -jnp.inf), 0)
  return jnp.where(mask, jax.nn.log_softmax(scores), -jnp.inf)


class Pointing(linen.Module):
  """Additive attention that points, after glimpses with their own weights.

  Attributes:
    glimpses: number of reads of the memories that replace the query.
    add: whether the reads are added to it instead.
  """

  glimpses: int = 0
  add: bool = False

  @linen.compact
  def __call__(
    self, memory: jax.Array, query: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Returns log probabilities, see `point`."""
    width = memory.shape[-1]

    def weights(name):
      init = linen.initializers.lecun_normal()
      shapes = {"W1": (width, width), "W2": (width, width), "v": (width, 1)}
      drawn = {
        key: self.param(f"{name}{key}", init, shape)
        for key, shape in shapes.items()
      }
      return {**drawn, "v": drawn["v"][:, 0]}

    last = weights("")
    if self.glimpses:
      glimpse = weights("glimpse_")
      for _ in range(self.glimpses):
        read = jnp.exp(point(glimpse, memory, query, mask)) @ memory
        query = query + read if self.add else read
    return point(last, memory, query, mask)


class PointingDecoder(linen.Module):
  """Base of networks that read inputs and choose some of them in turn.

  A subclass has the layers `embed`, `decoder` and `pointing`, and `read`;
  `decoding` decodes.

  Attributes:
    config: options with `features`, the width of an input, and `no_repeat`.
    first: the choice that is the first input; the choices below it are a
      terminator, which is always allowed.
  """

  config: Any
  first: ClassVar[int] = 0

  def read(self, points: jax.Array, lengths: jax.Array | None) -> PointerState:
    """Returns the state before the first choice, see `begin`."""
    raise NotImplementedError

  def __call__(
    self,
    points: jax.Array,
    chosen: jax.Array,
    lengths: jax.Array | None = None,
  ) -> jax.Array:
    """Returns log probabilities of choices, given the right earlier ones.

    Args:
      points: (*batch, n, features), the inputs.
      chosen: (*batch, time) integers, `first` for the first input; choices
        after a row's last one do not matter.
      lengths: (*batch,) numbers of inputs; n if None.

    Returns:
      (*batch, time, first + n) log probabilities; -inf at times when no choice
      is left.

    Raises:
      ValueError: if a shape does not fit, or a choice is out of range.
    """
    last = points.shape[-2] - 1 + self.first
    expected = f"{last}: inputs count from {self.first}"
    _at_most("chosen", chosen, last, expected)
    state = self.read(points, lengths)
    count = state.free.shape[-1]
    chosen = jnp.where((chosen >= 0) & (chosen < count), chosen, 0)
    before = jnp.roll(chosen, 1, axis=-1)
    place = self._place(before).at[..., 0].set(0)
    vectors = jnp.take_along_axis(state.vectors, place[..., None], axis=-2)
    queries, _ = self.decoder(self.embed(vectors), state.decoder)
    free = state.free[..., None, :]
    if self.config.no_repeat:
      taken = self._taken(before, count).at[..., 0, :].set(False)
      free &= jnp.cumsum(taken, axis=-2) == 0
    return self.pointing(state.memory, queries, free)

  def begin(
    self, points: jax.Array, lengths: jax.Array | None = None
  ) -> tuple[jax.Array, PointerState]:
    """Returns log probabilities of the first choice, and a state for `step`.

    Args:
      points: (*batch, n, features).
      lengths: (*batch,) numbers of inputs; n if None.

    Returns:
      (*batch, first + n) log probabilities, and the state.
    """
    place = jnp.zeros(points.shape[:-2], jnp.int32)
    return self._next(place, self.read(points, lengths))

  def step(
    self, chosen: jax.Array, state: PointerState
  ) -> tuple[jax.Array, PointerState]:
    """Returns log probabilities of the next choice, and the state after it.

    Args:
      chosen: (*batch,) integers, the last choice.
      state: from `begin` or `step`.
    """
    if self.config.no_repeat:
      taken = self._taken(chosen, state.free.shape[-1])
      state = state._replace(free=state.free & ~taken)
    return self._next(self._place(chosen), state)

  def _next(self, place, state):
    """Returns the next choice after the vector at a place."""
    vector = jnp.take_along_axis(state.vectors, place[..., None, None], axis=-2)
    query, after = self.decoder.step(
      self.embed(vector[..., 0, :]), state.decoder
    )
    logs = self.pointing(
      state.memory, query[..., None, :], state.free[..., None, :]
    )
    return logs[..., 0, :], state._replace(decoder=after)

  def _place(self, chosen):
    """Returns the places of choices among the vectors; 0 for a terminator."""
    return chosen + 1 - self.first

  def _taken(self, chosen, count):
    """Returns the choices that become forbidden, (*batch, choices) bool."""
    hit = jax.nn.one_hot(chosen, count, dtype=bool)
    return hit.at[..., : self.first].set(False)

  def inside(self, points: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Returns a mask (*batch, n) of the valid inputs, and checks shapes."""
    width = self.config.features
    *batch, count, _ = validate.shape("points", points, ("*batch", "n", width))
    if lengths is None:
      return jnp.ones((*batch, count), bool)
    validate.shape("lengths", lengths, batch)
    _at_most("lengths", lengths, count, f"{count}, the size of the inputs")
    return masks.inside(count, lengths)


class PointerNetwork(PointingDecoder):
  """An encoder, and a decoder that points at the encoded inputs.

    network = PointerNetwork(PointerConfig())
    variables = network.init(key, points, chosen)
    log_probs = network.apply(variables, points, chosen, lengths)

  A choice is 0 for the terminator and i for the i-th input.

  Attributes:
    config: options.
  """

  config: PointerConfig
  first: ClassVar[int] = 1

  def setup(self) -> None:
    """Creates the layers."""
    config = self.config
    width = config.encoder.d_model
    self.embed = dense.Dense(width, use_bias=False)
    self.encoder = sequence_model.SequenceModel(config.encoder)
    self.decoder = sequence_model.SequenceModel(config.decoder)
    self.pointing = Pointing(config.glimpses, config.add_glimpses)
    small = linen.initializers.normal(0.1)
    self.go = self.param("go", small, (config.features,))
    self.end = self.param("end", small, (width,))

  def read(self, points: jax.Array, lengths: jax.Array | None) -> PointerState:
    """Returns the state before the first choice, see `begin`."""
    inside = self.inside(points, lengths)
    *batch, count = inside.shape
    if not self.config.carry:
      memory, _ = self.encoder(self.embed(points), lengths=lengths)
      states = self.decoder.initial_state(tuple(batch), memory.dtype)
    elif lengths is None:
      memory, states = self.encoder(self.embed(points))
    else:
      # Rows are right-aligned, so that the last state is that of each row's
      # end.
      place = jnp.arange(count)
      shift = count - jnp.asarray(lengths)[..., None]
      rows = jnp.take_along_axis(
        points, ((place - shift) % count)[..., None], axis=-2
      )
      memory, states = self.encoder(self.embed(rows), reset=place == shift)
      memory = jnp.take_along_axis(
        memory, ((place + shift) % count)[..., None], axis=-2
      )
    always = jnp.ones((*batch, 1), bool)
    free = jnp.concatenate([always, inside], axis=-1)
    return PointerState(
      ahead(self.end, memory), ahead(self.go, points), free, states
    )


def ahead(row: jax.Array, rows: jax.Array) -> jax.Array:
  """Puts a row (width,) before rows (*batch, n, width)."""
  first = jnp.broadcast_to(row, (*rows.shape[:-2], 1, len(row)))
  return jnp.concatenate([first.astype(rows.dtype), rows], axis=-2)


def _at_most(name, values, most, expected):
  """Checks that integers are at most `most`, if they are not traced."""
  if isinstance(values, jax.core.Tracer):
    return
  greatest = int(np.asarray(values).max(initial=0))
  if greatest > most:
    raise validate.error(name, greatest, f"at most {expected}")
