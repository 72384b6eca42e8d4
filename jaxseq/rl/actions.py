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
    ValueError: if it is not `Discrete`, `MultiDiscrete` or a `Box` of floats.
  """
  match spaces.convert(space):
    case spaces.Discrete():
      return Spec("categorical", (space.n,))
    case spaces.MultiDiscrete():
      return Spec("factored", space.sizes)
    # bfloat16 is of the kind V.
    case spaces.Box() if np.dtype(space.dtype).kind in "fV":
      return Spec("gaussian", tuple(space.shape))
  expected = "Discrete, MultiDiscrete, for several integers, or a Box of floats"
  raise validate.error("action space", space, expected)


@dataclasses.dataclass(frozen=True)
class Bounded(Spec):
  """A continuous action with bounds, which the policy's -1 and 1 stand for.

  Attributes, beside those of `Spec`:
    low: the environment's lower bound of each number.
    high: the environment's upper bound of each number.
  """

  low: tuple[float, ...]
  high: tuple[float, ...]

  def to_environment(self, action: Array) -> Array:
    """Maps -1 to the lower bound and 1 to the upper one; clips what is beyond.

    Rounding never exceeds a bound.
    """
    low, high = (jnp.array(x, action.dtype) for x in (self.low, self.high))
    scaled = low + (high - low) * ((action + 1) / 2)
    return jnp.clip(scaled, low, high).reshape(self.sizes)


def bounded_spec_of(space: spaces.Space) -> Spec:
  """Returns the spec of an action space: one choice, or bounded numbers.

  Raises:
    ValueError: if it is not `Discrete` or a `Box` with finite bounds.
  """
  spec = scaled_spec_of(space)
  if spec.kind == "categorical" or isinstance(spec, Bounded):
    return spec
  raise validate.error(
    "action space", space, "Discrete, or a Box with finite bounds"
  )


def scaled_spec_of(space: spaces.Space) -> Spec:
  """Returns the spec of an action space, `Bounded` if numbers have bounds.

  Raises:
    ValueError: if it is not `Discrete`, `MultiDiscrete` or a `Box`.
  """
  spec, bounds = spec_of(space), spaces.bounds(space)
  return spec if bounds is None else Bounded(spec.kind, spec.sizes, *bounds)


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
