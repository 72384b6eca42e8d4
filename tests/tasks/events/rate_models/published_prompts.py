"""AttNHP with prompts in the published form, which sees the future.

For comparison alone; `attnhp` has the form that a prediction can use. In the
published program the query of a pool is the mean over all events of a sequence
and all times that are asked, and the mask of the attention lies over the
columns of the prompts, so that every event is seen by every time. `shifted`
puts the mask behind the prompts; the query stays what it is.
"""

import math

import jax
import jax.numpy as jnp

from jaxseq.tasks.events.rate_models import attnhp
from jaxseq.tasks.events.rate_models import decays
from jaxseq.tasks.events.rate_models import prompt_pool

Array = jax.Array


def encode(
  config: attnhp.Config,
  params: decays.Params,
  marks: Array,
  gaps: Array,
  times: Array,
  hidden: Array,
  at: Array,
  *,
  shifted: bool = False,
  batchwise: bool = False,
) -> tuple[Array, Array]:
  """Returns what intensities at some times are read out of.

  Args:
    config: of `attnhp`, with prompts and one head.
    params: as of `attnhp`.
    marks: (batch, events).
    gaps: (batch, events), since the event before; 0 for the first.
    times: (batch, events).
    hidden: (batch, events, events) bool, events that one may not see.
    at: (batch, events), a time behind each event.
    shifted: whether the mask lies over the events.
    batchwise: whether one choice of prompts serves the batch.

  Returns:
    (batch, events, d_model), and the sum () of cosines, a mean over sequences.
  """
  n, d = times.shape[-1], config.d_model
  z, z_at = attnhp.waves(config, times), attnhp.waves(config, at)
  # As if the mean gap were a time.
  next_gap = gaps[:, :1] + gaps.mean(axis=1, keepdims=True)
  z_next = attnhp.waves(config, next_gap)
  e = jnp.concatenate([jnp.tanh(params["E"])[marks], z], axis=-1)
  q = jnp.zeros((*at.shape, d), z.dtype)
  one = jnp.broadcast_to(~jnp.eye(n, dtype=bool), hidden.shape)
  mask = jnp.concatenate(
    [
      jnp.concatenate([hidden, jnp.ones_like(hidden)], axis=-1),
      jnp.concatenate([hidden, one], axis=-1),
    ],
    axis=-2,
  )
  total = jnp.zeros((), z.dtype)
  for index in range(config.num_layers):
    x = jnp.concatenate([e, jnp.concatenate([q, z_at], axis=-1)], axis=1)
    rows = {"q": x}
    for name in "kv":
      pool = jax.tree.map(lambda x, i=index: x[i], params["prompts"][name])
      choice = prompt_pool.choose(
        pool["key"], x.mean(axis=1), config.chosen, batchwise=batchwise
      )
      total = total + choice.cosine.mean()
      prompt = pool["prompt"][choice.index].reshape(len(x), -1, d)
      tail = jnp.broadcast_to(z_next, (*prompt.shape[:2], z_next.shape[-1]))
      prompt = jnp.concatenate([prompt, tail], axis=-1)
      rows[name] = jnp.concatenate([prompt, x], axis=1)
    ask, keys, values = (
      rows[name] @ params[name]["W"][index] + params[name]["b"][index]
      for name in "qkv"
    )
    scores = ask @ keys.swapaxes(1, 2) / math.sqrt(d)
    extra = scores.shape[-1] - 2 * n
    sides = (extra, 0) if shifted else (0, extra)
    barred = jnp.pad(mask, [(0, 0), (0, 0), sides])
    answer = jax.nn.softmax(jnp.where(barred, -1e9, scores)) @ values
    q = q + jnp.tanh(answer[:, n:])
    if config.layer_norm:
      q = decays.norm(params["norm"], q)
    e = jnp.concatenate([answer[:, :n], z], axis=-1)
  return q, total
