"""The base of agents that learn from replayed sequences.

An update plays a sequence in each environment, adds them to a replay, and takes
optimizer steps on sequences sampled from it, once it has enough. An algorithm
adds its player, the loss of a batch, and the target network's update rule, as
`r2d2` and `sac` do.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import types
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import _last_observation
from jaxseq.rl import mixtures
from jaxseq.rl import networks
from jaxseq.rl import normalization
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import _sequence_rollout
from jaxseq.rl.agents import common
from jaxseq.rl.replay import sequences
from jaxseq.training import batching
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers
from jaxseq.types import CausalNetwork
from jaxseq.types import PyTree

Array = jax.Array

# Half as wide as without a replay: replay agents reuse each step more often.
_NETWORK = dataclasses.replace(
  networks.GENERAL,
  stack=dataclasses.replace(networks.GENERAL.stack, d_model=64),
  head_widths=(64,),
)


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
  """Configuration fields of all agents with a replay.

  The defaults learn from rewards of any size on a laptop; comparisons use
  `published` unless they override it.

  If a time limit is bootstrapped, seeing the last observation of an episode
  counts as a step.

  Attributes, beside those of `common.Config`:
    sequence_length: steps in each environment between updates: one sequence.
    burn_in: steps before a sequence that recompute its stored memory: 0 or a
      divisor of its length.
    replay_sequences: capacity of the replay in sequences.
    learning_starts: sequences in the replay before the first optimizer step.
    num_minibatches: optimizer steps per update.
    batch_size: sequences per minibatch.
  """

  published: ClassVar[Mapping[str, Any]] = types.MappingProxyType(
    {
      "network": networks.Config(),
      "num_envs": 64,
      "total_steps": 15_000_000,
      "reward_normalization": "none",
      "sequence_length": 80,
      "burn_in": 40,
      "learning_starts": 512,
      "num_minibatches": 4,
      "batch_size": 64,
    }
  )

  network: networks.Config = _NETWORK
  num_envs: int = 16
  total_steps: int = 200_000
  learning_rate: float = 1e-3
  reward_normalization: Literal["none", "returns"] = "returns"
  sequence_length: int = 40
  burn_in: int = 8
  replay_sequences: int = 4096
  learning_starts: int = 64
  num_minibatches: int = 16
  batch_size: int = 32

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self,
      positive=(
        "sequence_length",
        "replay_sequences",
        "learning_starts",
        "num_minibatches",
        "batch_size",
      ),
      not_negative=("burn_in",),
    )
    if self.burn_in and self.sequence_length % self.burn_in:
      expected = f"0 or a divisor of sequence_length = {self.sequence_length}"
      raise validate.error("burn_in", self.burn_in, expected)
    held = self.replay_sequences
    if self.num_envs > held:
      added = f"{self.num_envs}: so many are added at once"
      expected = f"at least num_envs = {added}"
      raise validate.error("replay_sequences", held, expected)
    if self.learning_starts > held:
      expected = f"at most replay_sequences = {held}"
      raise validate.error("learning_starts", self.learning_starts, expected)
    self._check_total_steps("sequence_length", "learning_starts")

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    return self.num_envs * self.sequence_length

  @property
  def first_update(self) -> int:
    """Updates before the first one that learns."""
    return -(-self.learning_starts // self.num_envs) - 1

  @property
  def optimizer_steps(self) -> int:
    """Optimizer steps of the whole run."""
    return (self.num_updates - self.first_update) * self.num_minibatches


class Learned(NamedTuple):
  """Parameters, a target for each of them, and the optimizer's state."""

  params: PyTree
  target: PyTree
  opt_state: PyTree


