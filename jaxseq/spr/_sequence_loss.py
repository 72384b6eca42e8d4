"""Loss of an agent with a memory, from sequences.

The loss of `update`, as a mean over the steps of each sequence. The
memory is that which was stored before the sequence, renewed over the burn-in,
through which no gradient flows; it is made fresh where an episode begins. The
target network starts from the same memory. What is predicted are the encoder's
latents, from before the memory.

The online network sees one augmentation of a sequence, the target network
another one, and the targets of the predictions a third one; each image has its
own shift, as without a memory.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2), and Schwarzer et al., arXiv:2007.05929 (SPR).
"""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import encoders
from jaxseq.rl.losses import priorities
from jaxseq.rl.replay import sequences
from jaxseq.spr import _inputs
from jaxseq.spr import _objective
from jaxseq.spr import agent_networks
from jaxseq.spr import learner
from jaxseq.spr import q_heads


def images(config, batch):
  """Returns the images of each branch of an update."""
  predicted = None
  if config.predicts:
    first = config.sequence.burn_in + 1
    last = config.sequence.span + config.ahead
    predicted = batch.observation[:, first:last]
  return _inputs.Augmentations(
    batch.observation, predicted, batch.observation, None
  )


def make(config, state, batch, draws):
  """Returns the loss of sequences as a function of the online parameters."""
  sequence, ahead = config.sequence, config.ahead
  steps, least = batch.reset.shape[-1], sequence.span + max(ahead, 1)
  validate.integer("steps of batch.reset", steps, least)
  _inputs.check(
    batch,
    steps=steps,
    rows=sequence.length * len(batch.weight),
    ahead=ahead,
    observation_shape=config.networks.encoder.image_shape,
  )
  augmented = _inputs.augment(
    config.augmentation, images(config, batch), draws.augmentations
  )
  key_burn_in, key = _keys(draws, 0)
  memory = _renewed(config, state.params, augmented.online, batch, key_burn_in)
  target = _value_target(config, state, batch, augmented, draws, memory)
  projected = learner.to_predict(config, state, augmented.spr, draws)
  if projected is not None:
    # Those of t + 1 .. t + K, for every step t that is learned from.
    each = [projected[:, k : k + sequence.length] for k in range(ahead)]
    projected = _rows(jnp.stack(each, axis=2))
  learned = slice(sequence.burn_in, sequence.span)

  def loss(params):
    image, reset = augmented.online[:, learned], batch.reset[:, learned]
    key_memory = draws.dropout_key(0, part=2)
    latent, seen, _ = _see(
      config, params, image, memory, reset, key, key_memory
    )
    outputs = q_heads.apply(
      config.networks.head, params["head"], _rows(seen), draws.noise
    )
    terms = _objective.terms(
      config, params, batch, _rows(latent), outputs, target, projected, draws
    )
    rl, spr, priority = (x.reshape(-1, sequence.length) for x in terms)
    priority = priorities.sequence_priority(
      priority, max_share=sequence.priority_max_share
    )
    return learner.weigh(
      config, batch.weight, rl.mean(axis=1), spr.mean(axis=1), priority
    )

  return loss


def _keys(draws, branch):
  """Returns the keys of a branch's dropout in the burn-in and after it."""
  key = draws.dropout_key(branch)
  return (None, None) if key is None else jax.random.split(key)


def _see(config, params, image, memory, reset, key, key_memory=None):
  """Returns latents, what the head sees, and the memory after the last one."""
  parts = config.networks
  latent = encoders.apply(parts.encoder, params["encoder"], image, key)
  seen, memory = agent_networks.remember(
    parts, params, latent, memory, reset, key_memory
  )
  return latent, seen, memory


def _renewed(config, params, image, batch, key):
  """Returns the memory after the burn-in, without a gradient."""

  def run(memory, steps):
    reset = batch.reset[:, steps]
    return _see(config, params, image[:, steps], memory, reset, key)[-1]

  return sequences.renew(run, batch.memory, config.sequence.burn_in)


def _value_target(config, state, batch, augmented, draws, memory):
  """Returns target distributions (rows, atoms), or values (rows,)."""
  burn_in, length = config.sequence.burn_in, config.sequence.length

  def outputs_ahead(params, image, memory, noise, key):
    """Returns outputs n steps after each one that is learned from."""
    _, seen, _ = _see(
      config, params, image[:, burn_in:], memory, batch.reset[:, burn_in:], key
    )
    seen = jax.lax.dynamic_slice_in_dim(seen, batch.num_steps, length, axis=1)
    return q_heads.apply(
      config.networks.head, params["head"], _rows(seen), noise
    )

  key_burn_in, key = _keys(draws, 2)
  image = augmented.next_target
  renewed = _renewed(config, state.target, image, batch, key_burn_in)
  noise = learner.noise_of_target(config, state, draws)
  outputs = outputs_ahead(state.target, image, renewed, noise, key)
  selector = outputs
  if config.double:
    selector = outputs_ahead(
      state.params, augmented.online, memory, draws.noise, draws.dropout_key(3)
    )
  return _objective.bootstrap(config, batch, outputs, selector)


def _rows(x):
  """Joins the axes of batch and time."""
  return x.reshape(-1, *x.shape[2:])
