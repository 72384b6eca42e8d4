"""Speed of the environments: steps per CPU-second, auto-reset included.

  python -m benchmarks.environments [--envs=RepeatFirstHard,...] [--wrapped]

Plays random actions in one jitted scan. Each number is the best of a few
runs; CPU time is that of the whole process, so threads are paid for. Rows
named "shuffled" are the same games in the usual formulation, for comparison:
gymnax's own `step`, which splits its key and resets at every step, with a
reset that shuffles the deck.
"""

import dataclasses
import functools
import time
from typing import Any

from absl import app
from absl import flags
from flax import struct
from gymnax.environments import environment
from gymnax.environments import spaces
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl import envs
from jaxseq.rl import wrappers

_ENVS = flags.DEFINE_list(
  "envs", None, "Ids of the environments; all of the package by default."
)
_BATCHES = flags.DEFINE_list(
  "batches", ["1", "16", "128", "1024"], "Numbers of environments."
)
_WRAPPED = flags.DEFINE_bool(
  "wrapped", False, "Adds the wrappers that policies are trained with."
)
_SECONDS = flags.DEFINE_float("seconds", 0.3, "Aimed-at time of a run.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Runs; the best one counts.")


@struct.dataclass
class _ShuffledState(environment.EnvState):
  time: jax.Array
  cards: jax.Array


@dataclasses.dataclass(frozen=True)
class _Shuffled(environment.Environment):
  """RepeatPrevious, or RepeatFirst if `k` is 0, with the deck in the state."""

  num_decks: int
  k: int

  @property
  def default_params(self):
    return environment.EnvParams(max_steps_in_episode=52 * self.num_decks)

  def reset_env(self, key, params):
    del params
    cards = jnp.repeat(jnp.arange(4), 13 * self.num_decks)
    cards = jax.random.permutation(key, cards)
    return cards[0], _ShuffledState(time=jnp.int32(0), cards=cards)

  def step_env(self, key, state, action, params):
    del key, params
    num_cards = 52 * self.num_decks
    asked = state.time - self.k + 1 if self.k else 0
    scale = 1 / (num_cards - max(self.k, 1))
    right = action == state.cards[asked]
    reward = jnp.where(right, scale, -scale) * (asked >= 0)
    state = state.replace(time=state.time + 1)
    done = state.time >= num_cards - 1
    return state.cards[state.time], state, reward, done, {}

  def action_space(self, params=None):
    del params
    return spaces.Discrete(4)

  def observation_space(self, params=None):
    del params
    return spaces.Discrete(4)


_SHUFFLED = {
  "RepeatPreviousEasy": _Shuffled(num_decks=1, k=4),
  "RepeatFirstHard": _Shuffled(num_decks=16, k=0),
}


@functools.partial(jax.jit, static_argnums=(0, 4))
def _play(
  env: Any, params: Any, state: Any, key: jax.Array, num_steps: int
) -> tuple[Any, jax.Array]:
  """Plays on from a batch of states; every output is consumed."""
  batch = jax.tree.leaves(state)[0].shape[0]
  sample = jax.vmap(env.action_space(params).sample)
  step = jax.vmap(env.step, in_axes=(0, 0, 0, None))

  def body(carry, key):
    state, total = carry
    key_action, key_step = jax.random.split(key)
    action = sample(jax.random.split(key_action, batch))
    observation, state, reward, terminated, truncated, info = step(
      jax.random.split(key_step, batch), state, action, params
    )
    outputs = (observation, reward, terminated, truncated, info)
    total += sum(
      leaf.sum(dtype=jnp.float32) for leaf in jax.tree.leaves(outputs)
    )
    return (state, total), None

  carry = (state, jnp.float32(0))
  return jax.lax.scan(body, carry, jax.random.split(key, num_steps))[0]


def steps_per_cpu_second(
  env: Any, params: Any, batch: int, seconds: float, repeats: int
) -> float:
  """Returns how many environment steps a second of CPU time gives.

  Args:
    env: the environment.
    params: its parameters.
    batch: number of environments played side by side.
    seconds: about how long a run should take.
    repeats: number of runs, of which the fastest counts.
  """
  key = jax.random.key(0)
  reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
  _, state = reset(jax.random.split(key, batch), params)

  def run(num_steps):
    start = time.process_time()
    jax.block_until_ready(_play(env, params, state, key, num_steps))
    return time.process_time() - start

  run(16)
  # A first estimate, from a run that is already compiled.
  num_steps = max(16, int(16 * seconds / max(run(16), 1e-5)))
  run(num_steps)
  return num_steps * batch / min(run(num_steps) for _ in range(repeats))


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  names = _ENVS.value or list(envs.names())
  batches = [int(batch) for batch in _BATCHES.value]
  rows = [(name, *envs.make(name)) for name in names]
  rows += [
    (f"shuffled {name}", env, env.default_params)
    for name, env in _SHUFFLED.items()
    if name in names
  ]
  width = max(len(name) for name, _, _ in rows)
  print(f"millions of steps per CPU-second; jax {jax.__version__}")
  print(" " * width + "".join(f"{f'N={batch}':>10}" for batch in batches))
  for name, env, params in rows:
    if _WRAPPED.value:
      env = wrappers.EpisodeStatistics(wrappers.FlattenHistory(env))
    speeds = [
      steps_per_cpu_second(env, params, batch, _SECONDS.value, _REPEATS.value)
      for batch in batches
    ]
    millions = np.array(speeds) / 1e6
    print(f"{name:<{width}}" + "".join(f"{m:>10.3f}" for m in millions))


if __name__ == "__main__":
  app.run(main)
