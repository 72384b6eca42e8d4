"""R2D2 loss of replayed sequences."""

import functools

import jax
import jax.numpy as jnp

from jaxseq.rl.agents import off_policy
from jaxseq.rl.agents import value_losses
from jaxseq.rl.losses import categorical
from jaxseq.rl.losses import priorities
from jaxseq.rl.losses import td

Array = jax.Array


def action_values(config, network, params, batch, key_dropout=None):
  """Returns the values of all actions at all steps of replayed sequences.

  From sequences with one leading axis to (batch, time + 1, n), see `policies`.
  """
  return policies(config, network, params, batch, key_dropout).values


def policies(config, network, params, batch, key_dropout=None):
  """Returns the policies (batch, time + 1) of replayed sequences.

  The memory starts from the stored state and is recomputed over the burn-in,
  without gradients. With a key, dropout is on after the burn-in.
  """
  options = {}
  if key_dropout is not None:
    options = {"train": True, "rngs": {"dropout": key_dropout}}
  policy, _ = off_policy.unroll(
    network, params, batch.memory, batch, config.burn_in, **options
  )
  return policy


def targets(config, q, q_target, batch):
  """Returns the targets for the values of the actions taken.

  From action values (batch, time + 1, n) of the network and of the target
  network, see `action_values`, to (batch, time) on the scale of the network.
  """
  v = td.double_q(q, q_target)
  if config.rescale_values:
    v = td.unrescale(v)
  r_t = config.reward_scale * batch.reward
  if config.targets == "lambda":
    look = functools.partial(td.lambda_targets, q_lambda=config.q_lambda)
  else:
    look = functools.partial(td.n_step_targets, num_steps=config.num_steps)
  target_tm1 = look(r_t, v, batch.terminated, batch.cut, gamma=config.gamma)
  return td.rescale(target_tm1) if config.rescale_values else target_tm1


def distributions(config, q, logits_target, batch):
  """Returns the distributions of the n-step targets: (batch, time, bins).

  The arguments are as in `targets`, with the logits (batch, time + 1, n, bins)
  of the target network.
  """
  support, (_, length) = config.support, batch.reward.shape
  probs = jax.nn.softmax(td.double_q(q, logits_target))

  def look(r_t, v, terminated, gamma):
    v = jnp.broadcast_to(v, (len(r_t), length + 1))
    return td.n_step_targets(
      r_t, v, terminated, batch.cut, gamma=gamma, num_steps=config.num_steps
    )

  # A target is linear in its bootstrap value: compute its rewards, the factor
  # of that value, and the step that the value is taken from.
  nothing, never = jnp.zeros_like(batch.reward), jnp.zeros_like(batch.cut)
  r_t = config.reward_scale * batch.reward
  returns = look(r_t, 0.0, batch.terminated, config.gamma)
  discount = look(nothing, 1.0, batch.terminated, config.gamma)
  step = look(nothing, jnp.arange(length + 1.0), never, 1.0)
  probs = jnp.take_along_axis(probs, step.astype(jnp.int32)[..., None], axis=1)
  z = jnp.linspace(support.low, support.high, support.bins, dtype=probs.dtype)
  z = support.value(z)
  z = td.unrescale(z) if config.rescale_values else z
  moved = returns[..., None] + discount[..., None] * z
  moved = td.rescale(moved) if config.rescale_values else moved
  moved = support.place(moved)
  flat = probs.reshape(-1, support.bins), moved.reshape(-1, support.bins)
  target = categorical.spread(*flat, support.low, support.high)
  return jax.lax.stop_gradient(target.reshape(probs.shape))


def loss(
  config, network, params, target_params, batch, weight, key_dropout=None
):
  """Returns the loss of sequences, metrics, and priorities (batch,).

  With a key, the trained values use dropout; their targets do not.
  """
  policy = selector = policies(config, network, params, batch, key_dropout)
  if key_dropout is not None:
    selector = policies(config, network, params, batch)
  other = policies(config, network, target_params, batch)
  target_tm1 = targets(config, selector.values, other.values, batch)
  mask_t = ~batch.cut
  td_error, q_a_tm1 = td.td_errors(
    policy.values[:, :-1], batch.action, target_tm1, mask_t
  )
  logits = distribution = None
  if config.support is not None:
    logits = td.take_action(policy.logits[:, :-1], batch.action)
  if config.value_loss == "c51":
    distribution = distributions(config, selector.values, other.logits, batch)
  losses, shares = value_losses.step_losses(
    config.support, td_error, logits, target_tm1, distribution
  )
  total = td.weighted_mean(losses, weight, mask_t)
  priority = priorities.sequence_priority(
    td_error, mask_t, max_share=config.priority_max_share
  )
  metrics = {
    "loss": total,
    "td_error": jnp.abs(td_error).mean(where=mask_t),
    "q_value": q_a_tm1.mean(where=mask_t),
    **{name: x.mean(where=mask_t) for name, x in shares.items()},
  }
  return total, (metrics, priority)
