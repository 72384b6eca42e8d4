"""What every step is worth: its target, its losses and its priority.

The same for steps on their own (`update`) and for those of sequences
(`sequence_update`). Schwarzer et al., arXiv:2007.05929, section 2.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.rl.losses import categorical
from jaxseq.rl.replay import frames
from jaxseq.spr import heads
from jaxseq.spr import networks
from jaxseq.spr import sequences

Array = jax.Array
Params = dict[str, dict]


def bootstrap(
  config: Any,
  batch: frames.Batch | sequences.Batch,
  outputs: Array,
  chooser: Array,
) -> Array:
  """Returns what the values of the actions taken should be.

  Args:
    config: an `update.Config`.
    batch: what to learn from.
    outputs: (batch, num_actions, ...), of the target network at s_{t+n}.
    chooser: like it, of the network that chooses the action there.

  Returns:
    Distributions (batch, atoms); values (batch,) without atoms.
  """
  head = config.networks.head
  action = jnp.argmax(heads.action_values(head, chooser), axis=-1)
  outputs = categorical.take_action(outputs, action)
  done = batch.done_n if config.done_n == "any" else batch.done[0]
  discount = jnp.where(done, 0, batch.discount)
  if head.atoms is None:
    return batch.return_n + discount * outputs
  probs = jax.nn.softmax(outputs, axis=-1)
  return categorical.project_categorical(
    probs, batch.return_n, discount, head.v_min, head.v_max
  )


def terms(
  config: Any,
  params: Params,
  batch: frames.Batch | sequences.Batch,
  latent: Array,
  outputs: Array,
  target: Array,
  projected: Array | None,
) -> tuple[Array, Array, Array]:
  """Returns the losses of each step, and its priority.

  Args:
    config: an `update.Config`.
    params: of the online networks.
    batch: what to learn from.
    latent: (batch, height, width, channels), z_t.
    outputs: (batch, num_actions, ...), of the head at s_t.
    target: from `bootstrap`.
    projected: (K, batch, width), the projections to predict; None without.

  Returns:
    The loss of the values, that of the predictions, and the priority, (batch,)
    each.
  """
  outputs = categorical.take_action(outputs, batch.action[0])
  if config.networks.head.atoms is None:
    rl, kl = categorical.huber(target - outputs)
  else:
    log_probs = jax.nn.log_softmax(outputs, axis=-1)
    rl = categorical.cross_entropy(target, log_probs)
    kl = categorical.kl_divergence(target, log_probs)
  spr = jnp.zeros_like(rl)
  if config.predicts:
    predicted = networks.predict(config.networks, params, latent, batch.action)
    mask = categorical.episode_mask(batch.done)[1:]
    distance = categorical.spr_distance(predicted, projected)
    spr = jnp.where(mask, distance, 0).mean(axis=0)
  priority = jax.lax.stop_gradient(kl if config.priority == "kl" else rl)
  return rl, spr, priority
