"""One update of an agent with a memory, from sequences.

The loss of `update`, as a mean over the steps of each sequence. The memory is
that which was stored before the sequence, renewed over the burn-in, through
which no gradient flows; it is made fresh where an episode begins. The target
network starts from the same memory. What is predicted are the encoder's
latents, from before the memory.

The online network sees one augmentation of a sequence, the target network
another one, and the targets of the predictions a third one; each image has its
own shift, as without a memory.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2), and Schwarzer et al., arXiv:2007.05929 (SPR).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.rl import encoders
from jaxseq.rl.losses import priorities
from jaxseq.spr import heads
from jaxseq.spr import inputs
from jaxseq.spr import memory as memory_lib
from jaxseq.spr import networks
from jaxseq.spr import objective
from jaxseq.spr import sequences
from jaxseq.spr import update as update_lib

Array = jax.Array
Params = dict[str, dict]


def train_step(
  config: update_lib.Config,
  state: update_lib.State,
  batch: sequences.Batch,
  key: Array,
) -> tuple[update_lib.State, update_lib.Metrics]:
  """Draws noise and augmentations, and does an update."""
  return update(config, state, batch, draw(key, config, batch.reset.shape))


def draw(
  key: Array, config: update_lib.Config, shape: tuple[int, int]
) -> inputs.Draws:
  """Draws what is random about an update with sequences (window, batch)."""
  predicted = (config.sequence.length + config.num_predictions - 1, shape[1])
  shapes = inputs.Augmentations(shape, predicted, shape, None)
  return update_lib.draw_for(key, config, shapes)


def update(
  config: update_lib.Config,
  state: update_lib.State,
  batch: sequences.Batch,
  draws: inputs.Draws,
) -> tuple[update_lib.State, update_lib.Metrics]:
  """Does an update; nothing is drawn here.

  Args:
    config: options, of networks with a memory.
    state: before the update.
    batch: what to learn from.
    draws: from `draw`.

  Returns:
    The state after the update, and its metrics; priorities are those of the
    sequences.

  Raises:
    ValueError: if the batch does not fit the configuration.
  """
  ahead = config.num_predictions if config.predicts else 0
  image_shape = config.networks.encoder.image_shape
  sequences.check(config.sequence, batch, ahead, image_shape)
  images = _augment(config, batch, draws)
  memory = _renewed(config, state.params, images.online, batch, draws, 0)
  target = _value_target(config, state, batch, images, draws, memory)
  projected = _spr_target(config, state, images, draws)

  def loss(params):
    return _loss(
      config, params, batch, draws, images.online, memory, target, projected
    )

  return update_lib.descend(config, state, loss, draws.noise)


def action_values(
  config: update_lib.Config,
  params: Params,
  batch: sequences.Batch,
  noise: dict[str, heads.Noise] | None = None,
) -> Array:
  """Returns the values of all actions at all steps, nothing augmented.

  Args:
    config: options.
    params: "encoder", "memory" and "head" at least.
    batch: sequences; their memory is taken as it was stored.
    noise: of the head; None for none.

  Returns:
    (window, batch, num_actions).
  """
  _, seen, _ = _see(
    config, params, batch.observation, batch.memory, batch.reset, None
  )
  outputs = heads.apply(config.networks.head, params["head"], seen, noise)
  return heads.action_values(config.networks.head, outputs)


def _augment(config, batch, draws):
  first = config.sequence.burn_in + 1
  last = first + config.sequence.length + config.num_predictions - 1
  images = inputs.Augmentations(
    online=batch.observation,
    spr=batch.observation[first:last] if config.predicts else None,
    next_target=batch.observation,
    next_online=None,
  )
  return inputs.augment_images(config.augmentation, images, draws.augmentations)


def _see(config, params, image, memory, reset, key):
  """Returns latents, what the head sees, and the memory after the last one."""
  parts = config.networks
  latent = encoders.apply(parts.encoder, params["encoder"], image, key)
  seen, memory = memory_lib.apply(
    parts.memory, params["memory"], latent, memory, reset
  )
  return latent, seen, memory


def _renewed(config, params, image, batch, draws, branch):
  """Returns the memory after the burn-in, without a gradient."""
  burn_in = config.sequence.burn_in
  if not burn_in:
    return batch.memory
  key = update_lib.dropout_keys(draws)[branch]
  if key is not None:
    # Other masks than for the steps after.
    key = jax.random.fold_in(key, 1)
  _, _, memory = _see(
    config, params, image[:burn_in], batch.memory, batch.reset[:burn_in], key
  )
  return jax.lax.stop_gradient(memory)


def _value_target(config, state, batch, images, draws, memory):
  """Returns target distributions (rows, atoms), or values (rows,)."""
  noise = update_lib.noise_of_target(config, state, draws)
  renewed = _renewed(config, state.target, images.next_target, batch, draws, 2)
  outputs = _next_outputs(
    config, state.target, images.next_target, batch, draws, renewed, noise, 2
  )
  chooser = outputs
  if config.double:
    chooser = _next_outputs(
      config, state.params, images.online, batch, draws, memory, draws.noise, 3
    )
  return objective.bootstrap(config, batch, outputs, chooser)


def _next_outputs(config, params, image, batch, draws, memory, noise, branch):
  """Returns what the head says n steps after each one that is learned from."""
  burn_in, length = config.sequence.burn_in, config.sequence.length
  key = update_lib.dropout_keys(draws)[branch]
  _, seen, _ = _see(
    config, params, image[burn_in:], memory, batch.reset[burn_in:], key
  )
  seen = jax.lax.dynamic_slice_in_dim(seen, batch.num_steps, length)
  return heads.apply(config.networks.head, params["head"], _rows(seen), noise)


def _rows(x):
  """Joins the axes of time and batch."""
  return x.reshape(-1, *x.shape[2:])


def _spr_target(config, state, images, draws):
  """Returns the projections (K, rows, width) to predict; None without."""
  if not config.predicts:
    return None
  projected = networks.encode_project(
    config.networks,
    update_lib.predicted_weights(config, state),
    images.spr,
    update_lib.dropout_keys(draws)[1],
  )
  length = config.sequence.length
  return jnp.stack(
    [_rows(projected[k : k + length]) for k in range(config.num_predictions)]
  )


def _loss(
  config: update_lib.Config,
  params: Params,
  batch: sequences.Batch,
  draws: inputs.Draws,
  image: Array,
  memory: Any,
  target: Array,
  projected: Array | None,
) -> tuple[Array, update_lib.Metrics]:
  """Returns the loss and metrics, of which the norms are still missing."""
  sequence, key = config.sequence, update_lib.dropout_keys(draws)[0]
  learned = slice(sequence.burn_in, sequence.span)
  latent, seen, _ = _see(
    config, params, image[learned], memory, batch.reset[learned], key
  )
  outputs = heads.apply(
    config.networks.head, params["head"], _rows(seen), draws.noise
  )
  rl, spr, priority = (
    x.reshape(sequence.length, -1)
    for x in objective.terms(
      config, params, batch, _rows(latent), outputs, target, projected
    )
  )
  priority = priorities.sequence_priority(
    priority.T, max_share=sequence.priority_max_share
  )
  return update_lib.weigh(
    config, batch.weight, rl.mean(axis=0), spr.mean(axis=0), priority
  )
