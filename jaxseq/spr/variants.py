"""Configurations of the published agents, by name.

    spr         SPR with augmentation, as its code (arXiv:2007.05929)
    spr_no_aug  the same without augmentation: dropout, a slow momentum target
    der         data-efficient Rainbow (arXiv:1906.05243), Dopamine's
    der_paper   the same with the small encoder and the settings of its paper
    drq         DrQ(eps) (arXiv:2004.13649, arXiv:2108.13264), Dopamine's
    sr_spr      SPR with resets and more updates (D'Oro et al., ICLR 2023)
    bbf         "Bigger, Better, Faster" (arXiv:2305.19452), with 2 updates a
                step; with 8 its resets come every 5,000 steps

"der", "drq", "sr_spr" and "bbf" follow Dopamine and its descendants in what
they share: padded convolutions, one hidden layer for both streams, no batch
norm, no clipping. Where that code is wrong (rewards, states and priorities of
n-step targets) they do not follow it.
"""

import dataclasses
import math
import types

from jaxseq import _registry
from jaxseq.rl import encoders
from jaxseq.spr import agent_networks
from jaxseq.spr import augmentation
from jaxseq.spr import conv_transition
from jaxseq.spr import learner
from jaxseq.spr import optimizer
from jaxseq.spr import q_heads
from jaxseq.spr import resets

# In the class below, the name of the module is that of a field.
ResetConfig = resets.Config

Shape = tuple[int, ...]
_NONE = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Variant:
  """An agent: its update, and how it is run.

  Attributes:
    update: options of the update.
    updates_per_step: updates after each environment step.
    num_steps: n of the returns, where nothing is annealed.
    gamma: discount, where nothing is annealed.
    annealing: of n and discount; None for none.
    resets: of the weights; None for none.
    min_replay: environment steps before the first update.
    epsilon_train: chance of a random action after epsilon_decay.
    epsilon_decay: environment steps from min_replay on in which that chance
      falls from 1; 0 for at once.
    epsilon_eval: chance of a random action in evaluation.
    acts_with_target: whether the target network acts.
    prioritized: whether sequences are drawn by priority; otherwise all have the
      same chance and weight.
    priority_exponent: of the priorities that an update reports.
    beta: exponent of the importance weights, at min_replay and at the end.
    new_priority: of transitions that come in: "one", or the "max" so far.
  """

  update: learner.Config
  updates_per_step: int = 2
  num_steps: int = 10
  gamma: float = 0.99
  annealing: resets.Annealing | None = None
  resets: ResetConfig | None = None
  min_replay: int = 2000
  epsilon_train: float = 0.0
  epsilon_decay: int = 0
  epsilon_eval: float = 0.001
  acts_with_target: bool = False
  prioritized: bool = True
  priority_exponent: float = 0.5
  beta: tuple[float, float] = (0.4, 1.0)
  new_priority: str = "one"


# Functions from the number of actions and the shape of observations.
REGISTRY = _registry.Registry(
  "variant",
  {
    name: f"jaxseq.spr.variants:{name}"
    for name in (
      "spr",
      "spr_no_aug",
      "der",
      "der_paper",
      "drq",
      "sr_spr",
      "bbf",
    )
  },
)
names = REGISTRY.names
register = REGISTRY.register


def get(
  name: str, num_actions: int, image_shape: Shape = (84, 84, 4)
) -> Variant:
  """Returns the configuration of an agent, one of `names()`.

  `register` adds a function like those below. Observations have the image_shape
  (height, width, frames).

  Raises:
    ValueError: if there is no such agent.
  """
  return REGISTRY[name](num_actions, image_shape)


def spr(num_actions: int, image_shape: Shape) -> Variant:
  """Returns the configuration of SPR with augmentation."""
  return Variant(learner.Config(_networks(num_actions, image_shape)))


def spr_no_aug(num_actions: int, image_shape: Shape) -> Variant:
  """Returns the configuration of SPR without augmentation."""
  networks = _networks(num_actions, image_shape, {"dropout": 0.5})
  return Variant(learner.Config(networks, augmentation=None, momentum_tau=0.01))


