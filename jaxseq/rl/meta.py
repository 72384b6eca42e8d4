"""Meta-episodes: several trials at one task, with one memory for all of them.

Knowledge from one trial helps an agent in the next only if its memory
lasts. `Trials` therefore shows the end of a trial as a number in the
observation, and reports the end of an episode, which resets a memory, only
after the last trial.
"""

import dataclasses
import math
from typing import ClassVar
from typing import Literal

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import wrappers
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.training import batching
from jaxseq.types import PyTree


@struct.dataclass
class Params:
  """Parameters of a meta-episode.

  Attributes:
    env: parameters of the environment; its time limit is that of one trial.
    max_steps_in_episode: time limit of the meta-episode. The default is never
      reached, since the trials end before it.
  """

  env: protocol.Env
  max_steps_in_episode: int


@struct.dataclass
class TrialsState:
  """State of `Trials`.

  Attributes:
    env_state: the environment's state.
    start: the first observation and state of the meta-episode if every trial
      starts from there, else None.
    trial: () int32, number of finished trials.
    time: () int32, steps of the meta-episode so far.
    trial_returns: (num_trials,) float32, rewards of each trial so far.
  """

  env_state: PyTree
  start: PyTree
  trial: jax.Array
  time: jax.Array
  trial_returns: jax.Array


