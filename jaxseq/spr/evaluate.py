"""Whole games with a trained policy, and what they returned."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl import wrappers
from jaxseq.spr import agent
from jaxseq.spr import agent_networks
from jaxseq.spr import game as games
from jaxseq.spr import learner


class Result(NamedTuple):
  """Games that were played to their end.

  Attributes:
    returns: (games,) float64, sums of rewards as the game counts them.
    lengths: (games,) int64, numbers of steps.
    frames: (steps, *frame_shape), of the first of the games; empty if
      none were to be kept.
  """

  returns: np.ndarray
  lengths: np.ndarray
  frames: np.ndarray


def make(config: agent.Config, game: games.Game) -> Callable[..., Result]:
  """Returns a function with which an agent plays whole games.

  It goes from the networks of one seed (`learner.State`), a random key, the
  number of games, and how many frames of the first game to keep at most (0), to
  a `Result`, and is compiled when it is first used.
  """
  return functools.partial(
    _play, config, game, _policy(config), jax.jit(jax.vmap(game.step))
  )


def _policy(config):
  push = jax.vmap(agent.push)
  renew = jax.vmap(wrappers.select, in_axes=(0, None, 0))
  initial = agent_networks.initial_memory(config.variant.update.networks)

  def policy(learned, observation, memory, frame, fresh, key):
    observation = push(observation, frame, fresh)
    action, memory = agent.act(
      config,
      learned,
      observation,
      key,
      epsilon=config.variant.epsilon_eval,
      noisy=False,
      memory=renew(fresh, initial, memory),
    )
    return observation, memory, action

  return jax.jit(policy)


def _play(
  config: agent.Config,
  game: games.Game,
  policy: Callable[..., Any],
  step_all: Callable[..., Any],
  learned: learner.State,
  key: jax.Array,
  num_games: int,
  keep_frames: int = 0,
) -> Result:
  """Plays games side by side, each of them once.

  The head's noise is off, a random action has the chance epsilon_eval, and the
  loss of a life changes nothing; a memory, too, lasts for a whole game.
  """
  key, key_games = jax.random.split(key)
  states, frame = jax.jit(jax.vmap(game.init))(
    jax.random.split(key_games, num_games)
  )
  fresh = np.ones(num_games, bool)
  observation = jnp.zeros(
    (num_games, *config.replay.observation_shape), config.frame_dtype
  )
  memory = agent_networks.initial_memory(
    config.variant.update.networks, (num_games,)
  )
  returns, lengths = np.zeros(num_games), np.zeros(num_games, np.int64)
  playing, frames = np.ones(num_games, bool), []
  while playing.any():
    if playing[0] and len(frames) < keep_frames:
      frames.append(np.asarray(frame[0]))
    key, key_policy, key_step = jax.random.split(key, 3)
    observation, memory, action = policy(
      learned, observation, memory, frame, fresh, key_policy
    )
    states, step = step_all(
      states, action, jax.random.split(key_step, num_games)
    )
    frame = step.frame
    reward, fresh = jax.device_get((step.reward, step.over))
    returns += np.where(playing, reward, 0)
    lengths += playing
    playing = playing & ~fresh
  shape = (len(frames), *game.frame_shape)
  kept = np.asarray(frames, game.frame_dtype).reshape(shape)
  return Result(returns, lengths, kept)