def der(num_actions: int, image_shape: Shape) -> Variant:
  """Returns the configuration of data-efficient Rainbow."""
  return _dopamine(
    num_actions,
    image_shape,
    predicts=False,
    update={"augmentation": None, "target_period": 2000},
    updates_per_step=1,
    min_replay=1600,
  )


def der_paper(num_actions: int, image_shape: Shape) -> Variant:
  """Returns data-efficient Rainbow as in its paper.

  The settings are those of the table of hyperparameters in van Hasselt et al.,
  arXiv:1906.05243. What that leaves open is as in github.com/Kaixhin/Rainbow:
  initial weights, and the priorities, which are the loss and of new transitions
  the highest so far.
  """
  networks = _networks(
    num_actions,
    image_shape,
    {
      "channels": (32, 64),
      "kernels": (5, 5),
      "strides": (5, 5),
      "renormalize": False,
    },
    {"sigma": 0.1, "advantage_bias": False, "gradient_scale": 1.0},
    None,
  )
  config = learner.Config(
    networks,
    augmentation=None,
    target_period=2000,
    target_noise="fresh",
    priority="loss",
  )
  return Variant(
    config,
    updates_per_step=1,
    num_steps=20,
    min_replay=1600,
    new_priority="max",
  )


def drq(num_actions: int, image_shape: Shape) -> Variant:
  """Returns the configuration of DrQ(eps)."""
  return _dopamine(
    num_actions,
    image_shape,
    predicts=False,
    head={"noisy": False, "atoms": None},
    updates_per_step=1,
    min_replay=1600,
    epsilon_train=0.01,
    epsilon_decay=5000,
    prioritized=False,
  )


def sr_spr(num_actions: int, image_shape: Shape) -> Variant:
  """Returns the configuration of SR-SPR."""
  return _dopamine(
    num_actions,
    image_shape,
    head={"noisy": False},
    update={"target_tau": 0.005},
    updates_per_step=8,
    epsilon_decay=2001,
    resets=resets.Config(every=5000, shrink=0.8, perturb=0.2),
    acts_with_target=True,
  )


def bbf(num_actions: int, image_shape: Shape) -> Variant:
  """Returns the configuration of BBF."""
  adamw = optimizer.Config(weight_decay=0.1, max_grad_norm=None)
  return _dopamine(
    num_actions,
    image_shape,
    encoder={"kind": "impala", "channels": (16, 32, 32), "width": 4},
    head={"noisy": False, "hidden": 2048},
    update={"target_tau": 0.005, "optimizer": adamw},
    epsilon_decay=2001,
    annealing=resets.Annealing(),
    resets=resets.Config(),
    acts_with_target=True,
  )


def _dopamine(
  num_actions,
  image_shape,
  *,
  predicts=True,
  encoder=_NONE,
  head=_NONE,
  update=_NONE,
  **run,
):
  """Returns an agent with what those that go back to Dopamine share."""
  xavier = {"initializer": "xavier"}
  networks = _networks(
    num_actions,
    image_shape,
    # Latents are compared, and so brought to one scale, by those that predict.
    {"padding": "SAME", "renormalize": predicts, **xavier, **encoder},
    {
      "hidden": 512,
      "streams": "shared",
      "advantage_bias": False,
      "gradient_scale": 1.0,
      "bias_sigma": "in",
      **xavier,
      **head,
    },
    {"norm": "none", **xavier} if predicts else None,
  )
  defaults = {
    "augmentation": augmentation.Config(exclusive=True),
    "shared_next": True,
    "spr_target": "target",
    "target_noise": "fresh",
    "priority": "loss",
    "optimizer": optimizer.Config(max_grad_norm=None),
  }
  config = learner.Config(networks, **{**defaults, **update})
  run = {"beta": (0.5, 0.5), "new_priority": "max", **run}
  return Variant(config, **run)


def _networks(num_actions, image_shape, encoder=_NONE, head=_NONE, model=_NONE):
  """Returns networks with options of each; no transition model with None."""
  encoder = encoders.Config(image_shape=image_shape, **encoder)
  shape = encoders.latent_shape(encoder)
  if model is not None:
    model = conv_transition.Config(num_actions, shape[-1], **model)
  head = q_heads.Config(num_actions, math.prod(shape), **head)
  return agent_networks.Config(encoder, head, model)
