r"""Speed of the environments: steps per CPU-second, auto-reset included.

  python -m benchmarks.environments [--envs=RepeatFirstHard,...] [--wrapped]
  python -m benchmarks.environments --envs=brax/inverted_pendulum \
    --options=backend=spring --batches=16,64,256

Plays random actions in one jitted scan. Each number is the best of a few
runs; CPU time is that of the whole process, so threads are paid for. Rows
named "shuffled" are the card games in the usual formulation, for comparison:
gymnax's own `step`, which splits its key and resets at every step, with a
reset that shuffles the deck. `--games=cards` plays the card games alone, and
`--original` the games of the package popgym, too, one environment of each in a
loop of Python; it needs the environment of `make test-popgym`.
"""

import dataclasses
import functools
import time
from typing import Any

from absl import app
from absl import flags
from gymnax.environments import environment
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl import envs
from jaxseq.rl import wrappers
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import card_games

_ENVS = flags.DEFINE_list(
  "envs", None, "Ids of the environments; all of the package by default."
)
_BATCHES = flags.DEFINE_list(
  "batches", ["1", "16", "128", "1024"], "Numbers of environments."
)
_OPTIONS = flags.DEFINE_list(
  "options", [], "NAME=VALUE, words that the environments of --envs take."
)
_WRAPPED = flags.DEFINE_bool(
  "wrapped", False, "Adds the wrappers that policies are trained with."
)
_GAMES = flags.DEFINE_enum(
  "games", "all", ["all", "cards"], "Which environments, without --envs."
)
_ORIGINAL = flags.DEFINE_bool("original", False, "Adds the original games.")
_SECONDS = flags.DEFINE_float("seconds", 0.3, "Aimed-at time of a run.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Runs; the best one counts.")


@dataclasses.dataclass(frozen=True)
class _Shuffled(environment.Environment):
  """A card game whose deck is shuffled at every reset, and a reset a step."""

  game: card_game.CardGame

  @property
  def default_params(self):
    return self.game.default_params

  def reset_env(self, key, params):
    del params
    types = self.game.card_types
    cards = jnp.repeat(jnp.arange(types), self.game.num_cards // types)
    if isinstance(self.game, card_games.CountRecall):
      # It deals from two decks.
      cards = jnp.stack([cards, cards])
    cards = jax.random.permutation(key, cards, axis=-1, independent=True)
    return self.game.reset_with_deck(cards)

  def step_env(self, key, state, action, params):
    del key
    # What a deck in a known order takes no notice of.
    words = jnp.zeros((self.game.step_words,), jnp.uint32)
    state, reward = self.game.advance(words, state, action, params)
    seen = self.game.observe(state, params)
    return seen, state, reward, self.game.is_terminated(state, params), {}

  def action_space(self, params=None):
    return self.game.action_space(params)

  def observation_space(self, params=None):
    return self.game.observation_space(params)


def _original_steps_per_cpu_second(name: str, seconds: float) -> float:
  """Speed of the original game, one environment in a loop of Python."""
  from popgym import envs as original_envs  # an optional comparison

  env = getattr(original_envs, name)()
  env.reset(seed=0)
  actions = [env.action_space.sample() for _ in range(256)]
  num_steps, start = 0, time.process_time()
  while (spent := time.process_time() - start) < seconds:
    for action in actions:
      *_, terminated, truncated, _ = env.step(action)
      if terminated or truncated:
        env.reset()
    num_steps += len(actions)
  return num_steps / spent


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
  names = _ENVS.value or list(envs.POPGYM)
  batches = [int(batch) for batch in _BATCHES.value]
  options = dict(option.split("=", 1) for option in _OPTIONS.value)
  made = {name: envs.make(name, **options) for name in names}
  if _GAMES.value == "cards" and not _ENVS.value:
    made = {
      name: (env, params)
      for name, (env, params) in made.items()
      if isinstance(env, card_game.CardGame)
    }
  width = max(map(len, made)) + len("shuffled ")
  print(f"millions of steps per CPU-second; jax {jax.__version__}")
  print(" " * width + "".join(f"{f'N={batch}':>10}" for batch in batches))
  for name, (env, params) in made.items():
    rows = [(name, env, params)]
    if isinstance(env, card_game.CardGame):
      rows.append((f"shuffled {name}", _Shuffled(env), params))
    for title, env, params in rows:
      if _WRAPPED.value:
        env = wrappers.EpisodeStatistics(wrappers.FlattenHistory(env))
      speeds = [
        steps_per_cpu_second(env, params, batch, _SECONDS.value, _REPEATS.value)
        for batch in batches
      ]
      millions = np.array(speeds) / 1e6
      print(
        f"{title:<{width}}" + "".join(f"{m:>10.3f}" for m in millions),
        flush=True,
      )
    if _ORIGINAL.value:
      speed = _original_steps_per_cpu_second(name, _SECONDS.value) / 1e6
      print(f"{f'original {name}':<{width}}{speed:>10.3f}", flush=True)


if __name__ == "__main__":
  app.run(main)
