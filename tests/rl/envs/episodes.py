"""Episodes of players that are functions, for the tests of what they earn."""

import jax
import jax.numpy as jnp


def play(env, first, state, memory, act, steps):
  """Plays one episode that has begun.

  `steps` are keys and what else comes with each step. `act` maps memory,
  observation, state, that, and a key to the memory and an action.

  Returns what is earned, the length, and whether the episode has terminated
  and been truncated.
  """

  def body(carry, step):
    memory, observation, state, alive = carry
    key, *rest = step
    key_action, key_step = jax.random.split(key)
    memory, action = act(memory, observation, state, *rest, key_action)
    observation, state, reward, terminated, truncated, _ = env.step(
      key_step, state, action
    )
    earned = jnp.where(alive, reward, 0)
    ends = alive & terminated, alive & truncated
    after = memory, observation, state, alive & ~(terminated | truncated)
    return after, (earned, alive, *ends)

  carry = (memory, first, state, jnp.bool_(True))
  _, (rewards, alive, *ends) = jax.lax.scan(body, carry, steps)
  return rewards.sum(), alive.sum(), *(end.any() for end in ends)
