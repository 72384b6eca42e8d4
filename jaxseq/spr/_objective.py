"""Value and self-prediction losses per step, their targets and priorities.

The same for steps on their own (`update`) and for those of sequences
(`sequence_loss`). Schwarzer et al., arXiv:2007.05929, section 2.
"""

import chex
import jax
import jax.numpy as jnp
import optax

from jaxseq.rl.losses import categorical
from jaxseq.rl.losses import td
from jaxseq.spr import agent_networks
from jaxseq.spr import q_heads

Array = jax.Array

# Vectors shorter than this are not stretched to length 1, as in SPR's code.
_MIN_NORM = 1e-3


def spr_distance(prediction: Array, target: Array) -> Array:
  """Returns the squared distance of two vectors that are made length 1.

  That is 2 - 2 cos of the angle between them, the self-prediction loss of
  Schwarzer et al., arXiv:2007.05929, equation 3. Vectors shorter than 1e-3 are
  divided by 1e-3. From (..., d) each to (...), in [0, 4].
  """
  chex.assert_equal_shape([prediction, target])
  return jnp.square(_normalize(prediction) - _normalize(target)).sum(axis=-1)


def _normalize(x):
  """Makes vectors length 1."""
  # The maximum is taken under the root: at a zero vector the root of the sum
  # has no derivative.
  squares = jnp.square(x).sum(axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, _MIN_NORM**2))


def episode_mask(done: Array) -> Array:
  """Returns which predictions stay within the episode of the first step.

  From `done` of the transitions taken at t .. t + K, (*batch, K + 1) bool, to
  the like, False at k if an episode ended at t + k or before.
  """
  chex.assert_type(done, bool)
  return jnp.cumsum(done, axis=-1) == 0


def bootstrap(config, batch, outputs, selector):
  """Returns what the values of the actions taken should be.

  From outputs (batch, num_actions, ...) of the target network at s_{t+n}, and
  the like of the network that selects the action there, to distributions
  (batch, atoms); values (batch,) without atoms.
  """
  head = config.networks.head
  outputs = td.double_q(q_heads.action_values(head, selector), outputs)
  done = batch.done_n if config.done_n == "any" else batch.done[:, 0]
  discount = jnp.where(done, 0, batch.discount)
  if head.atoms is None:
    return batch.return_n + discount * outputs
  probs = jax.nn.softmax(outputs, axis=-1)
  return categorical.project(
    probs, batch.return_n, discount, head.v_min, head.v_max
  )


def terms(config, params, batch, latent, outputs, target, projected, draws):
  """Returns the losses of each step, and its priority.

  From the latents z_t (batch, height, width, channels), the outputs of the head
  there (batch, num_actions, ...), the target from `bootstrap`, and projections
  to predict (batch, K, width), None without, to the loss of the values, that of
  the predictions, and the priority, (batch,) each.
  """
  outputs = td.take_action(outputs, batch.action[:, 0])
  if config.networks.head.atoms is None:
    td_error = target - outputs
    rl = optax.losses.huber_loss(td_error)
    kl = jnp.minimum(jnp.abs(td_error), 1)
  else:
    rl = optax.losses.softmax_cross_entropy(outputs, target)
    kl = categorical.bounded_kl(target, jax.nn.log_softmax(outputs, axis=-1))
  spr = jnp.zeros_like(rl)
  if config.predicts:
    key = draws.dropout_key(0, part=1)
    predicted = agent_networks.predict(
      config.networks, params, latent, batch.action, key=key
    )
    mask = episode_mask(batch.done)[:, 1:]
    distance = spr_distance(predicted, projected)
    spr = jnp.where(mask, distance, 0).mean(axis=1)
  priority = jax.lax.stop_gradient(kl if config.priority == "kl" else rl)
  return rl, spr, priority
