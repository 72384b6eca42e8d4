"""Environments of libraries that are installed, and words about others."""

import dataclasses
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import _described_spaces
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import registry
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams
from tests.rl import toy

# Of what the libraries import, some says that it is out of date.
pytestmark = pytest.mark.filterwarnings(
  "ignore::DeprecationWarning", "ignore:Brax System:UserWarning"
)

# Of each library, an id, options, and the flat size of observations.
_CASES = [
  ("brax/inverted_pendulum", {"episode_length": 5}, 4),
  ("brax/inverted_pendulum", {"episode_length": 5, "backend": "spring"}, 4),
  ("craftax/Craftax-Classic-Symbolic-v1", {}, 1345),
  ("xminigrid/MiniGrid-EmptyRandom-5x5", {"max_steps": 5}, 1225),
  ("navix/Navix-Empty-5x5-v0", {"max_steps": 5}, None),
  ("popgym_arcade/CartPoleEasy", {"partial_obs": True}, None),
  ("jaxmarl/MPE_simple_spread_v3", {"agent": "agent_1"}, 18),
  ("jaxmarl/MPE_simple_spread_v3", {}, 54),
]


@pytest.fixture(params=_CASES, ids=lambda case: str(case[0]))
def case(request):
  env_id, options, size = request.param
  library = env_id.split("/")[0]
  if importlib.util.find_spec(library) is None:
    pytest.skip(f"{library} is not installed")
  return env_id, options, size


def test_it_is_an_environment(case):
  env_id, options, size = case
  env, params = envs.make(env_id, **options)
  assert envs.make(env_id, **options)[0] is env
  hash(env)
  params = params.replace(max_steps_in_episode=4)
  observed, decided = env.observation_space(params), env.action_space(params)
  if size is not None:
    assert spaces.flat_size(observed) == size

  @jax.jit
  def play(key):
    key, key_start = jax.random.split(key)
    first, state = env.reset(key_start, params)

    def step(state, key):
      key_action, key_step = jax.random.split(key)
      action = decided.sample(key_action)
      shown, state, *rest, info = env.step(key_step, state, action, params)
      inside = observed.contains(shown)
      return state, (shown, *rest, info["final_observation"], inside)

    return first, jax.lax.scan(step, state, jax.random.split(key, 9))[1]

  first, played = jax.vmap(play)(jax.random.split(jax.random.key(0), 2))
  shown, reward, terminated, truncated, final, inside = played
  for tree in (shown, final):
    jax.tree.map(
      lambda x, like: np.testing.assert_equal(x.shape[2:], like.shape[1:]),
      tree,
      first,
    )
  assert inside.all()
  assert reward.dtype == jnp.float32
  assert np.isfinite(reward).all()
  done = np.asarray(terminated | truncated)
  # Cut after four steps, if not over before.
  assert done[:, :4].any(axis=1).all()
  same = [
    (np.asarray(a) == np.asarray(b)).reshape(*done.shape, -1).all(axis=-1)
    for a, b in zip(jax.tree.leaves(shown), jax.tree.leaves(final))
  ]
  assert np.all(same, axis=0)[~done].all()


@pytest.mark.slow
def test_ppo_plays_it(case):
  env_id, options, _ = case
  config = ppo.Config(
    env_id=env_id,
    env_options=tuple(options.items()),
    network=toy.network(num_layers=0),
    num_envs=2,
    rollout_length=4,
    num_minibatches=1,
    num_epochs=1,
    total_steps=16,
  )
  runner = ppo.init(config, jax.random.key(0))
  _, metrics = ppo.train(config, runner, 2)
  assert np.isfinite(metrics["loss"]).all()


@pytest.mark.parametrize("library", ["brax", "craftax", "jaxmarl", "navix"])
def test_what_is_not_installed_gets_one_sentence(library, monkeypatch):
  monkeypatch.setitem(sys.modules, library, None)
  make = registry.LIBRARIES[library]
  with pytest.raises(ModuleNotFoundError, match=f"pip install .*{library}"):
    make.__wrapped__("some-name")


