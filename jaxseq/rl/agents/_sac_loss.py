"""Soft actor-critic losses of replayed sequences."""

import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.nn import distributions
from jaxseq.rl import soft_networks
from jaxseq.rl.agents import off_policy
from jaxseq.rl.losses import soft
from jaxseq.rl.losses import td
from jaxseq.types import PyTree

Array = jax.Array


class Networks(NamedTuple):
  """The networks of the losses; the first two may normalize observations."""

  actor: Any
  features: Any
  values: soft_networks.TwinValues


def actor_params(params: PyTree) -> PyTree:
  """Returns the actor's parameters, with the modules that it shares.

  `params` is {"actor", "critic": {"features", "values"}, "log_alpha"}. Modules
  that the actor lacks are taken from the critic, and are trained by the
  critic's loss only.
  """
  return {
    **jax.lax.stop_gradient(params["critic"]["features"]),
    **params["actor"],
  }


def fresh(network, params, batch_shape):
  """Returns the initial memories of an episode."""
  return network.initial_state(batch_shape, variables={"params": params})


def loss(config, networks, target_entropy, params, target, batch, weight, key):
  """Returns the sum of all losses, metrics, and None for priorities.

  Each loss has gradients only for its own parameters, so one step on the sum
  trains all of them.
  """
  del weight  # Sequences are drawn uniformly.
  actor, features, values = networks
  critic, other = params["critic"], target["critic"]
  alpha = jax.lax.stop_gradient(jnp.exp(params["log_alpha"]))

  def run(network, params, name):
    memory = batch.memory
    if config.start == "episode":
      memory = fresh(network, params, batch.reset.shape[:1])
    elif name in memory:
      memory = memory[name]
    else:
      memory = memory["actor"]
    return off_policy.unroll(network, params, memory, batch, config.burn_in)

  policy, _ = run(actor, actor_params(params), "actor")
  x, seen = run(features, critic["features"], "critic")
  x_target, seen_target = run(features, other["features"], "critic")

  numbers = not isinstance(policy, distributions.Categorical)
  if numbers:
    action, log_prob = policy.sample_with_log_prob(key)
    value, entropy = soft.value, -log_prob
  else:
    action, log_prob = None, jax.nn.log_softmax(policy.logits)
    value, entropy = soft.expected_value, policy.entropy()
  q = values.apply({"params": other["values"]}, x_target, seen_target, action)
  v = value(q, log_prob, alpha)
  mask = ~batch.cut
  q, errors = _td_errors(config, values, critic, (x, seen), v, batch, numbers)
  critic_loss = soft.mean(jnp.square(errors).sum(axis=0), mask)
  # The actor's loss trains neither the critic nor its encoder.
  held = jax.lax.stop_gradient((critic["values"], x, seen))
  q_new = values.apply({"params": held[0]}, *held[1:], action)
  actor_loss = -soft.mean(value(q_new, log_prob, alpha)[:, :-1], mask)
  entropy = soft.mean(entropy[:, :-1], mask)
  if not numbers and config.target_entropy is None:
    # Scaled to the greatest entropy over the allowed actions.
    allowed = jnp.isfinite(log_prob).sum(axis=-1)
    share = jnp.log(allowed) / math.log(max(log_prob.shape[-1], 2))
    target_entropy *= soft.mean(share[:, :-1], mask)
  total = critic_loss + actor_loss
  if config.temperature != "fixed":
    total += soft.temperature_loss(
      params["log_alpha"], entropy, target_entropy, config.temperature
    )
  metrics = {
    "critic_loss": critic_loss,
    "actor_loss": actor_loss,
    "td_error": soft.mean(jnp.abs(errors).mean(axis=0), mask),
    "q_value": soft.mean(q.mean(axis=0), mask),
    "entropy": entropy,
    "alpha": alpha,
  }
  return total, (metrics, None)


def _td_errors(config, values, critic, features, v, batch, numbers):
  """Returns the values of the actions made, and their distances to targets."""
  targets = td.n_step_targets(
    config.reward_scale * batch.reward,
    v,
    batch.terminated,
    batch.cut,
    gamma=config.gamma,
    num_steps=1,
  )
  q = values.apply(
    {"params": critic["values"]},
    *(x[:, :-1] for x in features),
    batch.action if numbers else None,
  )
  if not numbers:
    q = jax.vmap(td.take_action, (0, None))(q, batch.action)
  return q, targets - q
