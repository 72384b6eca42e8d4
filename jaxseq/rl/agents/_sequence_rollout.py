"""Rollouts of overlapping sequences, for a replay of recurrent experience.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019, section 3: a sequence is stored with the memory state
before it, and with preceding steps that update this state to later parameters
(burn-in).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl import rollout
from jaxseq.types import PyTree

Array = jax.Array


class Tail(NamedTuple):
  """The last steps before a sequence; leading axis num_envs."""

  memory: PyTree  # before these steps; () if there are none
  observation: PyTree  # (num_envs, burn_in, d), or as in `rollout.World`
  reset: Array  # (num_envs, burn_in) bool


class Sequence(NamedTuple):
  """A stored sequence; leading axis num_envs, or as the caller stacks them.

  Observations are those of the burn-in, those acted on, and the one after the
  last step; `reset` holds the reset flags that the network saw with them. At a
  `cut` step the observation was the last of a truncated episode, and no action
  was taken.
  """

  memory: PyTree  # before the first observation; of SAC by network, or ()
  observation: PyTree  # (..., burn_in + time + 1, d), or as in the tail
  reset: Array  # (..., burn_in + time + 1) bool
  action: Array  # (..., time, *action), as sampled by the policy
  reward: Array  # (..., time) float32
  terminated: Array  # (..., time) bool
  cut: Array  # (..., time) bool


def start(world: rollout.World, burn_in: int) -> tuple[rollout.World, Tail]:
  """Returns the world and the steps before it, to play the first sequence.

  The steps before are all zeros; the first observation is marked as a reset, so
  they have no effect.
  """
  num_envs = len(world.reset)

  def blank(x):
    return jnp.zeros((num_envs, burn_in, *x.shape[1:]), x.dtype)

  tail = Tail(
    memory=world.memory if burn_in else (),
    observation=jax.tree.map(blank, world.observation),
    reset=jnp.zeros((num_envs, burn_in), bool),
  )
  return world._replace(reset=jnp.ones_like(world.reset)), tail


def play(player, variables, world, tail, key, length):
  """Plays a sequence in every environment; its length is a multiple of burn-in.

  At a `truncated` step the observation acted on must be the last of an
  episode, as in `_last_observation.LastObservation`. The transitions, returned
  beside the sequences, have axes (num_envs, length).
  """
  burn_in = tail.reset.shape[1]
  piece = burn_in or length

  def play_piece(world, key):
    after, taken = rollout.collect(player, variables, world, key, piece)
    return after, (world.memory, taken)

  after, (memories, taken) = jax.lax.scan(
    play_piece, world, jax.random.split(key, length // piece)
  )
  # (chunks, steps, num_envs) to (num_envs, time).
  taken = jax.tree.map(
    lambda x: jnp.swapaxes(x.reshape(length, *x.shape[2:]), 0, 1), taken
  )
  observation, reset = jax.tree.map(
    lambda *x: jnp.concatenate([*x[:2], x[2][:, None]], axis=1),
    (tail.observation, tail.reset),
    (taken.observation, taken.reset),
    (after.observation, after.reset),
  )
  memory = tail.memory if burn_in else world.memory
  done = taken.action, taken.reward, taken.terminated, taken.truncated
  sequence = Sequence(memory, observation, reset, *done)
  tail = Tail(
    memory=jax.tree.map(lambda x: x[-1], memories) if burn_in else (),
    observation=jax.tree.map(lambda x: x[:, length:-1], observation),
    reset=reset[:, length:-1],
  )
  return after, tail, sequence, taken
