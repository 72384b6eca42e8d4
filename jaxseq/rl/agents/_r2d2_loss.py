"""Loss of R2D2 and its optimizer steps, from replayed sequences."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq._types import PyTree
from jaxseq.rl.losses import priorities
from jaxseq.rl.losses import td
from jaxseq.rl.replay import sequences
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers

Array = jax.Array


class Learned(NamedTuple):
  """Parameters, those of the target network, and the optimizer's state."""

  params: PyTree
  target: PyTree
  opt_state: PyTree


def learn(config, network, optimizer, learned, replay, key, num_steps):
  """Takes the optimizer steps of one update, `num_steps` of the run before it.

  The replay must have a sequence. Metrics are means over the steps.
  """
  form = flat_parameters.choose(optimizer, learned.params, learned.opt_state)

  def step(carry, inputs):
    learned, tree = carry
    key, key_dropout, count = inputs
    places, weight = sequences.sample(
      replay._replace(priorities=tree),
      key,
      config.batch_size,
      importance_exponent=config.importance_exponent,
    )
    batch = sequences.take(replay, places)
    if not config.network.stack.dropout:
      key_dropout = None
    params, target = form.unpack(learned.params), form.unpack(learned.target)
    arguments = params, target, batch, weight, key_dropout
    gradients, (metrics, priority) = jax.grad(loss, argnums=2, has_aux=True)(
      config, network, *arguments
    )
    gradients = form.pack(gradients)
    metrics["grad_norm"] = optax.tree.norm(gradients)
    params, opt_state, skipped = optimizers.step(
      optimizer,
      gradients,
      learned.opt_state,
      learned.params,
      skip_nonfinite=config.skip_nonfinite,
    )
    if skipped:
      # One error that is not finite would spoil the sums of all priorities.
      priority = jnp.where(jnp.isfinite(priority), priority, 0)
    metrics |= skipped
    target = optax.periodic_update(
      params, learned.target, count, config.target_period
    )
    tree = sequences.set_priority(
      tree, places, priority, config.priority_exponent
    )
    return (Learned(params, target, opt_state), tree), metrics

  # The first row is what a split into as many keys gives: all else is as it is
  # without dropout.
  shape = (2, config.num_minibatches)
  keys, keys_dropout = jax.random.split(key, shape)
  counts = num_steps + 1 + jnp.arange(config.num_minibatches)
  held = Learned(
    form.pack(learned.params),
    form.pack(learned.target),
    form.pack_state(learned.opt_state),
  )
  (held, tree), metrics = jax.lax.scan(
    step, (held, replay.priorities), (keys, keys_dropout, counts)
  )
  learned = Learned(
    form.unpack(held.params),
    form.unpack(held.target),
    form.unpack_state(held.opt_state),
  )
  return learned, tree, optimizers.over_steps(metrics)


def action_values(config, network, params, batch, key_dropout=None):
  """Returns the values of all actions at all steps of replayed sequences.

  The memory starts as it was stored and is renewed over the burn-in, through
  which no gradient flows. From sequences with one leading axis to
  (batch, time + 1, n). With a key dropout is on after the burn-in.
  """

  def run(memory, steps, **options):
    observation, reset = jax.tree.map(
      lambda x: x[:, steps], (batch.observation, batch.reset)
    )
    policy, _, memory = network.apply(
      {"params": params}, observation, memory, reset, **options
    )
    return policy, memory

  memory = sequences.renew(
    lambda memory, steps: run(memory, steps)[1], batch.memory, config.burn_in
  )
  options = {}
  if key_dropout is not None:
    options = {"train": True, "rngs": {"dropout": key_dropout}}
  return run(memory, slice(config.burn_in, None), **options)[0].values


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
