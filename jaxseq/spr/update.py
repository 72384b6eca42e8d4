"""Updates of an agent, and the loss of one without a memory.

An agent with a memory learns from sequences (`_sequence_loss`), any other from
transitions on their own:

    z = f(aug(s_t));  CE of the head on z with the target from s_{t+n}
    y_k = q(g(z_k)),  z_k = h(z_{k-1}, a_{t+k-1}), z_0 = z
    L = mean_b w_b [ CE_b + weight * mean_k mask_bk |y_k/|y_k| - t_k/|t_k||^2 ]

where t_k = g_m(f_m(aug(s_{t+k}))) are the projections of what really came, for
k = 1 .. K, without a gradient. The weight 5 on the mean over K = 5 squared
distances is the paper's lambda = 2 on the sum of cosines.

Schwarzer et al., arXiv:2007.05929, and its code.
"""

import jax

from jaxseq.rl import encoders
from jaxseq.rl.replay import frames
from jaxseq.spr import _inputs
from jaxseq.spr import _objective
from jaxseq.spr import _sequence_loss
from jaxseq.spr import learner
from jaxseq.spr import q_heads

Array = jax.Array


def draw(
  key: Array, config: learner.Config, batch: frames.Batch
) -> _inputs.Draws:
  """Draws the random numbers of an update with a batch."""
  images = _sequence_loss.images if config.recurrent else _images
  return learner.draw(key, config, images(config, batch))


def train_step(
  config: learner.Config, state: learner.State, batch: frames.Batch, key: Array
) -> tuple[learner.State, learner.Metrics]:
  """Draws noise and augmentations, and does an update."""
  return update(config, state, batch, draw(key, config, batch))


def update(
  config: learner.Config,
  state: learner.State,
  batch: frames.Batch,
  draws: _inputs.Draws,
) -> tuple[learner.State, learner.Metrics]:
  """Does an update with what `draw` drew.

  Priorities in the metrics are those of the transitions or, for an agent with
  a memory, of the sequences.

  Raises:
    ValueError: if the batch does not fit the configuration.
  """
  make = _sequence_loss.make if config.recurrent else make_loss
  loss = make(config, state, batch, draws)
  return learner.descend(config, state, loss, draws.noise)


def _images(config, batch):
  """Returns the images of each branch of an update."""
  return _inputs.Augmentations(
    online=batch.observation[:, 0],
    spr=batch.observation[:, 1:] if config.predicts else None,
    next_target=batch.next_observation,
    next_online=batch.next_observation,
  )


def make_loss(
  config: learner.Config,
  state: learner.State,
  batch: frames.Batch,
  draws: _inputs.Draws,
) -> learner.Loss:
  """Returns the loss of transitions as a function of the online parameters.

  Raises:
    ValueError: if the batch does not fit the configuration.
  """
  _inputs.check(
    batch,
    steps=config.ahead + 1,
    rows=len(batch.weight),
    ahead=config.ahead,
    observation_shape=config.networks.encoder.image_shape,
  )
  seen = _inputs.augment(
    config.augmentation, _images(config, batch), draws.augmentations
  )
  target = _value_target(config, state, batch, seen, draws)
  projected = learner.to_predict(config, state, seen.spr, draws)

  def loss(params):
    latent, outputs = _outputs(
      config, params, seen.online, draws.noise, draws.dropout_key(0)
    )
    terms = _objective.terms(
      config, params, batch, latent, outputs, target, projected, draws
    )
    return learner.weigh(config, batch.weight, *terms)

  return loss


def _outputs(config, params, image, noise, key):
  """Returns the latents of images, and what the head says of them."""
  encoder, head = config.networks.encoder, config.networks.head
  latent = encoders.apply(encoder, params["encoder"], image, key)
  return latent, q_heads.apply(head, params["head"], latent, noise)


def _value_target(config, state, batch, seen, draws):
  """Returns target distributions (batch, atoms), or values (batch,)."""
  noise, image = learner.noise_of_target(config, state, draws), seen.next_target
  key_target, key_online = draws.dropout_key(2), draws.dropout_key(3)
  _, outputs = _outputs(config, state.target, image, noise, key_target)
  selector = outputs
  if config.double:
    image = seen.next_online
    _, selector = _outputs(config, state.params, image, draws.noise, key_online)
  return _objective.bootstrap(config, batch, outputs, selector)
