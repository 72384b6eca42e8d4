"""Parameters of an agent with their copies, and their optimizer step.

Online networks, a target network, for some agents a momentum copy, and the
optimizer. What the loss is does not matter here: see `update` and
`sequence_loss`. Schwarzer et al., arXiv:2007.05929, and its code; the later
agents that `variants` names differ in the options.
"""

from collections.abc import Callable
import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import wrappers
from jaxseq.rl.replay import frame_sequences
from jaxseq.spr import _inputs
from jaxseq.spr import agent_networks
from jaxseq.spr import augmentation
from jaxseq.spr import optimizer
from jaxseq.spr import q_heads
from jaxseq.training import optimizers

Array = jax.Array
Params = dict[str, dict]
# In the class below, the names of these modules are those of fields.
AugmentationConfig = augmentation.Config
NetworksConfig = agent_networks.Config
OptimizerConfig = optimizer.Config


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
    spr_target: which weights encode and project the targets of predictions:
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
    optimizer: options of the optimizer.
    skip_nonfinite: whether an update is left out that would make a number that
      is not finite, see `optimizers.step`.
    sequence: what an agent with a memory learns from, see `sequence_loss`;
      means nothing without one.
  """

  networks: NetworksConfig
  augmentation: AugmentationConfig | None = AugmentationConfig()
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
  optimizer: OptimizerConfig = OptimizerConfig()
  skip_nonfinite: bool = False
  sequence: frame_sequences.Config = frame_sequences.Config()

  def __post_init__(self):
    validate.fields(self, positive=("num_predictions", "target_period"))
    validate.literals(self)
    for name in ("momentum_tau", "target_tau"):
      value = getattr(self, name)
      if not 0 < value <= 1:
        raise validate.error(name, value, "a number above 0 and up to 1")

  @property
  def predicts(self) -> bool:
    """True if the agent predicts its own latents."""
    return self.networks.transition is not None

  @property
  def ahead(self) -> int:
    """K; 0 without self-prediction."""
    return self.num_predictions if self.predicts else 0

  @property
  def recurrent(self) -> bool:
    """True if the agent has a memory."""
    return self.networks.memory is not None

  @property
  def has_momentum(self) -> bool:
    """True if there is a momentum copy."""
    return self.predicts and self.spr_target == "momentum"


class State(NamedTuple):
  """Parameters, their copies and the optimizer, between updates.

  Attributes:
    params: of the online networks.
    target: "encoder" and "head" of the target network, and its "memory" if
      there is one.
    momentum: "encoder" and the hidden layers of "head"; None without.
    optimizer: state of the optimizer.
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
  noise: q_heads.Noises
  target_noise: q_heads.Noises
  step: Array


class Metrics(NamedTuple):
  """Losses, gradient norms and priorities of an update.

  Attributes:
    loss: (), the whole loss.
    rl_loss: (), that of the values, with importance weights.
    spr_loss: (), that of the predictions, with importance weights, without
      spr_weight; 0 without self-prediction.
    stem_norm: (), of the gradient of encoder and head, before clipping.
    transition_norm: (), of that of the transition model.
    priority: (batch,), without importance weights and before any exponent.
    skipped: (), number of skipped updates; None if no update is ever skipped.
  """

  loss: Array
  rl_loss: Array
  spr_loss: Array
  stem_norm: Array
  transition_norm: Array
  priority: Array
  skipped: Array | None = None


# From parameters to the loss, and metrics without the norms.
Loss = Callable[[Params], tuple[Array, Metrics]]


def init(key: Array, config: Config) -> State:
  """Returns the state before the first update, all in float32."""
  key_params, key_noise = jax.random.split(key)
  params = agent_networks.init(key_params, config.networks)
  noise = q_heads.draw_noise(key_noise, config.networks.head)
  return start(config, params, noise)


def start(config: Config, params: Params, noise: q_heads.Noises) -> State:
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
    optimizer=optimizer.make(config.optimizer).init(params),
    noise=noise,
    target_noise=target_noise,
    step=jnp.zeros((), jnp.int32),
  )


def _target_part(params):
  """Returns the parameters that the target network has."""
  parts = ("encoder", "memory", "head")
  return {name: params[name] for name in parts if name in params}


