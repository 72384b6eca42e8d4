"""Normalized observations: running means and variances of their numbers.

The statistics are variables of the network, beside its parameters, that get no
gradient. They therefore follow the policy: a checkpoint stores them, each seed
has its own, and an evaluation uses them unchanged. A training run adds its
observations after it has learned from them, and never in between, so that a
recomputed policy equals the one that was played.
"""

import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl import actions
from jaxseq.rl import networks
from jaxseq.rl import rollout
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams
from jaxseq.training import optimizers
from jaxseq.types import CausalNetwork
from jaxseq.types import PyTree

Array = jax.Array

# The collection of variables that are not parameters: `Statistics`.
COLLECTION = "statistics"

# Added to variances, so that constant numbers stay finite: a share of the
# squared mean, whose rounding is no variance, and the least number.
_SHARE, _LEAST = 1e-12, 1e-30
# In standard deviations; a number that hardly ever changes soon exceeds it.
_MAX_SIZE = 10.0


class Statistics(NamedTuple):
  """The statistics of the observations so far.

  Attributes:
    count: () float32, number of observations.
    mean: (d,) float32.
    variance: (d,) float32, the mean squared deviation from the mean; 1 before
      the first observation.
  """

  count: Array
  mean: Array
  variance: Array


def initial(size: int) -> Statistics:
  """Returns statistics that leave observations of `size` numbers unchanged."""
  mean, variance = jnp.zeros(size, jnp.float32), jnp.ones(size, jnp.float32)
  return Statistics(jnp.float32(0), mean, variance)


def merge(statistics: Statistics, observation: Array) -> Statistics:
  """Adds a batch of observations, of all environments at once.

  Chan et al., "Algorithms for computing the sample variance", The American
  Statistician 37(3), 1983, with means instead of sums, which would outgrow
  float32. The batch is summed as differences from one of its members, so that
  large values that are close together keep their digits.

  Takes the earlier statistics and at least one observation (..., d), and
  returns the statistics of both together.
  """
  flat = observation.reshape(-1, observation.shape[-1]).astype(jnp.float32)
  origin = flat[0]
  offset = (flat - origin).mean(axis=0)
  variance = jnp.square(flat - origin - offset).mean(axis=0)
  count = statistics.count + flat.shape[0]
  share = flat.shape[0] / count
  shift = origin - statistics.mean + offset
  # The 1 of no observations would take the digits of a small variance.
  before = jnp.where(statistics.count > 0, statistics.variance, 0)
  return Statistics(
    count=count,
    mean=statistics.mean + share * shift,
    variance=before
    + share * (variance - before)
    + share * (1 - share) * jnp.square(shift),
  )


def normalize(statistics: Statistics, observation: Array) -> Array:
  """Returns observations (..., d) less the mean, in standard deviations.

  They are clipped to +-10 standard deviations. No gradient flows
  into the statistics.
  """
  _, mean, variance = jax.lax.stop_gradient(statistics)
  floor = _SHARE * jnp.square(mean) + _LEAST
  scaled = (observation - mean) * jax.lax.rsqrt(variance + floor)
  return jnp.clip(scaled, -_MAX_SIZE, _MAX_SIZE)