class _Team:
  """An environment with JaxMARL's interface, whose states count in `time`."""

  name, agents, max_steps = "Team", ["one", "other"], 3

  def observation_space(self, agent):
    return spaces.Box(0.0, 9.0, (1,))

  def action_space(self, agent):
    return spaces.Discrete(2)

  def reset(self, key):
    return self._seen(jnp.float32(0)), {"time": jnp.int32(0)}

  def step_env(self, key, state, actions):
    state = {"time": state["time"] + 1}
    rewards = {agent: jnp.float32(1) for agent in self.agents}
    # The first action ends the game, and so does the time limit.
    over = (actions["one"] == 0) | (state["time"] >= self.max_steps)
    dones = dict.fromkeys([*self.agents, "__all__"], over)
    return self._seen(jnp.float32(state["time"])), state, rewards, dones, {}

  def _seen(self, time):
    return dict.fromkeys(self.agents, time[None])


def test_a_time_limit_of_a_team_is_no_end(monkeypatch):
  jaxmarl = types.SimpleNamespace(make=lambda name: _Team())
  monkeypatch.setitem(sys.modules, "jaxmarl", jaxmarl)
  env = registry.LIBRARIES["jaxmarl"].__wrapped__("Team")
  _, state = env.reset(jax.random.key(0))
  ends = []
  for first in (1, 1, 1, 1, 0):
    _, state, _, terminated, truncated, _ = env.step(
      jax.random.key(0), state, jnp.array([first, 1])
    )
    ends.append((bool(terminated), bool(truncated)))
  going, cut, over = (False, False), (False, True), (True, False)
  assert ends == [going, going, cut, going, over]


class _Mortal(_Team):
  """A team whose second agent is out of the game after a step."""

  def get_avail_actions(self, state):
    raise NotImplementedError

  def step_env(self, key, state, actions):
    *played, rewards, dones, info = super().step_env(key, state, actions)
    rewards["other"] = jnp.float32(3)
    return *played, rewards, dones | {"other": jnp.bool_(True)}, info

  def _seen(self, time):
    return super()._seen(time) | {"world_state": jnp.stack([time, 7.0])}


class _Masked(_Mortal):
  def get_avail_actions(self, state):
    return {"one": jnp.array([0, 1]), "other": jnp.array([1, 1])}


@pytest.mark.parametrize("masked", [False, True])
def test_each_agent_of_a_team_is_a_player(masked, monkeypatch):
  game = _Masked if masked else _Mortal
  jaxmarl = types.SimpleNamespace(make=lambda name: game())
  monkeypatch.setitem(sys.modules, "jaxmarl", jaxmarl)
  make = registry.LIBRARIES["jaxmarl"].__wrapped__
  env = make("Team", players="team")
  shared = make("Team", players="team", team_reward=True)
  assert env.num_agents == 2
  seen, state = env.reset(jax.random.key(0))
  np.testing.assert_array_equal(seen.own["agent"], [0, 1])
  np.testing.assert_array_equal(seen.state, [0, 7])
  allowed = [[0, 1], [1, 1]] if masked else [[1, 1], [1, 1]]
  np.testing.assert_array_equal(seen.own["action_mask"], allowed)
  ends = []
  for first in (1, 1, 1, 0):
    _, _, mean, *_ = shared.step(jax.random.key(0), state, jnp.array([1, 1]))
    np.testing.assert_array_equal(mean, [2, 2])
    seen, state, reward, terminated, truncated, info = env.step(
      jax.random.key(0), state, jnp.array([first, 1])
    )
    np.testing.assert_array_equal(reward, [1, 3])
    ends.append((bool(terminated), bool(truncated)))
    # An agent that is out has one action left; a new episode has it back.
    last = info["final_observation"].own["action_mask"]
    out = allowed if masked else [[1, int(not terminated)], [1, 0]]
    np.testing.assert_array_equal(last, out)
    over = terminated or truncated
    now = seen.own["action_mask"]
    np.testing.assert_array_equal(now, allowed if over else out)
  assert ends == [(False, False), (False, False), (False, True), (True, False)]


