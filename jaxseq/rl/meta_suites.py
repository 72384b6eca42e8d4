"""Task suites for learning to learn, by name.

`jaxseq.rl.envs.make` accepts these names:

- "ProjectedCartPole", the cart-pole of Lu et al., "Structured State Space
  Models for In-Context Reinforcement Learning", arXiv:2303.03982, as in their
  published code, there called NoisyStatelessMetaCartPole.
- "ProjectedControl", similar to their experiments across tasks with random
  projections. The sizes, the distributions and the tasks are our own choice:
  the paper uses those of DeepMind's control suite.
- "Trials", several episodes of any environment at one task.
"""

import dataclasses
from typing import Any
from typing import NamedTuple

from jaxseq import validate
from jaxseq.rl import envs
from jaxseq.rl import meta
from jaxseq.rl import mixtures
from jaxseq.rl import projections
from jaxseq.rl import wrappers
from jaxseq.rl.envs import cartpole


class _Task(NamedTuple):
  """A control task of gymnax."""

  env_id: str
  step: float  # the largest absolute reward of a step
  once: bool = False  # whether it is paid once in a trial, not at every step
  physics: tuple[tuple[str, float], ...] = ()  # changed environment parameters
  shown: tuple[int, ...] = ()  # visible observation entries; all if empty
  noise_sigma: float = 0.0  # standard deviation of the noise added to them


def _cart_pole(length: float, gravity: float, force: float) -> _Task:
  """A cart-pole of other physics, in meters, meters per s^2 and newtons."""
  # Noise of 1.3 mm and 0.07 degrees. A pole falls at 3.2 degrees, and leans by
  # up to 2.9 at first, so that the first pushes decide a trial.
  mass = 0.1
  return _Task(
    "CartPole-v1",
    1.0,
    physics=(
      ("length", length),
      ("polemass_length", mass * length),
      ("gravity", gravity),
      ("force_mag", force),
      ("theta_threshold_radians", 0.055),
    ),
    shown=(0, 2),
    noise_sigma=0.0013,
  )


# gymnax's tasks. MountainCarContinuous pays 100 on arrival.
_TASKS = {
  "Pendulum-v1": _Task("Pendulum-v1", 16.2736044),
  "MountainCarContinuous-v0": _Task(
    "MountainCarContinuous-v0", 100.0, once=True
  ),
  "PointRobot-misc": _Task("PointRobot-misc", 1.0),
  "Reacher-misc": _Task("Reacher-misc", 1.0),
  "Swimmer-misc": _Task("Swimmer-misc", 1.0),
  "CartPole-usual": _cart_pole(0.5, 9.8, 2.6),
  "CartPole-short": _cart_pole(0.1, 9.8, 1.3),
  "CartPole-heavy": _cart_pole(0.25, 20.0, 2.6),
  "CartPole-strong": _cart_pole(0.5, 9.8, 5.2),
  "CartPole-between": _cart_pole(0.2, 15.0, 2.0),
  "CartPole-beyond": _cart_pole(1.0, 24.8, 8.0),
}

CONTROL_TASKS = tuple(t for t in _TASKS if not t.startswith("CartPole"))
HELD_OUT_TASKS = ("Reacher-misc",)
TRAINING_TASKS = tuple(t for t in CONTROL_TASKS if t not in HELD_OUT_TASKS)

CART_POLES = tuple(t for t in _TASKS if t.startswith("CartPole"))
HELD_OUT_CART_POLES = ("CartPole-between", "CartPole-beyond")
TRAINING_CART_POLES = tuple(
  t for t in CART_POLES if t not in HELD_OUT_CART_POLES
)