def _momentum_part(config, params):
  """Returns the parameters that the momentum copy has."""
  head = q_heads.projection_params(config.networks.head, params["head"])
  return {"encoder": params["encoder"], "head": head}


def draw(
  key: Array, config: Config, images: _inputs.Augmentations
) -> _inputs.Draws:
  """Draws the random numbers of an update, with each branch's images."""
  key_noise, key_target, key_image, key_dropout = jax.random.split(key, 4)
  head, shifts = config.networks.head, config.augmentation
  noise = q_heads.draw_noise(key_noise, head)
  fresh, augmentations, dropout = None, None, None
  if config.target_noise == "fresh":
    fresh = q_heads.draw_noise(key_target, head)
  if shifts is not None:
    drawn = [
      None
      if image is None
      else augmentation.draw(key, shifts, image.shape[:-3])
      for key, image in zip(jax.random.split(key_image, 4), images)
    ]
    augmentations = _inputs.Augmentations(*drawn)
    if config.shared_next:
      augmentations = augmentations._replace(next_online=drawn[2])
  if config.networks.drops:
    dropout = jax.random.split(key_dropout, 4)
  return _inputs.Draws(noise, fresh, augmentations, dropout)


def descend(
  config: Config, state: State, loss: Loss, noise: q_heads.Noises
) -> tuple[State, Metrics]:
  """Does an update by the gradient of a loss; all copies follow.

  The noise is that of the online head, by which to act from now on.
  """
  grads, metrics = jax.grad(loss, has_aux=True)(state.params)
  grads, norms = optimizer.clip(grads, config.optimizer.max_grad_norm)
  params, optimizer_state, skipped = optimizers.step(
    optimizer.make(config.optimizer),
    grads,
    state.optimizer,
    state.params,
    skip_nonfinite=config.skip_nonfinite,
  )
  if skipped:
    # One error that is not finite would spoil the sums of all priorities.
    priority = metrics.priority
    metrics = metrics._replace(
      priority=jnp.where(jnp.isfinite(priority), priority, 0), **skipped
    )
  target, momentum, target_noise, step = _follow(config, state, params, noise)
  state = State(
    params, target, momentum, optimizer_state, noise, target_noise, step
  )
  return state, metrics._replace(stem_norm=norms[0], transition_norm=norms[1])


def noise_of_target(
  config: Config, state: State, draws: _inputs.Draws
) -> q_heads.Noises:
  """Returns the noise of the target network in an update."""
  copied = config.target_noise == "copied"
  return state.target_noise if copied else draws.target_noise


def to_predict(
  config: Config, state: State, image: Array | None, draws: _inputs.Draws
) -> Array | None:
  """Returns the projections that predictions are compared with.

  Those of images (batch, steps, height, width, frames) by the momentum copy or
  the target network: (batch, steps, width). None without self-prediction.
  """
  if not config.predicts:
    return None
  params = state.momentum if config.has_momentum else state.target
  key = draws.dropout_key(1)
  return agent_networks.encode_project(config.networks, params, image, key)


def weigh(
  config: Config, weight: Array, rl: Array, spr: Array, priority: Array
) -> tuple[Array, Metrics]:
  """Returns the whole loss of (batch,) losses, and metrics without norms."""
  rl_loss, spr_loss = ((weight * loss).mean() for loss in (rl, spr))
  loss = rl_loss + config.spr_weight * spr_loss
  return loss, Metrics(loss, rl_loss, spr_loss, None, None, priority)


def _follow(config, state, params, noise):
  """Returns the copies after an update; `state` is the one before it."""
  step = state.step + 1
  target, target_noise, momentum = _target_part(params), noise, None
  copies = step % config.target_period == 0
  tau = jnp.where(copies, config.target_tau, 0)
  each_update = config.target_period == 1
  if not (each_update and config.target_tau == 1):
    target = optax.incremental_update(target, state.target, tau)
  if config.target_noise != "copied":
    target_noise = state.target_noise
  elif not each_update:
    target_noise = wrappers.select(copies, noise, state.target_noise)
  if config.has_momentum:
    momentum = _momentum_part(config, state.params)
    if config.momentum_tau < 1:
      momentum = optax.incremental_update(
        momentum, state.momentum, config.momentum_tau
      )
  return target, momentum, target_noise, step
