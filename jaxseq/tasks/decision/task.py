"""Offline reinforcement learning as sequence modeling: Decision Transformer.

A recorded episode becomes the tokens (return-to-go, observation, action) of its
steps, and a network with any causal mixer predicts each action at the token of
its observation. Asked for a high return, it plays like the recorded players
when they got one. Chen et al., arXiv:2106.01345; with Aaren for attention: Feng
et al., arXiv:2405.13956.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import Literal
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.data import trajectories
from jaxseq.nn import dense
from jaxseq.tasks import base
from jaxseq.tasks import task
from jaxseq.training import configuration
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    conditioned: whether the network sees returns-to-go. If not, these tokens
      are 0, and the network clones the recorded behavior.
    top_share: share of the episodes to learn from, those with the highest
      returns.
  """

  conditioned: bool = True
  top_share: float = 1.0


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`."""

  def __post_init__(self):
    super().__post_init__()
    validate.fraction("top_share", self.top_share)


@dataclasses.dataclass(frozen=True)
class Config(Options, base.Comparison):
  """A comparison of networks on recorded episodes, with `Options`.

  Attributes:
    ppo: fields of `ppo.Config`: the environment, and the recorded agent.
    checkpoints: number of evaluations of the agent during its training, to find
      the medium player.
    episodes: number of recorded episodes, a third of each level.
    context: steps of a window.
    targets: returns to ask for in evaluations; the last is the one that the
      progress bar, the learning curve and the first column of the table show.
    evaluation_episodes: episodes per seed for each of them.
  """

  _: dataclasses.KW_ONLY
  ppo: configuration.Fields
  checkpoints: int = 20
  episodes: int = 1000
  context: int = 20
  targets: tuple[float, ...]
  evaluation_episodes: int = 20
  batch_size: int = 64

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self,
      positive=("checkpoints", "episodes", "context", "evaluation_episodes"),
    )
    names = {f"{target:g}" for target in self.targets}
    if not names or len(names) < len(self.targets):
      raise validate.error(
        "targets", self.targets, "at least one return, each of them once"
      )

  @property
  def subject(self) -> str:
    """The environment's name, for titles."""
    return self.ppo["env_id"]


@dataclasses.dataclass(frozen=True)
class Actions:
  """The decision of one step.

  Attributes:
    kind: "discrete": one of `size` options, () int32; "continuous": `size`
      numbers, (size,) float32.
    size: number of options, or of numbers.
    low: smallest values of the numbers.
    high: largest values of the numbers.
  """

  kind: Literal["discrete", "continuous"]
  size: int
  low: tuple[float, ...] = ()
  high: tuple[float, ...] = ()

  @property
  def discrete(self) -> bool:
    """True if an action is one of some options."""
    return self.kind == "discrete"

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of an action."""
    return () if self.discrete else (self.size,)


class Scales(NamedTuple):
  """The scales of observations and returns.

  Attributes:
    mean: (d,) of the recorded observations.
    deviation: (d,) of them.
    returns: () float32, the largest absolute return of an episode.
  """

  mean: Array
  deviation: Array
  returns: Array


def scales(recorded: trajectories.Trajectories) -> Scales:
  """Returns the scales of a recording."""
  statistics = trajectories.statistics(recorded)
  largest = max(float(np.abs(statistics.returns).max()), 1e-6)
  return Scales(statistics.mean, statistics.deviation, np.float32(largest))


class DecisionModel(linen.Module):
  """The network around a mixer, for whole windows and for single steps.

    outputs, states = model.apply(
      variables, returns, observations, actions, timesteps, reset=reset
    )
    output, states = model.apply(
      variables, returns_t, observation_t, timestep_t, states, method="decide"
    )
    states = model.apply(
      variables, action_t, timestep_t, states, method="remember"
    )

  All three tokens of a step are embedded, the learned embedding of the time
  step is added, and a layer norm follows.

  Attributes:
    config: options of the stack of layers.
    actions: the action space.
    max_timesteps: number of embeddings; later steps share the last.
  """

  config: nn.StackConfig
  actions: Actions
  max_timesteps: int

  def setup(self):
    """Makes the layers."""
    width, dtype = self.config.d_model, jnp.dtype(self.config.dtype)
    self.embed_return = dense.Dense(width, dtype=dtype)
    self.embed_observation = dense.Dense(width, dtype=dtype)
    self.embed_action = dense.Dense(width, dtype=dtype)
    self.embed_timestep = linen.Embed(
      self.max_timesteps,
      width,
      # Its gradients are sums over many places.
      dtype=jnp.promote_types(dtype, jnp.float32),
      embedding_init=linen.initializers.normal(0.02),
    )
    self.norm = linen.LayerNorm(epsilon=self.config.norm_epsilon, dtype=dtype)
    self.stack = nn.SequenceModel(self.config)
    self.head = dense.Dense(self.actions.size, dtype=dtype, wide=True)

  def __call__(
    self,
    returns: Array,
    observations: Array,
    actions: Array,
    timesteps: Array,
    states: PyTree = None,
    reset: Array | None = None,
    train: bool = False,
  ) -> tuple[Array, PyTree]:
    """Runs over windows.

    Args:
      returns: (*batch, time) returns-to-go, scaled.
      observations: (*batch, time, d), scaled.
      actions: (*batch, time) int32, or (*batch, time, n) float32.
      timesteps: (*batch, time) int32.
      states: states before the first step; fresh ones if None.
      reset: (*batch, time) bool; True resets the states before that step, such
        as after padding.
      train: whether dropout is on.

    Returns:
      (*batch, time, size) float32: logits, or the actions themselves; and the
      states after the last action.
    """
    tokens = jnp.stack(
      [
        self._token(self.embed_return, returns[..., None], timesteps),
        self._token(self.embed_observation, observations, timesteps),
        self._token(self.embed_action, self._numbers(actions), timesteps),
      ],
      axis=-2,
    )
    *batch, time, _, width = tokens.shape
    if reset is not None:
      reset = jnp.zeros((*batch, time, 3), bool).at[..., 0].set(reset)
      reset = reset.reshape(*batch, 3 * time)
    y, states = self.stack(
      tokens.reshape(*batch, 3 * time, width), states, reset, train
    )
    y = y.reshape(*batch, time, 3, width)[..., 1, :]
    return self._outputs(y), states

  def decide(
    self, returns: Array, observation: Array, timestep: Array, states: PyTree
  ) -> tuple[Array, PyTree]:
    """Runs over the first two tokens of one step.

    Arguments are as for `__call__`, without the axis of time, with the states
    after the previous step.

    Returns:
      (*batch, size), as from `__call__`, and the states for `remember`.
    """
    token = self._token(self.embed_return, returns[..., None], timestep)
    _, states = self.stack(token, states, step=True)
    token = self._token(self.embed_observation, observation, timestep)
    y, states = self.stack(token, states, step=True)
    return self._outputs(y), states

  def remember(self, action: Array, timestep: Array, states: PyTree) -> PyTree:
    """Runs over the last token of one step; returns the states after it."""
    token = self._token(self.embed_action, self._numbers(action), timestep)
    return self.stack(token, states, step=True)[1]

  @linen.nowrap
  def initial_state(self, batch_shape: tuple[int, ...] = ()) -> PyTree:
    """Returns the states of a fresh episode; works on an unbound module."""
    stack = nn.SequenceModel(self.config, parent=None)
    return stack.initial_state(batch_shape)

  def _token(self, embed, x, timestep):
    place = jnp.minimum(timestep, self.max_timesteps - 1)
    return self.norm(embed(x) + self.embed_timestep(place))

  def _numbers(self, action):
    if self.actions.discrete:
      return jax.nn.one_hot(action, self.actions.size)
    return action

  def _outputs(self, y):
    y = self.head(y).astype(jnp.float32)
    if self.actions.discrete:
      return y
    low, high = jnp.array(self.actions.low), jnp.array(self.actions.high)
    return 0.5 * (low + high) + 0.5 * (high - low) * jnp.tanh(y)


def choose(actions: Actions, output: Array) -> Array:
  """Converts outputs (*batch, size) of the model to actions."""
  if actions.discrete:
    return jnp.argmax(output, axis=-1).astype(jnp.int32)
  return output


def make_model(
  arm: ArmConfig, actions: Actions, max_timesteps: int
) -> DecisionModel:
  """Returns the model of an arm.

  Raises:
    ValueError: if its network pools or has batch norm.
  """
  base.check_pooling(arm.network, False, "every action is predicted")
  arm.network.stack.refuse(
    "network.stack",
    batch_norm="acting sees one step at a time",
    bidirectional="acting sees no future",
  )
  return DecisionModel(arm.network.stack, actions, max_timesteps)


def inputs(
  arm: ArmConfig, windows: trajectories.Windows, scale: Scales
) -> tuple[Array, Array, Array, Array]:
  """Returns returns, observations, actions and time steps for the model."""
  returns = windows.returns_to_go / scale.returns
  if not arm.conditioned:
    returns = jnp.zeros_like(returns)
  observations = (windows.observations - scale.mean) / scale.deviation
  return returns, observations, windows.actions, windows.timesteps


def first_steps(mask: Array) -> Array:
  """Marks the first True of each row (..., time), the end of the padding."""
  before = jnp.pad(mask[..., :-1], [(0, 0)] * (mask.ndim - 1) + [(1, 0)])
  return mask & ~before


def imitation_loss(
  actions: Actions, outputs: Array, taken: Array, mask: Array
) -> tuple[Array, dict[str, Array]]:
  """Returns the loss of outputs against the recorded actions.

  Args:
    actions: the action space.
    outputs: (..., size) of the model.
    taken: (...) int32 or (..., size) float32.
    mask: (...) bool, the steps that count.

  Returns:
    The mean cross-entropy (nats), or squared error per number; and metrics.
  """
  if actions.discrete:
    loss, accuracy, _ = base.cross_entropy(outputs, taken, mask)
    return loss, {"train_accuracy": accuracy}
  error = jnp.mean((outputs - taken) ** 2, axis=-1)
  return jnp.where(mask, error, 0).sum() / jnp.maximum(mask.sum(), 1), {}


class Problem:
  """Predicting recorded actions.

  Args:
    arm: batch size, and the share of episodes to learn from.
    model: of the arm.
    recorded: all episodes; observations are vectors.
    context: steps of a window.
    play: from variables and scales to metrics, by playing.

  Raises:
    ValueError: if the recording has other actions than the model.
  """

  carry: None = None
  part: arms.Part = ""

  def __init__(
    self,
    arm: ArmConfig,
    model: DecisionModel,
    recorded: trajectories.Trajectories,
    *,
    context: int,
    play: Callable[[Any, Scales], dict[str, Array]],
  ):
    got, actions = recorded.actions.shape, model.actions
    if got[1:] != actions.shape:
      expected = f"{actions.kind}, with size {actions.size}"
      raise validate.error("recorded: the actions", f"shape {got}", expected)
    learnt = recorded
    if arm.top_share < 1:
      learnt = trajectories.best(recorded, arm.top_share)
    self.arm, self.model, self.context, self.play = arm, model, context, play
    self.data = {"recorded": learnt, "scale": scales(recorded)}

  def init(self, key: Array) -> base.PyTree:
    """Returns the variables of the model."""
    start = jnp.zeros(1, jnp.int32)
    windows = trajectories.windows(self.data["recorded"], start, 1)
    return self.model.init(key, *inputs(self.arm, windows, self.data["scale"]))

  def sample(
    self, key: Array, update: Array, data: base.PyTree
  ) -> tuple[trajectories.Windows, Scales]:
    """Draws windows, and returns them with their scales."""
    key = jax.random.fold_in(key, update)
    windows = trajectories.sample_windows(
      key, data["recorded"], self.arm.batch_size, self.context
    )
    return windows, data["scale"]

  def loss(
    self,
    variables: base.PyTree,
    batch: tuple[trajectories.Windows, Scales],
    carry: None,
    key: Array,
  ) -> tuple[Array, supervised.Loss]:
    """Returns the loss of the model's actions against the recorded ones."""
    windows, scale = batch
    seen = inputs(self.arm, windows, scale)
    (outputs, _), _, penalty = base.in_training(
      self.model, variables, key, *seen, reset=first_steps(windows.mask)
    )
    value, metrics = imitation_loss(
      self.model.actions, outputs, windows.actions, windows.mask
    )
    return value + penalty, supervised.Loss(metrics, {}, carry)

  def evaluate(
    self, variables: base.PyTree, data: base.PyTree
  ) -> supervised.Metrics:
    """Returns the metrics of playing."""
    return self.play(variables, data["scale"])

  validate = evaluate


class Recording(NamedTuple):
  """The data of problems: episodes, and a function that plays a model.

  Attributes:
    episodes: all recorded episodes.
    actions: the action space.
    max_timesteps: of an episode.
    play: (arm, model) -> the function `play` of its `Problem`.
  """

  episodes: trajectories.Trajectories
  actions: Actions
  max_timesteps: int
  play: Callable[[ArmConfig, DecisionModel], Callable[..., dict[str, Array]]]


def _problem(arm, recording, config):
  model = make_model(arm, recording.actions, recording.max_timesteps)
  return Problem(
    arm,
    model,
    recording.episodes,
    context=config.context,
    play=recording.play(arm, model),
  )


TASK = task.Task(
  name="decision",
  arm=ArmConfig,
  problem=_problem,
  metric="return",
  better=None,
  unit="windows",
  columns={"return": "return"},
)
