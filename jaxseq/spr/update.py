"""One update of an agent: loss, gradient, optimiser, target networks.

    z = f(aug(s_t));  CE of the head on z with the target from s_{t+n}
    y_k = q(g(z_k)),  z_k = h(z_{k-1}, a_{t+k-1}), z_0 = z
    L = mean_b w_b [ CE_b + weight * mean_k mask_bk |y_k/|y_k| - t_k/|t_k||^2 ]

where t_k = g_m(f_m(aug(s_{t+k}))) are the projections of what really came, for
k = 1 .. K, without a gradient. The weight 5 on the mean over K = 5 squared
distances is the paper's lambda = 2 on the sum of cosines.

Schwarzer et al., arXiv:2007.05929, and its code; the later agents that
`variants` names differ in the options.
"""

from collections.abc import Callable
import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq.rl import encoders
from jaxseq.rl import layers
from jaxseq.rl.replay import frames
from jaxseq.spr import augmentation as augmentation_lib
from jaxseq.spr import heads
from jaxseq.spr import inputs
from jaxseq.spr import networks as networks_lib
from jaxseq.spr import objective
from jaxseq.spr import optimizer as optimizer_lib
from jaxseq.spr import sequences

Array = jax.Array
Params = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of an update; the defaults are those of SPR with augmentation.

  Attributes:
    networks: the parts of the agent; without a transition model there is no
      self-prediction, and num_predictions and spr_weight mean nothing.
    augmentation: of all images in the loss; None for none.
    shared_next: whether the image s_{t+n} is augmented once for both networks
      that see it, not once for each.
    num_predictions: K, how many steps ahead latents are predicted.
    spr_weight: of the mean of K squared distances: lambda * K / 2.
    spr_target: which weights encode and project what is to be predicted:
      "momentum": a copy of their own, which follows the online weights with
      momentum_tau; "target": those of the target network.
    momentum_tau: share of the online weights in the momentum copy after an
      update; 1 minus the tau of the paper. The copy is made of the weights
      from before the update, so that with 1 it is one update behind.
    double: whether the online network chooses the action whose value the
      target network gives.
    done_n: "any": no value is added to the returns if the episode ended within
      n steps; "first": only if it ended with the first one. The released code
      of SPR does the latter, by mistake.
    target_period: updates between two updates of the target network.
    target_tau: share of the online weights in the target network afterwards.
    target_noise: noise of the target network: "copied" from the online network
      with its weights, so that it is the noise of an earlier update; "fresh"
      in every update.
    priority: "kl": KL(target || prediction); "loss": the loss of the values
      itself. Agents without a distribution have min(|error|, 1) with "kl".
    optimizer: options of the optimiser.
    sequence: what an agent with a memory learns from, see `sequence_update`;
      means nothing without one.
  """

  networks: networks_lib.Config
  augmentation: augmentation_lib.Config | None = augmentation_lib.Config()
  shared_next: bool = False
  num_predictions: int = 5
  spr_weight: float = 5.0
  spr_target: Literal["momentum", "target"] = "momentum"
  momentum_tau: float = 1.0
  double: bool = True
  done_n: Literal["any", "first"] = "any"
  target_period: int = 1
  target_tau: float = 1.0
  target_noise: Literal["copied", "fresh"] = "copied"
  priority: Literal["kl", "loss"] = "kl"
  optimizer: optimizer_lib.Config = optimizer_lib.Config()
  sequence: sequences.Config = sequences.Config()

  def __post_init__(self):
    layers.check_positive(self, "num_predictions", "target_period")
    layers.check_choice("spr_target", self.spr_target, ("momentum", "target"))
    layers.check_choice("done_n", self.done_n, ("any", "first"))
    layers.check_choice("target_noise", self.target_noise, ("copied", "fresh"))
    layers.check_choice("priority", self.priority, ("kl", "loss"))
    for name in ("momentum_tau", "target_tau"):
      if not 0 < getattr(self, name) <= 1:
        raise ValueError(
          f"{name} must be in (0, 1]; got {getattr(self, name)}."
        )

  @property
  def predicts(self) -> bool:
    """Whether the agent predicts its own latents."""
    return self.networks.transition is not None

  @property
  def recurrent(self) -> bool:
    """Whether the agent has a memory."""
    return self.networks.memory is not None

  @property
  def has_momentum(self) -> bool:
    """Whether there is a momentum copy."""
    return self.predicts and self.spr_target == "momentum"


class State(NamedTuple):
  """What updates carry along.

  Attributes:
    params: of the online networks.
    target: "encoder" and "head" of the target network, and its "memory" if
      there is one.
    momentum: "encoder" and the hidden layers of "head"; None without.
    optimizer: state of the optimiser.
    noise: the online head's noise of the last update, by which to act until
      the next one; None if it is not noisy.
    target_noise: noise that came to the target network with its weights; None
      unless it is "copied".
    step: () int32, number of updates.
  """

  params: Params
  target: Params
  momentum: Params | None
  optimizer: optax.OptState
  noise: dict[str, heads.Noise] | None
  target_noise: dict[str, heads.Noise] | None
  step: Array


class Metrics(NamedTuple):
  """What an update reports.

  Attributes:
    loss: (), the whole loss.
    rl_loss: (), that of the values, with importance weights.
    spr_loss: (), that of the predictions, with importance weights, without
      spr_weight; 0 without self-prediction.
    stem_norm: (), of the gradient of encoder and head, before clipping.
    transition_norm: (), of that of the transition model.
    priority: (batch,), without importance weights and before any exponent.
  """

  loss: Array
  rl_loss: Array
  spr_loss: Array
  stem_norm: Array
  transition_norm: Array
  priority: Array


def init(key: Array, config: Config) -> State:
  """Returns the state before the first update, all in float32."""
  key_params, key_noise = jax.random.split(key)
  params = networks_lib.init(key_params, config.networks)
  noise = heads.draw_noise(key_noise, config.networks.head)
  return start(config, params, noise)


def start(
  config: Config, params: Params, noise: dict[str, heads.Noise] | None
) -> State:
  """Returns a state with given parameters, which all copies get, too."""
  copied = config.target_noise == "copied"
  momentum = _momentum_part(config, params) if config.has_momentum else None
  # No two leaves may share memory, or the state could not be donated.
  target, momentum, target_noise = jax.tree.map(
    jnp.copy, (_target_part(params), momentum, noise if copied else None)
  )
  return State(
    params=params,
    target=target,
    momentum=momentum,
    optimizer=optimizer_lib.make(config.optimizer).init(params),
    noise=noise,
    target_noise=target_noise,
    step=jnp.zeros((), jnp.int32),
  )


def _target_part(params):
  parts = ("encoder", "memory", "head")
  return {name: params[name] for name in parts if name in params}


def _momentum_part(config, params):
  head = heads.projection_params(config.networks.head, params["head"])
  return {"encoder": params["encoder"], "head": head}


def draw(key: Array, config: Config, batch_size: int) -> inputs.Draws:
  """Draws what is random about an update of a batch of some size."""
  alone = (batch_size,)
  shapes = [alone, (config.num_predictions, batch_size), alone, alone]
  return draw_for(key, config, inputs.Augmentations(*shapes))


def draw_for(
  key: Array, config: Config, shapes: inputs.Augmentations
) -> inputs.Draws:
  """Draws what is random about an update.

  Args:
    key: random key.
    config: options.
    shapes: of the images of each branch, without their own axes; None where
      there are none.
  """
  keys = jax.random.split(key, 4)
  head = config.networks.head
  noise = heads.draw_noise(keys[0], head)
  fresh = config.target_noise == "fresh"
  target_noise = heads.draw_noise(keys[1], head) if fresh else None
  augmentations = None
  if config.augmentation is not None:
    draws = [
      None
      if shape is None
      else augmentation_lib.draw(key, config.augmentation, shape)
      for key, shape in zip(jax.random.split(keys[2], 4), shapes)
    ]
    if not config.predicts:
      draws[1] = None
    if config.shared_next:
      draws[3] = draws[2]
    augmentations = inputs.Augmentations(*draws)
  drops = config.networks.encoder.dropout > 0
  dropout = jax.random.split(keys[3], 4) if drops else None
  return inputs.Draws(noise, target_noise, augmentations, dropout)


def train_step(
  config: Config, state: State, batch: frames.Batch, key: Array
) -> tuple[State, Metrics]:
  """Draws noise and augmentations, and does an update."""
  draws = draw(key, config, batch.weight.shape[0])
  return update(config, state, batch, draws)


def update(
  config: Config, state: State, batch: frames.Batch, draws: inputs.Draws
) -> tuple[State, Metrics]:
  """Does an update; nothing is drawn here.

  Args:
    config: options.
    state: before the update.
    batch: what to learn from.
    draws: from `draw`.

  Returns:
    The state after the update, and its metrics.

  Raises:
    ValueError: if the batch does not fit the configuration.
  """
  ahead = config.num_predictions if config.predicts else 0
  inputs.check(batch, ahead, config.networks.encoder.image_shape)
  images = inputs.augment(config.augmentation, batch, draws.augmentations)
  target = _value_target(config, state, batch, images, draws)
  projected = _spr_target(config, state, images, draws)

  def loss(params):
    return _loss(config, params, batch, draws, images.online, target, projected)

  return descend(config, state, loss, draws.noise)


def descend(
  config: Config,
  state: State,
  loss: Callable[[Params], tuple[Array, Metrics]],
  noise: dict[str, heads.Noise] | None,
) -> tuple[State, Metrics]:
  """Does an update by the gradient of a loss; all copies follow.

  Args:
    config: options.
    state: before the update.
    loss: function from parameters to the loss and metrics without norms.
    noise: of the online head, by which to act from now on.

  Returns:
    The state after the update, and its metrics.
  """
  grads, metrics = jax.grad(loss, has_aux=True)(state.params)
  grads, norms = optimizer_lib.clip(grads, config.optimizer.max_grad_norm)
  steps, optimizer_state = optimizer_lib.make(config.optimizer).update(
    grads, state.optimizer, state.params
  )
  params = optax.apply_updates(state.params, steps)
  state = _follow(config, state, params, noise)
  state = state._replace(params=params, optimizer=optimizer_state)
  return state, metrics._replace(stem_norm=norms[0], transition_norm=norms[1])


def _outputs(config, params, image, noise, key):
  encoder, head = config.networks.encoder, config.networks.head
  latent = encoders.apply(encoder, params["encoder"], image, key)
  return latent, heads.apply(head, params["head"], latent, noise)


def dropout_keys(draws: inputs.Draws) -> tuple[Array | None, ...]:
  """Returns the four keys of the dropout, or None in their place."""
  return (None,) * 4 if draws.dropout is None else tuple(draws.dropout)


def noise_of_target(
  config: Config, state: State, draws: inputs.Draws
) -> dict[str, heads.Noise] | None:
  """Returns the noise of the target network in an update."""
  copied = config.target_noise == "copied"
  return state.target_noise if copied else draws.target_noise


def _value_target(config, state, batch, images, draws):
  """Returns target distributions (batch, atoms), or values (batch,)."""
  keys = dropout_keys(draws)
  noise = noise_of_target(config, state, draws)
  _, outputs = _outputs(
    config, state.target, images.next_target, noise, keys[2]
  )
  chooser = outputs
  if config.double:
    _, chooser = _outputs(
      config, state.params, images.next_online, draws.noise, keys[3]
    )
  return objective.bootstrap(config, batch, outputs, chooser)


def _spr_target(config, state, images, draws):
  """Returns the projections (K, batch, width) to predict; None without."""
  if not config.predicts:
    return None
  return networks_lib.encode_project(
    config.networks,
    predicted_weights(config, state),
    images.spr,
    dropout_keys(draws)[1],
  )


def predicted_weights(config: Config, state: State) -> Params:
  """Returns the weights that encode and project what is to be predicted."""
  return state.momentum if config.has_momentum else state.target


def _loss(config, params, batch, draws, image, target, projected):
  """Returns the loss and metrics, of which the norms are still missing."""
  latent, outputs = _outputs(
    config, params, image, draws.noise, dropout_keys(draws)[0]
  )
  terms = objective.terms(
    config, params, batch, latent, outputs, target, projected
  )
  return weigh(config, batch.weight, *terms)


def weigh(
  config: Config, weight: Array, rl: Array, spr: Array, priority: Array
) -> tuple[Array, Metrics]:
  """Returns the whole loss of (batch,) losses, and metrics without norms."""
  rl_loss, spr_loss = ((weight * loss).mean() for loss in (rl, spr))
  loss = rl_loss + config.spr_weight * spr_loss
  return loss, Metrics(loss, rl_loss, spr_loss, None, None, priority)


def _follow(config, state, params, noise):
  """Lets the copies follow; `state` still has the parameters from before."""
  step = state.step + 1
  target, target_noise = state.target, state.target_noise
  copies = step % config.target_period == 0
  tau = jnp.where(copies, config.target_tau, 0)
  every = config.target_period == 1
  if every and config.target_tau == 1:
    target = _target_part(params)
  else:
    target = _mix(target, _target_part(params), tau)
  if config.target_noise == "copied":
    target_noise = jax.tree.map(
      lambda old, new: new if every else jnp.where(copies, new, old),
      target_noise,
      noise,
    )
  momentum = state.momentum
  if config.has_momentum:
    before = _momentum_part(config, state.params)
    momentum = before
    if config.momentum_tau < 1:
      momentum = _mix(state.momentum, before, config.momentum_tau)
  return state._replace(
    target=target,
    momentum=momentum,
    noise=noise,
    target_noise=target_noise,
    step=step,
  )


def _mix(old, new, tau):
  return jax.tree.map(
    lambda a, b: ((1 - tau) * a + tau * b).astype(a.dtype), old, new
  )
