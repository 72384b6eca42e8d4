"""Small language models, split over devices and of one document alone."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import mixers
from jaxseq import recurrence

VOCABULARY = 11
WIDTH = 4
# Every mixer that keeps a state of fixed size. Short convolutions must not
# reach over a reset either.
MIXERS = tuple(name for name in mixers.names() if name != "attention")
_OPTIONS = {
  "aaren": {"heads": 2},
  "lightnet": {"heads": 2},
  "linear_attention": {"heads": 2},
  "lstm": {"heads": 2},
  "mamba": {"d_state": 3},
  "mamba2": {"d_state": 3, "headdim": 4},
  "s4": {"d_state": 4},
  "s4d": {"d_state": 4},
  "s5": {"ssm_size": 4, "blocks": 2},
}


def mixer_config(name):
  return mixers.make_config(name, d_model=WIDTH, **_OPTIONS.get(name, {}))


def init(seed=0, kind="recurrent"):
  rng = np.random.default_rng(seed)
  shapes = {
    "embedding": (VOCABULARY, WIDTH),
    "decay": (WIDTH, WIDTH),
    "query": (WIDTH, WIDTH),
    "key": (WIDTH, WIDTH),
    "value": (WIDTH, WIDTH),
    "output": (WIDTH, VOCABULARY),
  }
  params = {
    name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()
  }
  if kind in MIXERS:
    config = mixer_config(kind)
    mixer = mixers.get(kind).init(jax.random.key(seed), config)
    dtype = params["output"].dtype
    params["mixer"] = jax.tree.map(lambda leaf: leaf.astype(dtype), mixer)
  return params


def _coefficients(params, x):
  return jax.nn.sigmoid(x @ params["decay"]), x @ params["value"]


def recurrent_alone(params, x):
  return recurrence.linear_scan(*_coefficients(params, x))[0]


def recurrent_split(params, x, wave, axis):
  a, b = _coefficients(params, x)
  return recurrence.linear_scan(a, b, reset=wave.reset, axis=axis)[0]


def mixer_alone(name, params, x):
  return mixers.get(name).apply(mixer_config(name), params["mixer"], x)[0]


def mixer_split(name, params, x, wave, axis):
  config, apply = mixer_config(name), mixers.get(name).apply
  return apply(config, params["mixer"], x, None, wave.reset, axis=axis)[0]


def _with_places(x, position):
  """Adds positions as features."""
  position = position[..., None] / 3.0
  features = [jnp.sin(position), jnp.cos(position)] * (WIDTH // 2)
  return x + jnp.concatenate(features, axis=-1)


def _attend(q, k, v, visible):
  scores = jnp.where(visible, q @ jnp.swapaxes(k, -1, -2), -jnp.inf)
  return jax.nn.softmax(scores) @ v


def attention_alone(params, x):
  time = jnp.arange(x.shape[-2])
  x = _with_places(x, time)
  q, k, v = (x @ params[name] for name in ("query", "key", "value"))
  return _attend(q, k, v, time[:, None] >= time)


def attention_split(params, x, wave, axis):
  """Keys and values of the whole row, queries of this device."""
  x = _with_places(x, wave.position)
  q, k, v = (x @ params[name] for name in ("query", "key", "value"))
  k, v, segment = (
    lax.all_gather(array, axis, axis=1, tiled=True)
    for array in (k, v, wave.segment)
  )
  chunk = x.shape[1]
  here = lax.axis_index(axis) * chunk + jnp.arange(chunk)
  visible = here[:, None] >= jnp.arange(k.shape[1])
  same = wave.segment[:, :, None] == segment[:, None, :]
  return _attend(q, k, v, visible & same)


ALONE = {
  "recurrent": recurrent_alone,
  "attention": attention_alone,
  **{name: functools.partial(mixer_alone, name) for name in MIXERS},
}
SPLIT = {
  "recurrent": recurrent_split,
  "attention": attention_split,
  **{name: functools.partial(mixer_split, name) for name in MIXERS},
}


def _sum_of_losses(params, y, targets, mask):
  log_probs = jax.nn.log_softmax(y @ params["output"])
  chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)
  return -jnp.sum(jnp.where(mask, chosen[..., 0], 0))


def outputs(kind, params, wave, axis):
  return SPLIT[kind](params, params["embedding"][wave.tokens], wave, axis)


def token_loss(kind, params, wave, axis):
  y = outputs(kind, params, wave, axis)
  return _sum_of_losses(params, y, wave.targets, wave.mask)


def pad(documents, length=128):
  """Returns tokens (documents, length) and the lengths."""
  tokens = np.zeros((len(documents), length), np.int32)
  for row, document in zip(tokens, documents):
    row[: len(document)] = document
  return tokens, np.array([len(document) for document in documents])


def reference_loss(kind, params, tokens, lengths):
  """One document at a time, each as if it were alone, summed over targets."""

  def one(arguments):
    tokens, length = arguments
    y = ALONE[kind](params, params["embedding"][tokens])
    mask = jnp.arange(len(tokens)) < length - 1
    return _sum_of_losses(params, y, jnp.roll(tokens, -1), mask)

  # What is behind the end of a document cannot change what comes before.
  losses = lax.map(one, (tokens, lengths))
  return jnp.sum(losses) / jnp.sum(lengths - 1)