def test_agents_that_differ_are_no_team(monkeypatch):
  class Differ(_Team):
    def action_space(self, agent):
      return spaces.Discrete(2 if agent == "one" else 3)

  jaxmarl = types.SimpleNamespace(make=lambda name: Differ())
  monkeypatch.setitem(sys.modules, "jaxmarl", jaxmarl)
  make = registry.LIBRARIES["jaxmarl"].__wrapped__
  with pytest.raises(ValueError, match="'team' where actions differ"):
    make("Team", players="team")
  with pytest.raises(ValueError, match="agent: .* all agents of a team play"):
    make("Team", players="team", agent="one")


@pytest.mark.parametrize(
  ("env_id", "options", "size"),
  [
    ("jaxmarl/MPE_simple_spread_v3", {}, 3),
    ("jaxmarl/HeuristicEnemySMAX", {"scenario": "3m"}, 3),
  ],
)
def test_teams_of_jaxmarl(env_id, options, size):
  pytest.importorskip("jaxmarl")
  env, params = envs.make(env_id, players="team", **options)
  assert env.num_agents == size
  _described_spaces.check(env_id, teams.FirstAgent(env), params)


def test_spaces_of_other_libraries():
  class Discrete:
    n = np.int64(3)

  class MultiDiscrete:
    num_categories = jnp.array([2, 4])

  class Box:
    low, high, shape, dtype = -np.inf, np.float64(1.8e308), (2,), "float64"

  class Graph:
    pass

  assert foreign.convert(Discrete()).n == 3
  assert foreign.convert(MultiDiscrete()).sizes == (2, 4)
  box = foreign.convert(Box())
  assert (box.shape, box.dtype) == ((2,), np.float32)
  assert bool(box.contains(jnp.full(2, 1e30)))
  with pytest.raises(ValueError, match="space: got .*MultiBinary"):
    foreign.convert(Graph())


def test_a_reset_s_keys_are_not_that_of_the_step():
  """They show the words that a step and, of the second key, a reset gets."""
  env = foreign.Foreign(
    "Words",
    spaces.Box(0, 2**32, (2,)),
    spaces.Discrete(2),
    5,
    lambda key: (jax.random.key_data(jax.random.split(key)[1]), ()),
    lambda key, *_: foreign.Played(
      jax.random.key_data(key), (), jnp.float32(0), jnp.bool_(True)
    ),
  )
  _, state = env.reset(jax.random.key(0))
  first, _, _, terminated, _, info = env.step(
    jax.random.key(1), state, jnp.int32(0)
  )
  assert terminated
  assert (first != info["final_observation"]).any()


def test_an_environment_of_two_functions():
  env = foreign.Foreign(
    "Counts",
    spaces.Box(0.0, 9.0, (1,)),
    spaces.Discrete(2),
    3,
    lambda key: (jnp.zeros(1), jnp.float32(0)),
    lambda key, state, action: foreign.Played(
      (state + action)[None], state + action, state, state >= 5
    ),
  )
  assert (env.name, env.default_params.max_steps_in_episode) == ("Counts", 3)
  assert hash(env) != hash(dataclasses.replace(env))
  _, state = env.reset(jax.random.key(0))
  shown = []
  for _ in range(3):
    first, state, _, terminated, truncated, info = env.step(
      jax.random.key(0), state, jnp.int32(1)
    )
    shown.append(float(info["final_observation"][0]))
  assert shown == [1, 2, 3]
  assert truncated
  assert not terminated
  assert first == 0