@dataclasses.dataclass(frozen=True)
class Normalized:
  """A network that sees normalized observations, with the same interface.

  Its variables hold `Statistics` under `COLLECTION`.

  Attributes:
    network: the network, of `networks` or `q_networks`.
    is_number: whether each entry of an observation is normalized. The
      others, one-hots and flags, already have a meaningful scale.
    statistics: used if the variables hold only the network's parameters.
  """

  network: networks.Policy
  is_number: tuple[bool, ...]
  statistics: Statistics | None = None

  @property
  def actions(self) -> actions.Spec:
    """Kind and sizes of the policy's actions."""
    return self.network.actions

  def init(self, key: Array, observation: Array) -> dict[str, PyTree]:
    """Initializes the network's variables, with empty statistics."""
    variables = self.network.init(key, observation)
    return {**variables, COLLECTION: initial(len(self.is_number))}

  def apply(
    self, variables: PyTree, observation: Array, *args: Any, **options: Any
  ) -> Any:
    """Runs the network; the arguments are those of its own `apply`."""
    variables = dict(variables)
    statistics = variables.pop(COLLECTION, self.statistics)
    if statistics is None:
      why = f"{COLLECTION!r} among them, to normalize observations by"
      raise validate.error("variables", sorted(variables), why)
    observation, mask = action_masks.split(observation)
    numbers = teams.vector(observation)
    # An agent that acts alone has no state of the game after its own numbers.
    size = numbers.shape[-1]
    statistics = statistics._replace(
      mean=statistics.mean[:size], variance=statistics.variance[:size]
    )
    scaled = normalize(statistics, numbers)
    seen = jnp.where(jnp.array(self.is_number[:size]), scaled, numbers)
    seen = action_masks.join(teams.like(observation, seen), mask)
    return self.network.apply(variables, seen, *args, **options)

  def initial_state(
    self, *args: Any, variables: PyTree = None, **options: Any
  ) -> PyTree:
    """Returns fresh memories; the arguments are those of the network."""
    if variables is not None:
      inside = {k: x for k, x in variables.items() if k != COLLECTION}
      options["variables"] = inside
    return self.network.initial_state(*args, **options)


def normalized(
  network: CausalNetwork, env: Any, env_params: PyTree
) -> Normalized:
  """Returns a network that sees the observations of an environment normalized.

  Numbers that the environment itself shows are normalized. One-hots, the
  previous action and reward, and flags are not, so a game with only discrete
  observations does not change. The environment comes from
  `rollout.environment`, with its parameters.
  """
  space = action_masks.shown(env.observation_space(env_params))
  num_state = 0
  if getattr(env, "shows_state", False):
    space, state = space.spaces["own"], space.spaces["state"]
    num_state = spaces.flat_size(state)
  if isinstance(space, spaces.Dict):
    expected = "False: images are scaled by 255"
    raise validate.error("normalize_observation", True, expected)
  is_number = spaces.is_number(env.shown_space(env_params)).tolist()
  size = spaces.flat_size(space)
  history = (False,) * (size - len(is_number))
  return Normalized(network, (*is_number, *history, *(True,) * num_state))


def largest(player: rollout.Player, observation: PyTree) -> Array | None:
  """Returns the size of observations, to see whether they need normalization.

  Args:
    player: the environment that was played.
    observation: (..., d), observations as the network is passed them.

  Returns:
    The root mean square () of that number of the environment which has the
    greatest one; None if it shows images or only choices.
  """
  space = player.env.shown_space(player.env_params)
  columns = np.flatnonzero(spaces.is_number(space))
  seen, _ = action_masks.split(observation)
  seen = getattr(seen, "own", seen)
  if not len(columns) or not isinstance(seen, jax.Array):
    return None
  squares = jnp.square(seen[..., columns].astype(jnp.float32))
  return jnp.sqrt(squares.mean(axis=range(squares.ndim - 1)).max())


def after_update(
  statistics: Statistics, observation: Array, skipped: Array | None
) -> Statistics:
  """Returns the statistics after an update of an agent.

  Args:
    statistics: before the update.
    observation: (..., d), the observations of the update, with their mask if
      they have one.
    skipped: skipped optimizer steps of the update, if steps can be skipped:
      then neither they nor non-finite observations are added.
  """
  seen, _ = action_masks.split(observation)
  merged = merge(statistics, teams.vector(seen))
  if skipped is None:
    return merged
  whole = jnp.stack([jnp.isfinite(leaf).all() for leaf in merged]).all()
  return optimizers.keep_if(whole & (skipped == 0), merged, statistics)
