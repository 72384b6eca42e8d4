"""Networks of the recurrent soft actor-critic: an actor, and a twin critic.

Ni et al., "Recurrent Model-Free RL Can Be a Strong Baseline for Many POMDPs",
arXiv:2110.05038: actor and critic each have a memory, two value heads share
the critic's, and the observation of a step also bypasses the memory: the heads
read a separate embedding of it; in the critic together with the action.
"""

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq.rl import actions
from jaxseq.rl import networks

Array = jax.Array

# Modules of an actor that it may share with its critic.
SHARED = ("image", "encoder", "memory")

# Gain of the last layers of values: initially all are near 0.
_OUT_GAIN = 0.01


class Actor(networks.Recurrent):
  """A policy with a memory; its values of observations are all 0.

  Numbers are drawn from an `nn.SquashedGaussian`, within (-1, 1); a choice from
  an `nn.Categorical`.

  Attributes:
    shortcut_width: width of the observation embedding that bypasses the memory;
      0 for no embedding.
  """

  shortcut_width: int = 32

  @linen.nowrap
  def joined(self, x: Array, seen: Array) -> Array:
    """Returns features with the embedding of the observation."""
    if not self.shortcut_width:
      return x
    short = _embed(self.config, self.shortcut_width, seen)
    return jnp.concatenate([x, short], axis=-1)

  @linen.nowrap
  def heads(self, x: Array) -> tuple[networks.Distribution, Array]:
    """Returns the policy, and zeros instead of values."""
    options = {
      "widths": self.config.head_widths,
      "dtype": self.config.stack.dtype,
      "name": "actor",
    }
    size = self.actions.num_outputs
    if self.actions.kind == "categorical":
      head = nn.CategoricalHead(num_actions=size, **options)
    else:
      head = nn.SquashedGaussianHead(num_outputs=size, **options)
    return head(x), jnp.zeros(x.shape[:-1], jnp.float32)


class Features(networks.Recurrent):
  """The critic's memory: returns features, observations, and the memories."""

  @linen.nowrap
  def joined(self, x: Array, seen: Array) -> tuple[Array, Array]:
    """Returns features and observations separately."""
    return x, seen

  @linen.nowrap
  def heads(self, x: tuple[Array, Array]) -> tuple[Array, Array]:
    """Returns both unchanged."""
    return x

  @linen.nowrap
  def masked(self, policy: Array, value: Array, mask: Array) -> tuple:
    """Returns both unchanged: values ignore masks, the actor does not."""
    del mask
    return policy, value


class TwinValues(linen.Module):
  """Two values of each action, on top of `Features`.

  Attributes:
    config: options of the network.
    actions: kind and sizes of the actions.
    shortcut_width: as in `Actor`, for the observation and the action; with 0
      the heads read a continuous action unchanged, beside the features.
  """

  config: networks.Config
  actions: actions.Spec
  shortcut_width: int = 32

  @linen.compact
  def __call__(
    self, x: Array, seen: Array, action: Array | None = None
  ) -> Array:
    """Returns the values.

    Args:
      x: features, (*batch, d_model).
      seen: observations, (*batch, d).
      action: (*batch, n) numbers within [-1, 1]; None if the action is one
        choice of n.

    Returns:
      (2, *batch), or (2, *batch, n) for all choices.
    """
    short = seen[..., :0]
    if self.shortcut_width:
      short = seen
    if action is not None:
      short = jnp.concatenate([short, action.astype(short.dtype)], axis=-1)
    if self.shortcut_width:
      short = _embed(self.config, self.shortcut_width, short)
    x = jnp.concatenate([x, short.astype(x.dtype)], axis=-1)
    options = {
      "widths": self.config.head_widths,
      "out_gain": _OUT_GAIN,
      "dtype": self.config.stack.dtype,
    }

    def values(name):
      if action is not None:
        return nn.ValueHead(**options, name=name)(x)
      size = self.actions.num_outputs
      head = nn.CategoricalHead(num_actions=size, **options, name=name)
      return head(x).logits

    return jnp.stack([values("first"), values("second")])


def _embed(config, width, x):
  """Applies one dense layer with activation, like those of the encoder."""
  return nn.MLP(
    (width,),
    gain=2**0.5,
    activate_last=True,
    dtype=config.stack.dtype,
    name="shortcut",
  )(x)
