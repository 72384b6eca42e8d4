"""The attentive neural Hawkes process: times attend to earlier events.

Events are e = [tanh E(k) ; z(t)] with z(t) the sines and cosines of t; the
query of a time t is q = [0 ; z(t)]. In each layer of each head, with one
attention head,

  events   e' = [attention of e to this and the earlier events ; z]
  times    q' = q + tanh(attention of q to the earlier events and itself)

and the heads' final q, concatenated, give the intensities. Yang, Mei and
Eisner, arXiv:2201.00044, in the form of EasyTemporalPointProcess.

With `prompts`, each layer has two pools of learned vectors, placed before its
keys and its values; the mean of the inputs so far chooses which of them a time
attends to (PromptTPP: Xue et al., arXiv:2310.04993; but there the mean is over
the whole sequence, and events see later ones).
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq import validate
from jaxseq.tasks.events.rate_models import decays
from jaxseq.tasks.events.rate_models import prompt_pool

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(decays.Config):
  """Options of the attentive process, in addition to those of `decays.Config`.

  Attributes:
    num_layers: number of layers of a head.
    heads: number of heads, each of width d_model.
    d_time: width of the time encoding, even.
    memory: number of the latest events that a time can attend to; the state has
      as many.
    layer_norm: whether a norm, shared by all layers, follows each.
    chained_heads: whether the events of a head start from the final events of
      the previous head, as in the published code.
    prompts: number of prompts in a pool; 0 for no prompts.
    chosen: number of prompts chosen for each time.
    prompt_length: number of vectors of a prompt.
    attraction: weight, per sequence, of the cosines between the chosen keys and
      their queries; nothing else trains the keys.
  """

  num_layers: int = 2
  heads: int = 2
  d_time: int = 16
  memory: int = 256
  layer_norm: bool = False
  chained_heads: bool = False
  prompts: int = 0
  chosen: int = 4
  prompt_length: int = 5
  attraction: float = 0.1

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, num_layers=1, heads=1, memory=1)
    if self.d_time < 2 or self.d_time % 2:
      raise validate.error("d_time", self.d_time, "a positive, even number")
    if self.prompts:
      validate.at_least(self, prompt_length=1)
      validate.integer("chosen", self.chosen, 1, self.prompts)


class State(NamedTuple):
  """The remembered events of a state, or of several states in turn.

  Attributes:
    time: (...), time of the last event since the start of the sequence.
    keys: (..., events, heads * num_layers, d_model), the latest event last.
    values: like `keys`.
    seen: (..., events) bool, the events that exist and can be attended to.
    prompts: the chosen prompts, and the sums that choose them; None without
      prompts.
  """

  time: Array
  keys: Array
  values: Array
  seen: Array
  prompts: "Prompts | None" = None


class Prompts(NamedTuple):
  """Prompts at an event.

  Attributes:
    keys: (..., chosen * prompt_length, heads * num_layers, d_model).
    values: like `keys`.
    cosine: (...), sum of the cosines of the chosen keys with their queries.
    total: (..., heads * num_layers, d_model + d_time), sum of the inputs so
      far; None for the states of many events.
    number: (...), number of events so far; None like `total`.
  """

  keys: Array
  values: Array
  cosine: Array
  total: Array | None
  number: Array | None


def init(key: Array, config: Config) -> decays.Params:
  """Draws the parameters.

  Returns:
    E (num_marks + 1, d); q, k and v with W (heads * num_layers, d + d_time, d)
    and b (heads * num_layers, d); the norm, if any; the read-out; and for the
    prompt pools k and v, key (heads * num_layers, prompts, d + d_time) and
    prompt (heads * num_layers, prompts, prompt_length, d).
  """
  key_E, key_out, *keys = jax.random.split(key, 5)
  d, count = config.d_model, config.heads * config.num_layers
  width = d + config.d_time
  glorot = jax.vmap(lambda key: decays.glorot(key, width, d))
  params = {
    name: {
      "W": glorot(jax.random.split(key, count)),
      "b": jnp.zeros((count, d)),
    }
    for name, key in zip("qkv", keys)
  }
  if config.layer_norm:
    params["norm"] = decays.init_norm(d)
  if config.prompts:
    pool = functools.partial(
      prompt_pool.init,
      size=config.prompts,
      length=config.prompt_length,
      width=d,
      key_width=width,
    )
    params["prompts"] = {
      name: jax.vmap(pool)(jax.random.split(jax.random.fold_in(key, i), count))
      for i, name in enumerate("kv")
    }
  rows = config.num_marks + 1, d
  return params | {
    "E": jax.random.normal(key_E, rows, jnp.float32),
    "read_out": decays.init_read_out(
      key_out, config.num_marks, config.heads * d
    ),
  }


def initial_state(
  config: Config, params: decays.Params, batch_shape: tuple[int, ...] = ()
) -> State:
  """Returns the state before a sequence, with no remembered events."""
  dtype, count = params["E"].dtype, config.heads * config.num_layers
  events = (*batch_shape, config.memory)
  zeros = jnp.zeros((*events, count, config.d_model), dtype)
  number = jnp.zeros(batch_shape, dtype)
  prompts = None
  if config.prompts:
    rows = (*batch_shape, config.chosen * config.prompt_length)
    none = jnp.zeros((*rows, count, config.d_model), dtype)
    total = (*batch_shape, count, config.d_model + config.d_time)
    prompts = Prompts(none, none, number, jnp.zeros(total, dtype), number)
  return State(number, zeros, zeros, jnp.zeros(events, bool), prompts)


def apply(
  config: Config,
  params: decays.Params,
  marks: Array,
  gaps: Array,
  state: State | None = None,
  reset: Array | None = None,
) -> tuple[State, State]:
  """Runs over events: marks, gaps and resets (*batch, time).

  Returns:
    The states after each event, which share keys and values, so that these have
    a time axis of length one; and the state after the last event.
  """
  old = state
  if old is None:
    # No events are remembered: a memory of 1 saves room.
    old = initial_state(
      dataclasses.replace(config, memory=1), params, gaps.shape[:-1]
    )
  place, segment, times = _places(old, gaps, reset)
  size, time = old.seen.shape[-1], gaps.shape[-1]
  # Numbers of events and of their sequences; remembered events are negative.
  front = jnp.arange(-size, 0)
  places = jnp.concatenate([jnp.broadcast_to(front, old.seen.shape), place], -1)
  zeros = jnp.zeros(old.seen.shape, segment.dtype)
  segments = jnp.concatenate([zeros, segment], -1)
  occurred = jnp.concatenate([old.seen, jnp.ones(gaps.shape, bool)], -1)
  behind = place[..., :, None] - places[..., None, :]
  seen = (behind >= 0) & (behind < config.memory) & occurred[..., None, :]
  seen &= segment[..., :, None] == segments[..., None, :]
  keys, values, prompts = _events(
    config, params, marks, times, old, seen, reset
  )
  states = State(
    times, keys[..., None, :, :, :], values[..., None, :, :, :], seen, prompts
  )
  last = _last(config, states, size + time)
  if prompts is not None:
    states = states._replace(prompts=prompts._replace(total=None, number=None))
  return states, last


step = decays.step_by(apply)


def intensity(
  config: Config, params: decays.Params, state: State, elapsed: Array
) -> Array:
  """Returns intensities (..., n, marks) at times (..., n) since an event."""
  z = waves(config, state.time[..., None] + elapsed)
  heads = []
  for head in range(config.heads):
    q = jnp.zeros((*z.shape[:-1], config.d_model), z.dtype)
    for layer in range(config.num_layers):
      index = head * config.num_layers + layer
      x = jnp.concatenate([q, z], axis=-1)
      ask, key, value = (_map(params, name, index, x) for name in "qkv")
      others = jnp.einsum("...gd,...md->...gm", ask, state.keys[..., index, :])
      others = jnp.where(state.seen[..., None, :], others, -jnp.inf)
      blocks = [others, (ask * key).sum(axis=-1, keepdims=True)]
      if config.prompts:
        rows = state.prompts.keys[..., index, :]
        blocks.append(jnp.einsum("...gd,...pd->...gp", ask, rows))
      weight, own_weight, *share = _weights(config, blocks)
      answer = own_weight * value + jnp.einsum(
        "...gm,...md->...gd", weight, state.values[..., index, :]
      )
      if config.prompts:
        rows = state.prompts.values[..., index, :]
        answer += jnp.einsum("...gp,...pd->...gd", *share, rows)
      q = q + jnp.tanh(answer)
      if config.layer_norm:
        q = decays.norm(params["norm"], q)
    heads.append(q)
  return decays.read_out(params["read_out"], jnp.concatenate(heads, axis=-1))


def bound(
  config: Config, params: decays.Params, state: State, elapsed: Array
) -> Array:
  """Returns an upper bound (...) of the sum of intensities.

  A hyperbolic tangent is at most 1, and a normed vector has a maximal length.
  """
  del state
  read_out = params["read_out"]
  if config.layer_norm:
    norm = {k: jnp.tile(x, config.heads) for k, x in params["norm"].items()}
    top = decays.normed_bound(read_out, **norm)
  else:
    top = config.num_layers * jnp.abs(read_out["w"]).sum(axis=-1)
    top = decays.softplus(top + read_out["b"], read_out["log_beta"]).sum()
  return jnp.broadcast_to(top, elapsed.shape)


def _map(params, name, index, x):
  return x @ params[name]["W"][index] + params[name]["b"][index]


def _weights(config, blocks):
  """Returns attention weights of score blocks (..., n), of joint sum 1."""
  ends = np.cumsum([x.shape[-1] for x in blocks])[:-1]
  scores = jnp.concatenate(blocks, axis=-1) / math.sqrt(config.d_model)
  return jnp.split(jax.nn.softmax(scores), ends, axis=-1)


def waves(config: Config, times: Array) -> Array:
  """Returns the sines and cosines (..., d_time) of times (...)."""
  powers = jnp.arange(0, config.d_time, 2) / config.d_time
  angles = times[..., None] * 10000.0**-powers
  pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return pairs.reshape(*angles.shape[:-1], config.d_time)


def _places(old, gaps, reset):
  """Returns numbers of events and their sequences (0 continues), and times."""
  place = jnp.broadcast_to(jnp.arange(gaps.shape[-1]), gaps.shape)
  total = jnp.cumsum(gaps, axis=-1)
  if reset is None:
    return place, jnp.zeros(gaps.shape, jnp.int32), old.time[..., None] + total
  segment = jnp.cumsum(reset.astype(jnp.int32), axis=-1)
  start = jnp.where(reset, total - gaps, -old.time[..., None])
  # The latest sequence start before each event: gaps are never negative.
  start = jax.lax.cummax(start, axis=start.ndim - 1)
  return place, segment, total - start


def _events(config, params, marks, times, old, seen, reset):
  """Returns keys and values of all events, remembered ones first; prompts."""
  z = waves(config, times)
  first = jnp.concatenate([jnp.tanh(params["E"])[marks], z], axis=-1)
  layers, cosine = [], 0.0
  for head in range(config.heads):
    if not head or not config.chained_heads:
      e = first
    for layer in range(config.num_layers):
      index = head * config.num_layers + layer
      ask, key, value = (_map(params, name, index, e) for name in "qkv")
      keys = jnp.concatenate([old.keys[..., index, :], key], axis=-2)
      values = jnp.concatenate([old.values[..., index, :], value], axis=-2)
      layers.append([keys, values])
      scores = jnp.einsum("...td,...md->...tm", ask, keys)
      blocks = [jnp.where(seen, scores, -jnp.inf)]
      if config.prompts:
        rows = _prompts(config, params, index, e, times, old.prompts, reset)
        layers[-1] += [rows.keys, rows.values, rows.total]
        cosine, number = cosine + rows.cosine, rows.number
        blocks.append(jnp.einsum("...td,...tpd->...tp", ask, rows.keys))
      weight, *share = _weights(config, blocks)
      answer = weight @ values
      if config.prompts:
        answer += jnp.einsum("...tp,...tpd->...td", *share, rows.values)
      e = jnp.concatenate([answer, z], axis=-1)
  keys, values, *chosen = (jnp.stack(x, axis=-2) for x in zip(*layers))
  if not config.prompts:
    return keys, values, None
  prompt_keys, prompt_values, total = chosen
  prompts = Prompts(prompt_keys, prompt_values, cosine, total, number)
  return keys, values, prompts


def _prompts(config, params, index, e, times, old, reset):
  """Returns a layer's prompts at each event, by its inputs up to that event."""
  query, (total, number) = prompt_pool.means(
    e, (old.total[..., index, :], old.number), reset
  )
  # The number of events so far; a sequence starts at time 0.
  ones = jnp.ones((*times.shape, 1), e.dtype)
  count, _ = recurrence.linear_scan(
    jnp.ones((), e.dtype), ones, old.number[..., None], reset=reset
  )
  mean_gap = times / jnp.maximum(count[..., 0] - 1, 1)
  z = waves(config, times + mean_gap)
  rows, cosine, d = [], 0.0, config.d_model
  for name in "kv":
    pool = jax.tree.map(lambda x: x[index], params["prompts"][name])
    choice = prompt_pool.choose(pool["key"], query, config.chosen)
    W, b = params[name]["W"][index], params[name]["b"][index]
    chosen = (pool["prompt"] @ W[:d])[choice.index]
    chosen = chosen.reshape(*times.shape, -1, d)
    rows.append(chosen + (z @ W[d:] + b)[..., None, :])
    cosine = cosine + choice.cosine
  return Prompts(*rows, cosine, total, number)


def _last(config, states, size):
  """The state after the last event, with the latest events."""

  def latest(x, axis):
    missing = max(config.memory - size, 0)
    pad = [(0, 0)] * x.ndim
    pad[axis] = (missing, 0)
    return jnp.take(
      jnp.pad(x, pad), jnp.arange(-config.memory, 0), axis, mode="wrap"
    )

  prompts = states.prompts
  if prompts is not None:
    prompts = prompts._replace(
      keys=prompts.keys[..., -1, :, :, :],
      values=prompts.values[..., -1, :, :, :],
      cosine=prompts.cosine[..., -1],
    )
  return State(
    states.time[..., -1],
    latest(states.keys[..., 0, :, :, :], states.keys.ndim - 4),
    latest(states.values[..., 0, :, :, :], states.values.ndim - 4),
    latest(states.seen[..., -1, :], states.seen.ndim - 2),
    prompts,
  )