def begin(
  config: Config, params: PyTree, sequence: _sequence_rollout.Sequence
) -> tuple[Learned, sequences.Replay[_sequence_rollout.Sequence]]:
  """Returns the initial learned state and an empty replay.

  Args:
    config: the configuration.
    params: the initial parameters.
    sequence: shapes and dtypes of the sequences that an update plays.
  """
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), sequence
  )
  # Separate buffers, so that the state can be donated.
  target = jax.tree.map(jnp.copy, params)
  learned = Learned(params, target, optimizer(config).init(params))
  return learned, sequences.init(one, config.replay_sequences)


# From parameters, their targets, a batch of sequences, their weights (batch,)
# and a key to the loss; and to a dict of scalars, with the priorities (batch,)
# of the sequences, or None if sampling is uniform.
Loss = Callable[
  [PyTree, PyTree, PyTree, Array, Array],
  tuple[Array, tuple[dict[str, Array], Array | None]],
]


def optimizer(config: Config) -> optax.GradientTransformation:
  """Returns the optimizer of a whole run."""
  return common.make_optimizer(config, config.optimizer_steps)


def learner(config: Config, player: rollout.Player) -> rollout.Player:
  """Returns the training player, which sees last observations if truncated."""
  player = common.training_player(config, player)
  if not common.bootstraps(config, player):
    return player
  env = mixtures.wrap(player.env, _last_observation.LastObservation)
  return player._replace(env=env)


def play(
  config: Config,
  player: rollout.Player,
  variables: PyTree,
  world: rollout.World,
  tail: _sequence_rollout.Tail,
  key: Array,
) -> tuple[
  rollout.World,
  _sequence_rollout.Tail,
  _sequence_rollout.Sequence,
  rollout.Transition,
]:
  """Plays sequences in which a truncation is bootstrapped, or a termination.

  Args:
    config: the configuration.
    player: the environment and the network that plays it.
    variables: of the network.
    world: the world of the `learner`.
    tail: the steps before it.
    key: random key.

  Returns:
    The world and the tail afterwards, the sequences, and the transitions.
  """
  learns = learner(config, player)
  world, tail, sequence, transition = _sequence_rollout.play(
    learns, variables, world, tail, key, config.sequence_length
  )
  if not common.bootstraps(config, learns):
    sequence = sequence._replace(
      terminated=sequence.terminated | sequence.cut,
      cut=jnp.zeros_like(sequence.cut),
    )
  return world, tail, sequence, transition


def unroll(
  network: CausalNetwork,
  params: PyTree,
  memory: PyTree,
  batch: _sequence_rollout.Sequence,
  burn_in: int,
  **options: Any,
) -> tuple[Any, Any]:
  """Runs a network over replayed sequences.

  The memory is recomputed over the burn-in, without gradients.

  Args:
    network: a `networks.Policy`, or a module with the same call.
    params: its parameters.
    memory: before the first observation of each sequence.
    batch: sequences with one leading axis.
    burn_in: steps.
    **options: options of the network call after the burn-in.

  Returns:
    The network's outputs after the burn-in, without the final memory; axes
    (batch, time + 1).
  """

  def run(memory, steps, **options):
    observation, reset = jax.tree.map(
      lambda x: x[:, steps], (batch.observation, batch.reset)
    )
    return network.apply(
      {"params": params}, observation, memory, reset, **options
    )

  memory = sequences.renew(
    lambda memory, steps: run(memory, steps)[2], memory, burn_in
  )
  return run(memory, slice(burn_in, None), **options)[:2]