def projected_cartpole(
  num_trials: int = 16,
  max_steps: int = 200,
  observation_size: int = 4,
  noise_sigma: float = 0.0,
  max_start: float = 0.05,
  keep_memory: bool = True,
) -> meta.Trials:
  """Returns the position-only cart-pole, observed through a random matrix.

  Every meta-episode draws an orthogonal map of position and angle, and one
  initial state from which each of its trials starts. The observation has 7
  numbers: the 4 outputs of the map, the previous action as 0 or 1, whether a
  trial has just ended, and whether the meta-episode has just started.

  Args:
    num_trials: trials in a meta-episode.
    max_steps: time limit of a trial, whose largest return is 1.
    observation_size: output size of the map.
    noise_sigma: standard deviation of the noise on position and angle, in
      meters and radians, before they are mapped. Without noise the first few
      observations reveal the map.
    max_start: largest absolute position, angle and velocities of an initial
      state. The further a pole leans, the sooner the agent has to know the
      side.
    keep_memory: whether policies keep their memory between trials.

  Raises:
    ValueError: if a number of trials, steps or sizes is below 1, the noise is
      negative, or the start is not between 0 and the angle of a fallen pole.
  """
  if noise_sigma:
    base = cartpole.NoisyPositionOnlyCartPole(max_steps, max_start, noise_sigma)
  else:
    base = cartpole.PositionOnlyCartPole(max_steps, max_start)
  env = projections.Projected(base, observation_size, "orthogonal")
  options = {"same_start": True, "keep_memory": keep_memory}
  return meta.Trials(env, num_trials, previous_action="number", **options)


def trials(
  game: str = "DarkRoomMiddle",
  options: tuple[tuple[str, Any], ...] = (),
  num_trials: int = 20,
  keep_memory: bool = True,
) -> meta.Trials:
  """Returns several episodes of an environment that start in the same state.

  If the initial state holds the task, such as the goal of DarkRoom or the
  payouts of a bandit, these are several trials at one task. The observation
  holds the previous action and reward, see `meta.Trials`.

  Args:
    game: id of the environment.
    options: pairs of names and values, passed on to it.
    num_trials: trials in a meta-episode.
    keep_memory: whether policies keep their memory between trials.

  Raises:
    ValueError: if the environment or an option is unknown, or num_trials is
      below 1.
  """
  env, _ = envs.make(game, **dict(options))
  return meta.Trials(
    env,
    num_trials,
    same_start=True,
    previous_reward=True,
    keep_memory=keep_memory,
  )


def projected_control(
  tasks: tuple[str, ...] = TRAINING_TASKS,
  num_trials: int = 4,
  trial_steps: int = 200,
  observation_size: int = 12,
  action_size: int | None = 2,
  same_start: bool = False,
  keep_memory: bool = True,
) -> mixtures.Mixture:
  """Returns control tasks, each in its own block of the batch.

  Every meta-episode draws a Gaussian map of the observations and directions
  for the actions. The observation holds the projected one, the previous action
  and reward, whether a trial has just ended, and whether the meta-episode has
  just started. Rewards are scaled so that those of a trial lie between -1 and
  1. The 16 observed numbers of Swimmer-misc do not all fit through a map to 12.

  `CONTROL_TASKS` are bodies of different kinds. `CART_POLES` are cart-poles
  with different poles, weights and motors, of which position and angle are
  shown. Their random map also hides the direction of each push.

  Args:
    tasks: ids out of these. Train on `TRAINING_TASKS` or
      `TRAINING_CART_POLES`, and see how well `HELD_OUT_TASKS` or
      `HELD_OUT_CART_POLES` are learned within a meta-episode.
    num_trials: trials in a meta-episode.
    trial_steps: time limit of a trial. A car driven optimally arrives
      after some 150 to 190 steps.
    observation_size: output size of the observation map.
    action_size: size of the agent's action. None leaves actions unchanged,
      which must then be the same in all tasks.
    same_start: whether every trial of a meta-episode starts from the same
      state, hidden goals included, instead of a fresh one.
    keep_memory: whether policies keep their memory between trials.

  Raises:
    ValueError: if tasks are missing or unknown, or a number is below 1.
  """
  if not tasks:
    raise validate.error("tasks", tasks, "one or more")
  for task in tasks:
    validate.choice("tasks", task, _TASKS)
  blocks = []
  for task in map(_TASKS.get, tasks):
    env = wrappers.Physics(envs.make(task.env_id)[0], task.physics)
    if task.shown:
      env = wrappers.Shown(env, task.shown, task.noise_sigma)
    env = projections.Projected(env, observation_size, "gaussian", action_size)
    trials = meta.Trials(
      env,
      num_trials,
      trial_steps,
      same_start,
      previous_reward=True,
      keep_memory=keep_memory,
    )
    largest = task.step * (1 if task.once else trial_steps)
    blocks.append(dataclasses.replace(trials, reward_scale=1 / largest))
  return mixtures.Mixture(tuple(blocks))
