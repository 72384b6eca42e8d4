import functools
import subprocess
import sys

import gymnax
import jax
import jax.numpy as jnp
import pytest

from jaxseq.rl import envs
from jaxseq.rl import rollout
from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import card_games


@pytest.mark.parametrize("env_id", envs.POPGYM)
def test_gymnax_is_told_of_every_environment(env_id):
  envs.register_with_gymnax()
  env, params = envs.make(env_id)
  told, told_params = gymnax.make(env_id)
  assert (told.env, told_params) == (env, params)
  assert told == gymnax.make(env_id)[0]
  assert hash(told) == hash(gymnax.make(env_id)[0])


def test_the_alias_is_the_same_environment():
  for difficulty in ("Easy", "Medium", "Hard"):
    alias = envs.make(f"StatelessCartPole{difficulty}")
    assert alias == envs.make(f"PositionOnlyCartPole{difficulty}")


def test_environments_differ_between_difficulties():
  made = {envs.make(env_id)[0] for env_id in envs.POPGYM}
  # The alias adds none.
  assert len(made) == len(envs.POPGYM) - 3


def test_ids_of_gymnax_pass_through():
  env, params = envs.make("MemoryChain-bsuite", num_bits=3)
  assert env.name == "MemoryChain-bsuite"
  assert params.memory_length == 5
  assert env.observation_space(params).shape == (5,)


def test_options_replace_those_of_the_id():
  env, params = envs.make("RepeatPreviousHard", num_decks=1, k=2)
  assert env == envs.make("RepeatPreviousEasy", k=2)[0]
  assert params.max_steps_in_episode == 52


@pytest.mark.parametrize("env_id", ["", "Nothing", None])
def test_an_unknown_id_is_refused(env_id):
  with pytest.raises(ValueError, match="env_id: got .*RepeatPreviousEasy, "):
    envs.make(env_id)


def test_a_near_match_is_named():
  message = r"did you mean RepeatFirstEasy\? envs.names\(\) .{,50}$"
  with pytest.raises(ValueError, match=message):
    envs.make("repeatFirst-Easy")


def test_an_unknown_library_is_refused():
  with pytest.raises(ValueError, match="library: got 'braxx'.* mean brax") as e:
    envs.make("braxx/ant")
  assert "'view'" not in str(e.value)


@pytest.mark.parametrize(
  ("env_id", "option", "takes"),
  [
    ("RepeatFirstEasy", "speed", "'num_decks'"),
    ("SimpleBandit-bsuite", "speed", "'num_actions'"),
    ("CartPole-v1", "speed", "none"),
    ("Trials", "env", "'game'"),
    ("Trials", "env_id", "'game'"),
  ],
)
def test_an_unknown_option_is_refused(env_id, option, takes):
  message = f"options: {env_id} does not take .'{option}'., but .?{takes}.?\\.$"
  with pytest.raises(ValueError, match=message):
    envs.make(env_id, **{option: 2})


@pytest.mark.parametrize(
  ("env_id", "options", "name"),
  [
    ("RepeatPreviousEasy", {"k": 0}, "k"),
    ("RepeatPreviousEasy", {"k": 52}, "k"),
    ("RepeatFirstEasy", {"num_decks": 0}, "num_decks"),
    ("RepeatFirstEasy", {"num_decks": 1001}, "num_decks"),
    ("CountRecallEasy", {"card_types": 3}, "card_types"),
    ("ConcentrationEasy", {"card_types": 4}, "card_types"),
    ("PositionOnlyCartPoleEasy", {"max_steps": 0}, "max_steps"),
    ("PositionOnlyCartPoleEasy", {"max_start": 0.3}, "max_start"),
  ],
)
def test_an_option_out_of_range_is_refused(env_id, options, name):
  with pytest.raises(ValueError, match=f"^{name}: got .* expected"):
    envs.make(env_id, **options)


@pytest.mark.slow
def test_ids_that_gymnax_knows_are_left_alone():
  program = """
import gymnax
taken = lambda **options: gymnax.make("CartPole-v1")[0]
gymnax.register("RepeatFirstEasy", taken)
before = list(gymnax.registered_envs)
from jaxseq.rl import envs
assert gymnax.registered_envs == before
for _ in range(2):
  envs.register_with_gymnax()
assert len(set(gymnax.registered_envs)) == len(gymnax.registered_envs)
assert {*envs.names(), "ProjectedControl"} <= set(gymnax.registered_envs)
assert gymnax.make("RepeatFirstEasy")[0].name == "CartPole-v1"
assert envs.make("RepeatFirstEasy")[0].name == "RepeatFirst"
"""
  subprocess.run([sys.executable, "-c", program], check=True)


def test_environments_of_ones_own():
  for num_decks in (2, 1):
    make = functools.partial(card_games.RepeatFirst, num_decks=num_decks)
    envs.register("MyGame", make)
    assert envs.make("MyGame")[0] == make()
  assert envs.make("MyGame", num_decks=3)[0].num_decks == 3
  for taken in ("RepeatFirstEasy", "ProjectedControl"):
    with pytest.raises(ValueError, match=f"env_id: got '{taken}', expected"):
      envs.register(taken, make)


def test_what_takes_a_place_is_played_from_then_on():
  @functools.partial(jax.jit, static_argnums=0)
  def count_actions(env_id):
    env, params = rollout.environment(env_id)
    return jnp.array(env.action_space(params).n)

  for num_arms in (2, 3):
    make = functools.partial(bandit.MultiarmedBandit, num_arms=num_arms)
    envs.register("MyBandit", make)
    options = (("game", "MyBandit"),)
    inside, params = rollout.environment("Trials", options)
    assert count_actions("MyBandit") == num_arms
    assert inside.action_space(params).n == num_arms


def test_equal_environments_share_one_compilation():
  traces = []

  def reset(env, key, params):
    traces.append(env)
    return env.reset(key, params)

  reset = jax.jit(reset, static_argnums=0)
  for _ in range(3):
    env, params = envs.make("RepeatPreviousEasy")
    reset(env, jax.random.key(0), params)
  assert len(traces) == 1