def learn_if_ready(
  config: Config,
  learned: Learned,
  replay: sequences.Replay,
  key: Array,
  loss: Loss,
  retarget: Callable[[PyTree, PyTree, Array], PyTree],
  num_updates: Array,
  importance: tuple[float, float] = (0.0, 0.0),
) -> tuple[Learned, PyTree, dict[str, Array]]:
  """Takes the optimizer steps of an update once the replay has enough.

  Args:
    config: the configuration.
    learned: learned state before these steps.
    replay: the replay.
    key: random key.
    loss: of a batch.
    retarget: from the parameters, their targets, and the number of optimizer
      steps so far, to the new targets; it is elementwise.
    num_updates: updates before this one.
    importance: exponents of the priorities, and of the weights that correct
      their bias.

  Returns:
    The new learned state; the priorities; and metrics, means over the steps,
    NaN if there are no steps.
  """
  ready = replay.count >= config.learning_starts
  num_steps = (num_updates - config.first_update) * config.num_minibatches

  def learn():
    return _learn(
      config, learned, replay, key, loss, retarget, num_steps, importance
    )

  def wait():
    # Counts are 0 and means are NaN without steps.
    empty = {optimizers.SKIPPED: 0}
    unknown = {
      name: jnp.full(x.shape, empty.get(name, jnp.nan), x.dtype)
      for name, x in jax.eval_shape(learn)[-1].items()
    }
    return learned, replay.priorities, unknown

  return jax.lax.cond(
    batching.any_of_batch(ready),
    lambda: wrappers.select(ready, learn(), wait()),
    wait,
  )


def finish(
  config: Config,
  player: rollout.Player,
  runner: Any,
  transition: rollout.Transition,
  metrics: dict[str, jax.Array],
) -> tuple[dict[str, Any], dict[str, jax.Array]]:
  """Returns the state fields that every update changes, and all metrics."""
  statistics = runner.statistics
  if config.normalize_observation:
    statistics = normalization.after_update(
      statistics, transition.observation, metrics.get(optimizers.SKIPPED)
    )
  num_updates = runner.num_updates + 1
  metrics = metrics | common.episode_metrics(transition)
  metrics |= common.observation_metrics(player, transition.observation)
  metrics["env_steps"] = num_updates * config.steps_per_update
  return {"num_updates": num_updates, "statistics": statistics}, metrics


def _learn(config, learned, replay, key, loss, retarget, num_steps, importance):
  """Takes the optimizer steps of one update, after `num_steps` of the run."""
  adam, (exponent, importance_exponent) = optimizer(config), importance
  form = flat_parameters.choose(adam, learned.params, learned.opt_state)

  def step(carry, inputs):
    learned, tree = carry
    key, key_loss, count = inputs
    places, weight = sequences.sample(
      replay._replace(priorities=tree),
      key,
      config.batch_size,
      importance_exponent=importance_exponent,
    )
    batch = sequences.take(replay, places)
    params, target = form.unpack(learned.params), form.unpack(learned.target)
    gradients, (metrics, priority) = jax.grad(loss, has_aux=True)(
      params, target, batch, weight, key_loss
    )
    gradients = form.pack(gradients)
    metrics["grad_norm"] = optax.tree.norm(gradients)
    params, opt_state, skipped = optimizers.step(
      adam,
      gradients,
      learned.opt_state,
      learned.params,
      skip_nonfinite=config.skip_nonfinite,
    )
    if skipped and priority is not None:
      # One non-finite error would make the priority sums non-finite.
      priority = jnp.where(jnp.isfinite(priority), priority, 0)
    metrics |= skipped
    target = retarget(params, learned.target, count)
    if priority is not None:
      tree = sequences.set_priority(tree, places, priority, exponent)
    return (Learned(params, target, opt_state), tree), metrics

  # The first row equals a split into `num_minibatches` keys, so that losses
  # without randomness keep their results.
  shape = (2, config.num_minibatches)
  keys, keys_loss = jax.random.split(key, shape)
  counts = num_steps + 1 + jnp.arange(config.num_minibatches)
  held = Learned(
    form.pack(learned.params),
    form.pack(learned.target),
    form.pack_state(learned.opt_state),
  )
  (held, tree), metrics = jax.lax.scan(
    step, (held, replay.priorities), (keys, keys_loss, counts)
  )
  learned = Learned(
    form.unpack(held.params),
    form.unpack(held.target),
    form.unpack_state(held.opt_state),
  )
  return learned, tree, optimizers.over_steps(metrics)
