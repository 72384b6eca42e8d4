"""Action specs of a policy head, and distributions of factored actions."""

import dataclasses
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.nn import distributions
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Spec:
  """Kind and sizes of a policy's action.

  Attributes:
    kind: "categorical", one choice: a () int32 action; "factored", k
      independent choices: (k,) int32; or "gaussian", numbers: (n,) float32.
    sizes: number of options of each choice; for "gaussian" the shape of the
      environment's action.
  """

  kind: Literal["categorical", "factored", "gaussian"]
  sizes: tuple[int, ...]

  @property
  def num_outputs(self) -> int:
    """Width of the policy head: logits, or the mean of the Gaussian."""
    if self.kind == "gaussian":
      return math.prod(self.sizes)
    return sum(self.sizes)

  def to_environment(self, action: Array) -> Array:
    """Converts one action, without batch axes, to the environment's shape."""
    if self.kind == "gaussian":
      return action.reshape(self.sizes)
    return action


def spec_of(space: spaces.Space) -> Spec:
  """Returns the spec of an action space.

  Raises:
    ValueError: if it is not `Discrete`, `MultiDiscrete` or a `Box`.
  """
  match spaces.convert(space):
    case spaces.Discrete():
      return Spec("categorical", (space.n,))
    case spaces.MultiDiscrete():
      return Spec("factored", space.sizes)
    case spaces.Box():
      return Spec("gaussian", tuple(space.shape))
  raise validate.error("action space", space, "Discrete, MultiDiscrete or Box")


@dataclasses.dataclass(frozen=True)
class Bounded(Spec):
  """A continuous action with bounds; the policy's numbers are in [-1, 1].

  Attributes, beside those of `Spec`:
    low: the environment's lower bound of each number.
    high: the environment's upper bound of each number.
  """

  low: tuple[float, ...]
  high: tuple[float, ...]

  def to_environment(self, action: Array) -> Array:
    """Maps numbers in [-1, 1] to the range between the bounds."""
    low, high = (jnp.array(x, action.dtype) for x in (self.low, self.high))
    return (low + (high - low) * (action + 1) / 2).reshape(self.sizes)


def bounded_spec_of(space: spaces.Space) -> Spec:
  """Returns the spec of an action space: one choice, or bounded numbers.

  Raises:
    ValueError: if it is not `Discrete` or a `Box` with finite bounds.
  """
  spec, space = spec_of(space), spaces.convert(space)
  if spec.kind == "categorical":
    return spec
  if spec.kind == "gaussian":
    bounds = [np.broadcast_to(x, spec.sizes) for x in (space.low, space.high)]
    if np.isfinite(bounds).all():
      low, high = (tuple(x.ravel().tolist()) for x in bounds)
      return Bounded(spec.kind, spec.sizes, low, high)
  raise validate.error(
    "action space", space, "Discrete, or a Box with finite bounds"
  )


class Factored(NamedTuple):
  """Independent categorical choices, as (..., k) int32.

  Attributes:
    parts: the distributions of the choices.
  """

  parts: tuple[distributions.Categorical, ...]

  def sample(self, key: Array) -> Array:
    """Draws all choices: (..., k) int32."""
    keys = jax.random.split(key, len(self.parts))
    return jnp.stack([p.sample(k) for p, k in zip(self.parts, keys)], axis=-1)

  def mode(self) -> Array:
    """Returns the most probable choices: (..., k) int32."""
    return jnp.stack([part.mode() for part in self.parts], axis=-1)

  def log_prob(self, action: Array) -> Array:
    """Returns the log-probability of (..., k) choices: (...)."""
    return sum(p.log_prob(action[..., i]) for i, p in enumerate(self.parts))

  def entropy(self) -> Array:
    """Returns the sum of the choices' entropies: (...)."""
    return sum(part.entropy() for part in self.parts)

  def masked(self, mask: Array) -> "Factored":
    """Returns the distribution restricted to allowed options.

    The mask, (..., n), concatenates the masks of all choices; a choice with no
    allowed option stays unrestricted.
    """
    sizes = [part.logits.shape[-1] for part in self.parts]
    masks = action_masks.choices(sizes, mask)
    return Factored(tuple(p.masked(m) for p, m in zip(self.parts, masks)))


def factored(sizes: tuple[int, ...], logits: Array) -> Factored:
  """Splits (..., sum(sizes)) logits into the logits of `len(sizes)` choices."""
  parts = action_masks.choices(sizes, logits)
  return Factored(tuple(distributions.Categorical(part) for part in parts))


def uniform(spec: Spec, mask: Array) -> distributions.Categorical | Factored:
  """Returns the uniform policy over the actions that a mask (..., n) allows."""
  logits = jnp.zeros(mask.shape, jnp.float32)
  if spec.kind == "factored":
    return factored(spec.sizes, logits).masked(mask)
  return distributions.Categorical(logits).masked(mask)
