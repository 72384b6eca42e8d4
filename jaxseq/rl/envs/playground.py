"""MuJoCo Playground's control suite, with the interface of gymnax 1.0.

`jaxseq.rl.envs.make` knows "Playground-CartpoleBalance" and the others.
They need the package `playground`, which is imported when the first of them is
made.

Zakka et al., "MuJoCo Playground", arXiv:2502.08844; the tasks are those of
Tassa et al., "DeepMind Control Suite", arXiv:1801.00690.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import registry
from jaxseq.rl.envs import spaces


@dataclasses.dataclass(frozen=True)
class Playground(foreign.Foreign):
  """A task of MuJoCo Playground as an environment that resets itself.

  Playground's own wrappers lose the last observation of an episode and start
  each one from the same cached state. Here every episode is drawn afresh, the
  last observation is in `info["final_observation"]`, and the time limit, which
  the tasks leave to their wrappers, makes a step `truncated`. A reset is
  computed only at steps at which some member of the batch needs one.

  Actions are (k,) float32; what lies beyond -1 and 1 is clipped. Observations
  are (d,) float32.

  The tasks terminate an episode only if the simulation has failed. Its last
  reward and observation are then often not finite: such numbers become 0.

  Attributes:
    task: what `mujoco_playground.registry.load` returns; its observations are
      vectors. Two environments are the same if their tasks are the same
      object.
    episode_length: steps after which an episode is cut off.
  """

  task: Any
  episode_length: int = 1000

  def __post_init__(self):
    _validate.positive("episode_length", self.episode_length)
    if not isinstance(self.task.observation_size, int):
      raise ValueError(
        f"task: got observations {self.task.observation_size}, expected one"
        " vector."
      )

  @property
  def max_steps(self) -> int:
    """The time limit."""
    return self.episode_length

  def begin(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the first observation of an episode, and the task's state."""
    started = self.task.reset(key)
    return started.obs, started

  def play(
    self, key: jax.Array, task_state: PyTree, action: PyTree, params: PyTree
  ) -> foreign.Played:
    """Plays one step; the task's state holds a key of its own."""
    # A copy: tasks write into the dictionaries of the state they are given.
    before = jax.tree.map(lambda x: x, task_state)
    after = self.task.step(before, jnp.clip(action, -1, 1))
    shown, reward = _finite(after.obs), _finite(after.reward)
    return foreign.Played(shown, after, reward, after.done > 0)

  @property
  def name(self) -> str:
    """The name of the task's class."""
    return type(self.task).__name__

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """All vectors of the size of an observation."""
    return spaces.Box(-math.inf, math.inf, (self.task.observation_size,))

  def action_space(self, params: PyTree = None) -> spaces.Box:
    """Controls from -1 to 1, as the whole suite has them."""
    return spaces.Box(-1.0, 1.0, (self.task.action_size,))


def _finite(x: jax.Array) -> jax.Array:
  return jnp.where(jnp.isfinite(x), x, 0)


@functools.cache
def make(task: str, episode_length: int | None = None) -> Playground:
  """Returns a task, simulated by MuJoCo's JAX implementation.

  Playground's default, an implementation in Warp, needs an NVIDIA GPU.

  Args:
    task: one of `registry.PLAYGROUND`.
    episode_length: steps after which an episode is cut off; Playground's own
      time limit if None.

  Raises:
    ValueError: the task is unknown or the length below 1.
    ModuleNotFoundError: the package is not installed.
  """
  _validate.choice("task", task, registry.PLAYGROUND)
  try:
    import mujoco_playground
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"Playground-{task} needs the package {error.name!r}, which is not"
      " installed: pip install 'jaxseq[playground]'.",
      name=error.name,
    ) from error
  # What a task keeps must be arrays, also if a traced program makes it.
  with jax.ensure_compile_time_eval():
    config = mujoco_playground.registry.get_default_config(task)
    config.impl = "jax"
    env = mujoco_playground.registry.load(task, config=config)
  if episode_length is None:
    episode_length = config.episode_length
  return Playground(env, episode_length)
