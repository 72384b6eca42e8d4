"""Loss of R2D2, of replayed sequences."""

import functools

import jax
import jax.numpy as jnp

from jaxseq.rl.agents import off_policy
from jaxseq.rl.losses import priorities
from jaxseq.rl.losses import td

Array = jax.Array


def action_values(config, network, params, batch, key_dropout=None):
  """Returns the values of all actions at all steps of replayed sequences.

  The memory starts as it was stored and is renewed over the burn-in, through
  which no gradient flows. From sequences with one leading axis to
  (batch, time + 1, n). With a key dropout is on after the burn-in.
  """
  options = {}
  if key_dropout is not None:
    options = {"train": True, "rngs": {"dropout": key_dropout}}
  policy, _ = off_policy.unroll(
    network, params, batch.memory, batch, config.burn_in, **options
  )
  return policy.values


def targets(config, q, q_target, batch):
  """Returns what the values of the actions taken should be.

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


def loss(
  config, network, params, target_params, batch, weight, key_dropout=None
):
  """Returns the loss of sequences, metrics, and priorities (batch,).

  With a key the values that learn have dropout, and their targets have none.
  """
  q = selector = action_values(config, network, params, batch, key_dropout)
  if key_dropout is not None:
    selector = action_values(config, network, params, batch)
  q_target = action_values(config, network, target_params, batch)
  target_tm1 = targets(config, selector, q_target, batch)
  mask_t = ~batch.cut
  td_error, q_a_tm1 = td.td_errors(q[:, :-1], batch.action, target_tm1, mask_t)
  total = td.squared_loss(td_error, weight, mask_t)
  priority = priorities.sequence_priority(
    td_error, mask_t, max_share=config.priority_max_share
  )
  metrics = {
    "loss": total,
    "td_error": jnp.abs(td_error).mean(where=mask_t),
    "q_value": q_a_tm1.mean(where=mask_t),
  }
  return total, (metrics, priority)
