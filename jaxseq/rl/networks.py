"""The recurrent actor-critic: encoder, sequence model, two heads.

Lu et al., "Structured State Space Models for In-Context Reinforcement
Learning", arXiv:2303.03982, and its published code.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any
from typing import Literal
from typing import Protocol

from flax import linen
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxseq import nn
from jaxseq import validate
from jaxseq.rl import actions
from jaxseq.rl import encoders
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import teams
from jaxseq.types import PyTree

Array = jax.Array
# The part of the network that the critic does not share, see `ActorCritic`.
Critic = Literal["shared", "stopped", "separate", "central"]

# Collection of variables that are not parameters, see `popart`.
POPART = "popart"

# The paper's layers for S5.
_PAPER = nn.StackConfig(
  d_model=256,
  num_layers=4,
  norm="none",
  activation="full_glu",
  final_norm=False,
)


class Distribution(Protocol):
  """A distribution of actions, a pytree with batch shape (...)."""

  def sample(self, key: Array) -> Array:
    """Draws an action for each entry of the batch."""

  def mode(self) -> Array:
    """Returns the most probable actions."""

  def log_prob(self, action: Array, /) -> Array:
    """Returns the log-probabilities (...) of actions."""

  def masked(self, mask: Array, /) -> "Distribution":
    """Returns the distribution over the actions that a mask allows."""


class Policy(Protocol):
  """A network with a memory that plays; callers pass its variables.

  `Recurrent` is one, and `normalization.Normalized`; your own network needs
  only these methods to be part of a `rollout.Player`.
  """

  @property
  def actions(self) -> actions.Spec:
    """Kind and sizes of the network's actions."""

  def init(self, key: Array, observation: PyTree, /) -> PyTree:
    """Initializes variables; the observation has a time axis."""

  def apply(
    self, variables: PyTree, observation: PyTree, /, *args: Any, **options: Any
  ) -> Any:
    """Runs over sequences, or over one element with `method="step"`.

    The further arguments are the memories and the resets. Returns the policy,
    a `Distribution`; the values, in the shape of the resets; and the memories
    after the last element. See `Recurrent`.
    """

  def initial_state(
    self, batch_shape: tuple[int, ...] = (), /, *, variables: PyTree = None
  ) -> PyTree:
    """Returns fresh memories; `variables` hold the learned ones."""


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of an agent's network; the defaults are the paper's for S5.

  Attributes:
    stack: the memory; without layers the policy has no memory. It must not have
      batch norm, whose statistics would tie environments to each other, nor
      layers that read from the end.
    encoder: encoder of images, before the dense layers; its image_shape is that
      of the environment, and it has no dropout. None for vectors; images are
      flattened then.
    encoder_widths: hidden widths of the encoder, before its last layer, which
      has width d_model.
    head_widths: hidden widths of the heads.
  """

  stack: nn.StackConfig = _PAPER
  _: dataclasses.KW_ONLY
  encoder: encoders.Config | None = None
  encoder_widths: tuple[int, ...] = (128,)
  head_widths: tuple[int, ...] = (128, 128)

  def __post_init__(self):
    for name in ("encoder_widths", "head_widths"):
      for width in getattr(self, name):
        validate.positive(name, width)
    if self.encoder is not None and self.encoder.dropout:
      expected = "0: it has none in these agents, the stack may have some"
      raise validate.error("encoder.dropout", self.encoder.dropout, expected)
    self.stack.refuse(
      batch_norm="its statistics would tie environments to each other",
      bidirectional="acting sees no future",
    )


# A GRU of width 128, as an untuned default.
GENERAL = Config(
  nn.StackConfig(
    mixer="gru",
    d_model=128,
    num_layers=1,
    norm="none",
    activation="none",
    residual=False,
    final_norm=False,
  ),
  head_widths=(128,),
)


class Recurrent(linen.Module):
  """A network with a memory; subclasses implement `heads`.

  Attributes:
    config: options.
    actions: kind and sizes of the actions.
  """

  config: Config
  actions: actions.Spec

  @linen.compact
  def __call__(
    self,
    observation: Array,
    states: PyTree = None,
    reset: Array | None = None,
    step: bool = False,
    train: bool = False,
  ) -> tuple[Distribution, Array, PyTree]:
    """Runs over whole sequences.

    Args:
      observation: (*batch, time, d); together with its action mask, if there is
        one, as in `envs.action_masks`.
      states: memories before the first element; fresh ones if None.
      reset: (*batch, time) bool; if True the memory is reset before
        that observation.
      step: whether there is no time axis.
      train: whether dropout is on; it draws from the "dropout" keys.

    Returns:
      The policy, a distribution with batch shape (*batch, time); the values
      (*batch, time); and the memories after the last element.
    """
    observation, mask = action_masks.split(observation)
    policy, value, states = self.outputs(
      functools.partial(
        self.features, observation, reset=reset, train=train, step=step
      ),
      states,
    )
    if mask is not None:
      policy, value = self.masked(policy, value, mask)
    return policy, value, states

  @linen.nowrap
  def outputs(
    self, features: Callable[..., tuple[Array, PyTree]], states: PyTree
  ) -> tuple[Distribution, Array, PyTree]:
    """Returns policy, values and memories, given `features` of one memory."""
    x, states = features(states)
    return *self.heads(x), states

  @linen.nowrap
  def features(
    self,
    observation: Array,
    states: PyTree,
    reset: Array | None,
    train: bool,
    step: bool,
    prefix: str = "",
  ) -> tuple[Array, PyTree]:
    """Returns the inputs of the heads, and the memories after the last element.

    The modules, an encoder and a memory, have names that begin with `prefix`;
    the other arguments are those of `__call__`.
    """
    config, x = self.config, observation
    if config.encoder is not None:
      image = encoders.ImageEncoder(config.encoder, name=prefix + "image")(
        x.image
      )
      x = jnp.concatenate([image, x.history.astype(image.dtype)], axis=-1)
    seen = x
    x = nn.MLP(
      (*config.encoder_widths, config.stack.d_model),
      gain=math.sqrt(2),
      activate_last=True,
      dtype=config.stack.dtype,
      name=prefix + "encoder",
    )(x)
    memory = nn.SequenceModel(config.stack, name=prefix + "memory")
    x, states = memory(x, states, reset, train, step=step)
    return self.joined(x, seen), states

  @linen.nowrap
  def masked(
    self, policy: Distribution, value: Array, mask: Array
  ) -> tuple[Distribution, Array]:
    """Masks the policy, and the values if they depend on the actions."""
    return policy.masked(mask), value

  @linen.nowrap
  def joined(self, x: Array, seen: Array) -> Array:
    """Returns the inputs of the heads: features, perhaps with the observation.

    Args:
      x: features of the memory, (*batch, time, d_model).
      seen: inputs of the encoder, (*batch, time, d).
    """
    del seen
    return x

  def heads(self, x: Array) -> tuple[Distribution, Array]:
    """Computes policy and values from features (*batch, time, d_model)."""
    raise NotImplementedError

  def step(
    self, observation: Array, states: PyTree, reset: Array | None = None
  ) -> tuple[Any, Array, PyTree]:
    """Runs over one element; `__call__` without the time axis."""
    return self(observation, states, reset, step=True)

  @linen.nowrap
  def initial_state(
    self,
    batch_shape: tuple[int, ...] = (),
    dtype: DTypeLike = "float32",
    variables: PyTree = None,
  ) -> PyTree:
    """Returns fresh memories; works on an unbound module.

    Args:
      batch_shape: leading axes.
      dtype: dtype of the memories, at least float32.
      variables: of the module, needed if fresh memories are learned or
        tuned, see `nn.SequenceModel.initial_state`.
    """
    return self.fresh("memory", batch_shape, dtype, variables)

  @linen.nowrap
  def fresh(
    self,
    name: str,
    batch_shape: tuple[int, ...],
    dtype: DTypeLike,
    variables: PyTree,
  ) -> PyTree:
    """Returns fresh states of the named memory, see `initial_state`."""
    memory = nn.SequenceModel(self.config.stack, parent=None)
    inside = {
      collection: tree[name]
      for collection, tree in (variables or {}).items()
      if name in tree
    }
    return memory.initial_state(batch_shape, dtype, inside)


class ActorCritic(Recurrent):
  """A policy and its critic.

  Attributes:
    critic: "shared", both read the same encoder and memory; "stopped", no
      gradient of the values reaches these; "separate", the critic has its own
      encoder and memory, and the states are a dictionary of "actor" and
      "critic"; "central", the critic's encoder also reads the state of a game
      of several agents, see `envs.teams.Observation`. Without a state, as for
      an agent that acts alone, values are NaN.
  """

  critic: Critic = "shared"

  @linen.nowrap
  def outputs(
    self, features: Callable[..., tuple[Array, PyTree]], states: PyTree
  ) -> tuple[Distribution, Array, PyTree]:
    """Returns policy, values and memories."""
    if not self.is_apart:
      return super().outputs(features, states)
    x, actor = features(None if states is None else states["actor"])
    y, critic = features(
      None if states is None else states["critic"], prefix="critic_"
    )
    states = {"actor": actor, "critic": critic}
    value = jnp.full(x.shape[:-1], jnp.nan) if y is None else self.value(y)
    return self.policy(x), value, states

  @linen.nowrap
  def features(
    self,
    observation: PyTree,
    states: PyTree,
    reset: Array | None,
    train: bool,
    step: bool,
    prefix: str = "",
  ) -> tuple[Array | None, PyTree]:
    """Returns `Recurrent.features`, without `state` for the actor.

    The critic's are None if it is central and there is no state.
    """
    if prefix and self.critic == "central":
      if not isinstance(observation, teams.Observation):
        return None, states
      observation = teams.vector(observation)
    elif isinstance(observation, teams.Observation):
      observation = observation.own
    return super().features(observation, states, reset, train, step, prefix)

  @property
  def is_apart(self) -> bool:
    """True if the critic has its own encoder and memory."""
    return self.critic in ("separate", "central")

  @linen.nowrap
  def initial_state(
    self,
    batch_shape: tuple[int, ...] = (),
    dtype: DTypeLike = "float32",
    variables: PyTree = None,
  ) -> PyTree:
    """Returns fresh memories, see `Recurrent.initial_state`."""
    if not self.is_apart:
      return super().initial_state(batch_shape, dtype, variables)
    fresh = {"actor": "memory", "critic": "critic_memory"}
    return {
      name: self.fresh(module, batch_shape, dtype, variables)
      for name, module in fresh.items()
    }

  @linen.nowrap
  def heads(self, x: Array) -> tuple[Distribution, Array]:
    """Returns a distribution of actions, and the critic's value."""
    stopped = self.critic == "stopped"
    return self.policy(x), self.value(
      jax.lax.stop_gradient(x) if stopped else x
    )

  @linen.nowrap
  def policy(self, x: Array) -> Distribution:
    """Returns the action distribution for features (*batch, time, d)."""
    options = self.head_options
    kinds = {
      "gaussian": (nn.GaussianHead, {"num_outputs": self.actions.num_outputs}),
      "factored": (FactoredHead, {"sizes": self.actions.sizes}),
      "categorical": (
        nn.CategoricalHead,
        {"num_actions": self.actions.num_outputs},
      ),
    }
    head, size = kinds[self.actions.kind]
    return head(**size, **options, name="actor")(x)

  @linen.nowrap
  def value(self, x: Array) -> Array:
    """Returns the critic's value (*batch, time) of features."""
    value = nn.ValueHead(**self.head_options, name="critic")(x)
    if not self.has_variable(POPART, "scale"):
      return value
    mean, scale = (self.get_variable(POPART, x) for x in ("mean", "scale"))
    return jax.lax.stop_gradient(mean) + jax.lax.stop_gradient(scale) * value

  @property
  def head_options(self) -> dict[str, Any]:
    """Widths and dtype of both heads."""
    widths, dtype = self.config.head_widths, self.config.stack.dtype
    return {"widths": widths, "dtype": dtype}


class FactoredHead(linen.Module):
  """Policy over several independent choices.

  Attributes:
    sizes: number of options of each choice.
    widths: widths of the hidden layers.
    dtype: dtype of the activations.
  """

  sizes: tuple[int, ...]
  widths: tuple[int, ...]
  dtype: str = "float32"

  @linen.compact
  def __call__(self, x: Array) -> actions.Factored:
    """Maps (..., n) features to a distribution with batch shape (...)."""
    options = {"widths": self.widths, "dtype": self.dtype, "name": "joint"}
    head = nn.CategoricalHead(num_actions=sum(self.sizes), **options)
    return actions.factored(self.sizes, head(x).logits)