@dataclasses.dataclass(frozen=True)
class Trials(wrappers.Wrapper):
  """Combines several episodes of an environment into one episode.

  An episode of the environment, a trial, may terminate or be truncated: either
  way the next one starts, and its first observation follows. The meta-episode
  terminates with its last trial. After that the environment is reset from
  scratch, so that everything drawn only in `reset` lasts for a meta-episode.

  The observation is one float32 vector: the environment's observation
  flattened, the previous action, the previous reward if requested, whether a
  trial has just ended (1 at the first observation of each trial but the
  first), and whether this is the start of the meta-episode. At that start, the
  previous action and reward are 0. `info["final_observation"]` of the last
  step is the last observation of the last trial.

  `info` gains `trial`, () int32, the index of the step's trial; and, after
  the step, `trial_ended` and `trial_truncated`, () bool, whether the trial is
  over and whether its time limit was reached; and `trial_returns`,
  (num_trials,) float32.

  Attributes:
    env: the environment.
    num_trials: trials in a meta-episode.
    trial_steps: time limit of a trial; the environment's own if None.
    same_start: whether every trial of a meta-episode starts from the initial
      state of the first one, instead of a fresh one.
    previous_action: "one_hot" for discrete actions as one-hots, or "number"
      for their index.
    previous_reward: whether the observation holds the previous reward.
    reward_scale: factor on rewards.
    keep_memory: whether a policy keeps its memory from one trial to the next.
      If not, it is reset before each trial, which measures the benefit of
      memory: `info["forget"]`, () bool, requests that, and the first
      observation of every trial looks like that of a meta-episode.
  """

  num_trials: int = 4
  trial_steps: int | None = None
  same_start: bool = False
  previous_action: Literal["one_hot", "number"] = "one_hot"
  previous_reward: bool = False
  reward_scale: float = 1.0
  keep_memory: bool = True

  # Policies are not shown the previous action and a reset flag a second time.
  shows_history: ClassVar[bool] = True

  def __post_init__(self):
    validate.literals(self)
    validate.fields(self, positive=("num_trials",), optional=("trial_steps",))
    validate.number("reward_scale", self.reward_scale)

  @property
  def num_steps(self) -> int:
    """The maximum number of steps of all trials."""
    limit = self.trial_steps or self.env.default_params.max_steps_in_episode
    return self.num_trials * int(limit)

  @property
  def default_params(self) -> Params:
    """The environment's parameters, and a time limit that is never reached."""
    env_params = self.env.default_params
    if self.trial_steps is not None:
      env_params = env_params.replace(max_steps_in_episode=self.trial_steps)
    return Params(env=env_params, max_steps_in_episode=self.num_steps + 1)

  def _step(self, key, state, action, params):
    key_step, key_reset = jax.random.split(key)
    observation, env_state, reward, ended, cut, info = self.env.step(
      key_step, state.env_state, action, params.env
    )
    over = ended | cut
    if self.same_start:
      observation, env_state = wrappers.select(
        over, state.start, (observation, env_state)
      )
    reward = jnp.float32(self.reward_scale) * jnp.asarray(reward, jnp.float32)
    played = jnp.arange(self.num_trials, dtype=jnp.int32) == state.trial
    going = TrialsState(
      env_state=env_state,
      start=state.start,
      trial=state.trial + over.astype(jnp.int32),
      time=state.time + 1,
      trial_returns=state.trial_returns + jnp.where(played, reward, 0),
    )
    terminated = going.trial >= self.num_trials
    truncated = going.time >= params.max_steps_in_episode
    # A policy that forgets does not see how the last trial ended.
    fresh = over & ~terminated & (not self.keep_memory)
    # After the last trial there is no next one to show.
    last = wrappers.select(terminated, info["final_observation"], observation)
    action = jnp.where(fresh, 0, self._flat_action(action, params))
    paid = jnp.where(fresh, 0, reward)
    final = self._flatten(last, action, paid, over & ~fresh, fresh, params)
    info = info | {
      "trial": state.trial,
      "trial_ended": over,
      "trial_truncated": cut,
      "trial_returns": going.trial_returns,
    }
    if not self.keep_memory:
      info["forget"] = over
    # A start draws the whole task, and is rarely needed.
    done = terminated | truncated
    after = final, going
    shown, state = jax.lax.cond(
      batching.any_of_batch(done),
      lambda: wrappers.select(done, self._reset(key_reset, params), after),
      lambda: after,
    )
    return base.outcome(
      shown, state, reward, terminated, truncated, final, info
    )

  def observation_space(self, params: Params | None = None) -> spaces.Space:
    """All vectors of the observation's size, with the mask if there is one."""
    params = self._or_default(params)
    size = spaces.flat_size(self.shown_space(params)) + self.previous_reward + 2
    size += self._action_size(params)
    vectors = spaces.Box(-math.inf, math.inf, (size,))
    return action_masks.like(self.env.observation_space(params.env), vectors)

  def shown_space(self, params: Params | None = None) -> spaces.Space:
    """The space of the first part of an observation: the environment's own."""
    space = self.env.observation_space(self._or_default(params).env)
    return action_masks.shown(space)

  def action_space(self, params: Params | None = None) -> spaces.Space:
    """The environment's actions."""
    return self.env.action_space(self._or_default(params).env)

  def _reset(self, key, params):
    observation, env_state = self.env.reset(key, params.env)
    state = TrialsState(
      env_state=env_state,
      start=(observation, env_state) if self.same_start else None,
      trial=jnp.int32(0),
      time=jnp.int32(0),
      trial_returns=jnp.zeros((self.num_trials,), jnp.float32),
    )
    before = jnp.zeros((self._action_size(params),), jnp.float32)
    flags = jnp.bool_(False), jnp.bool_(True)
    flat = self._flatten(observation, before, jnp.float32(0), *flags, params)
    return flat, state

  def _action_size(self, params):
    space = self.action_space(params)
    if self.previous_action == "number":
      return sum(leaf.size for leaf in jax.tree.leaves(spaces.zeros(space)))
    return spaces.flat_size(space)

  def _flat_action(self, action, params):
    if self.previous_action == "number":
      leaves = map(jnp.asarray, jax.tree.leaves(action))
      return jnp.concatenate([x.astype(jnp.float32).ravel() for x in leaves])
    return spaces.flatten(self.action_space(params), action)

  def _flatten(self, observation, action, reward, ended, start, params):
    observation, mask = action_masks.split(observation)
    parts = [spaces.flatten(self.shown_space(params), observation), action]
    if self.previous_reward:
      parts.append(reward[None])
    flags = jnp.stack([ended, start]).astype(jnp.float32)
    flat = jnp.concatenate([*parts, flags])
    return action_masks.join(flat, mask)
