"""Two small language models, split over devices and plain."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence

VOCABULARY = 11
WIDTH = 4


def init(seed=0):
  rng = np.random.default_rng(seed)
  shapes = {
    "embedding": (VOCABULARY, WIDTH),
    "decay": (WIDTH, WIDTH),
    "query": (WIDTH, WIDTH),
    "key": (WIDTH, WIDTH),
    "value": (WIDTH, WIDTH),
    "output": (WIDTH, VOCABULARY),
  }
  return {
    name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()
  }


def _coefficients(params, x):
  return jax.nn.sigmoid(x @ params["decay"]), x @ params["value"]


def recurrent_alone(params, x, position):
  del position
  return recurrence.linear_scan(*_coefficients(params, x))[0]


def recurrent_split(params, x, wave, axis):
  """One gather of what each device does to the state that comes to it."""
  a, b = _coefficients(params, x)
  reset = wave.reset
  ones = jnp.ones_like(b[:, 0])
  _, added = recurrence.linear_scan(a, b, reset=reset)
  _, kept = recurrence.linear_scan(a, jnp.zeros_like(b), ones, reset=reset)
  kept, added = lax.all_gather(jnp.stack([kept, added]), axis, axis=1)
  state = jnp.zeros_like(ones)
  entering = []
  for device in range(kept.shape[0]):
    entering.append(state)
    state = kept[device] * state + added[device]
  here = jnp.stack(entering)[lax.axis_index(axis)]
  return recurrence.linear_scan(a, b, here, reset=reset)[0]


def _waves(position):
  """Positions as features."""
  position = position[..., None] / 3.0
  return jnp.concatenate([jnp.sin(position), jnp.cos(position)] * 2, axis=-1)


def _attend(q, k, v, visible):
  scores = jnp.where(visible, q @ jnp.swapaxes(k, -1, -2), -jnp.inf)
  return jax.nn.softmax(scores) @ v


def attention_alone(params, x, position):
  x = x + _waves(position)
  q, k, v = (x @ params[name] for name in ("query", "key", "value"))
  time = jnp.arange(x.shape[-2])
  return _attend(q, k, v, time[:, None] >= time)


def attention_split(params, x, wave, axis):
  """Keys and values of the whole row, queries of this device."""
  x = x + _waves(wave.position)
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


ALONE = {"recurrent": recurrent_alone, "attention": attention_alone}
SPLIT = {"recurrent": recurrent_split, "attention": attention_split}


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
  position = jnp.arange(tokens.shape[1])

  def one(arguments):
    tokens, length = arguments
    y = ALONE[kind](params, params["embedding"][tokens], position)
    mask = position < length - 1
    return _sum_of_losses(params, y, jnp.roll(tokens, -1), mask)

  # What is behind the end of a document cannot change what comes before.
  losses = lax.map(one, (tokens, lengths))
  return jnp.sum(losses) / jnp.sum(lengths - 1)
