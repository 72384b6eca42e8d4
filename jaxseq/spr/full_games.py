"""Whole games with a trained policy, and what they returned."""

from collections.abc import Callable
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
  a `Result`, and is compiled when it is first used. Games are played side by
  side, each of them once: the head's noise is off, a random action has the
  chance epsilon_eval, and the loss of a life changes nothing; a memory, too,
  lasts for a whole game.
  """
  policy, step_all = _policy(config), jax.jit(jax.vmap(game.step))
  networks = config.variant.update.networks

  def play(
    learned: learner.State,
    key: jax.Array,
    num_games: int,
    keep_frames: int = 0,
  ) -> Result:
    key, key_games = jax.random.split(key)
    states, frame = jax.jit(jax.vmap(game.init))(
      jax.random.split(key_games, num_games)
    )
    shape = (num_games, *config.replay.observation_shape)
    observation = jnp.zeros(shape, config.frame_dtype)
    memory = agent_networks.initial_memory(networks, (num_games,))
    fresh, playing = np.ones((2, num_games), bool)
    returns, lengths = np.zeros(num_games), np.zeros(num_games, np.int64)
    frames = []
    while playing.any():
      if playing[0] and len(frames) < keep_frames:
        frames.append(np.asarray(frame[0]))
      key, key_policy, key_step = jax.random.split(key, 3)
      observation, memory, action = policy(
        learned, observation, memory, frame, fresh, key_policy
      )
      keys = jax.random.split(key_step, num_games)
      states, step = step_all(states, action, keys)
      frame = step.frame
      reward, fresh = jax.device_get((step.reward, step.over))
      returns += np.where(playing, reward, 0)
      lengths += playing
      playing = playing & ~fresh
    stored = np.asarray(frames, game.frame_dtype)
    return Result(
      returns, lengths, stored.reshape(len(frames), *game.frame_shape)
    )

  return play


def _policy(config):
  """Returns the compiled function that takes in frames and chooses actions."""
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
