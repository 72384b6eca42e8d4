"""Learning from replayed sequences: the optimiser steps of `r2d2`."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq.rl import q_networks
from jaxseq.rl.agents import r2d2_rollout
from jaxseq.rl.losses import priorities
from jaxseq.rl.losses import td
from jaxseq.rl.replay import sequences

Array = jax.Array


class Learned(NamedTuple):
  """What the optimiser changes.

  Attributes:
    params: the network's parameters.
    target: those of the target network.
    opt_state: the optimiser's.
  """

  params: Any
  target: Any
  opt_state: Any


def learn(
  config: Any,
  network: q_networks.QNetwork,
  optimizer: optax.GradientTransformation,
  learned: Learned,
  replay: sequences.Replay,
  key: Array,
  num_steps: Array,
) -> tuple[Learned, Array, dict[str, Array]]:
  """Takes the optimiser steps of one update.

  Args:
    config: a `r2d2.Config`.
    network: the Q-network.
    optimizer: of its parameters.
    learned: what the optimiser has made of them so far.
    replay: sequences, at least one.
    key: random key.
    num_steps: () int32, optimiser steps before this update.

  Returns:
    What has been learned, the priorities (capacity,) of the replay, and the
    metrics of `loss` and `grad_norm`, scalars, as means over the steps.
  """

  def step(carry, inputs):
    learned, priority = carry
    key, count = inputs
    now = replay._replace(priority=priority)
    places, weight = sequences.sample(
      now,
      key,
      config.batch_size,
      priority_exponent=config.priority_exponent,
      importance_exponent=config.importance_exponent,
    )
    batch = sequences.take(now, places)
    gradients, (metrics, fresh) = jax.grad(loss, argnums=2, has_aux=True)(
      config, network, learned.params, learned.target, batch, weight
    )
    metrics["grad_norm"] = optax.tree.norm(gradients)
    updates, opt_state = optimizer.update(
      gradients, learned.opt_state, learned.params
    )
    params = optax.apply_updates(learned.params, updates)
    target = optax.periodic_update(
      params, learned.target, count, config.target_period
    )
    now = sequences.set_priority(now, places, fresh)
    return (Learned(params, target, opt_state), now.priority), metrics

  keys = jax.random.split(key, config.num_minibatches)
  counts = num_steps + 1 + jnp.arange(config.num_minibatches)
  (learned, priority), metrics = jax.lax.scan(
    step, (learned, replay.priority), (keys, counts)
  )
  return learned, priority, jax.tree.map(jnp.mean, metrics)


def action_values(
  config: Any,
  network: q_networks.QNetwork,
  params: Any,
  batch: r2d2_rollout.Sequence,
) -> Array:
  """Returns the values of all actions at all steps of replayed sequences.

  The memory starts as it was stored and is renewed over the burn-in, through
  which no gradient flows.

  Args:
    config: a `r2d2.Config`.
    network: the Q-network.
    params: its parameters.
    batch: sequences with one leading axis.

  Returns:
    (batch, time + 1, n).
  """
  variables, memory, burn_in = {"params": params}, batch.memory, config.burn_in
  seen = batch.observation, batch.reset
  if burn_in:
    observation, reset = jax.tree.map(lambda x: x[:, :burn_in], seen)
    _, _, memory = network.apply(variables, observation, memory, reset)
    memory = jax.lax.stop_gradient(memory)
  observation, reset = jax.tree.map(lambda x: x[:, burn_in:], seen)
  policy, _, _ = network.apply(variables, observation, memory, reset)
  return policy.values


def targets(
  config: Any, online: Array, target: Array, batch: r2d2_rollout.Sequence
) -> Array:
  """Returns what the values of the actions taken should be.

  Args:
    config: a `r2d2.Config`.
    online: (batch, time + 1, n) action values of the network.
    target: (batch, time + 1, n) action values of the target network.
    batch: sequences with one leading axis.

  Returns:
    (batch, time), on the scale of the network.
  """
  value = td.double_q(online, target)
  if config.rescale_values:
    value = td.unrescale(value)
  reward = config.reward_scale * batch.reward
  arguments = (reward, value, batch.terminated, batch.cut)
  if config.targets == "lambda":
    wanted = td.lambda_targets(
      *arguments, gamma=config.gamma, q_lambda=config.q_lambda
    )
  else:
    wanted = td.n_step_targets(
      *arguments, gamma=config.gamma, num_steps=config.num_steps
    )
  return td.rescale(wanted) if config.rescale_values else wanted


def loss(
  config: Any,
  network: q_networks.QNetwork,
  params: Any,
  target_params: Any,
  batch: r2d2_rollout.Sequence,
  weight: Array,
) -> tuple[Array, tuple[dict[str, Array], Array]]:
  """Returns the loss of a minibatch.

  Args:
    config: a `r2d2.Config`.
    network: the Q-network.
    params: its parameters.
    target_params: those of the target network.
    batch: sequences with one leading axis.
    weight: (batch,), of the sequences.

  Returns:
    The loss; and a dict of scalars, `loss`, `td_error` and `q_value`, with the
    priorities (batch,) of the sequences.
  """
  online = action_values(config, network, params, batch)
  target = action_values(config, network, target_params, batch)
  wanted = targets(config, online, target, batch)
  counts = ~batch.cut
  error, chosen = td.td_errors(online[:, :-1], batch.action, wanted, counts)
  total = td.squared_loss(error, weight, counts)
  fresh = priorities.sequence_priority(
    error, counts, max_share=config.priority_max_share
  )
  metrics = {
    "loss": total,
    "td_error": jnp.abs(error).mean(where=counts),
    "q_value": chosen.mean(where=counts),
  }
  return total, (metrics, fresh)
