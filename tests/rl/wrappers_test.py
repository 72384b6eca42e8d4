import copy
import dataclasses
import functools
import pickle
from typing import Any

from flax import struct
import gymnax
from gymnax.environments import spaces as gymnax_spaces
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl import wrappers
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from tests.rl import toy

_POPGYM = {"previous_action": "first", "first_step": "one_hot"}


@struct.dataclass
class _PlaybackState:
  time: jax.Array


@struct.dataclass
class _PlaybackParams:
  observations: Any
  max_steps_in_episode: int


@dataclasses.dataclass(frozen=True)
class _Playback(base.Environment):
  """Shows given observations one after the other, whatever is done.

  Terminates when they are all shown.
  """

  observed: Any
  acted: Any
  length: int

  def start(self, words, params):
    return _PlaybackState(jnp.int32(0))

  def advance(self, words, state, action, params):
    state = _PlaybackState(state.time + 1)
    return state, jnp.float32(state.time)

  def observe(self, state, params):
    return jax.tree.map(lambda leaf: leaf[state.time], params.observations)

  def is_terminated(self, state, params):
    return state.time >= self.length

  def action_space(self, params=None):
    return self.acted

  def observation_space(self, params=None):
    return self.observed


def _discrete(*sizes):
  return gymnax_spaces.Tuple(tuple(map(gymnax_spaces.Discrete, sizes)))


# Spaces of the games in the golden file: observation, action.
_GAMES = {
  "RepeatPreviousEasy": (gymnax_spaces.Discrete(4), gymnax_spaces.Discrete(4)),
  "AutoencodeEasy": (_discrete(2, 4), gymnax_spaces.Discrete(4)),
  "MineSweeperEasy": (
    gymnax_spaces.Discrete(3),
    spaces.MultiDiscrete((4, 4)),
  ),
  "BattleshipEasy": (gymnax_spaces.Discrete(2), _discrete(8, 8)),
  "MultiarmedBanditEasy": (
    gymnax_spaces.Discrete(2),
    gymnax_spaces.Discrete(10),
  ),
  "CountRecallEasy": (
    spaces.MultiDiscrete((2, 2)),
    gymnax_spaces.Discrete(27),
  ),
  "PositionOnlyPendulumEasy": (
    gymnax_spaces.Box(-1.0, 1.0, (2,)),
    gymnax_spaces.Box(-2.0, 2.0, (1,)),
  ),
  "PositionOnlyCartPoleEasy": (
    gymnax_spaces.Box(-5.0, 5.0, (2,)),
    gymnax_spaces.Discrete(2),
  ),
  "HigherLowerEasy": (gymnax_spaces.Discrete(13), gymnax_spaces.Discrete(2)),
}


def _unflatten(space, flat):
  """The elements that (time, size) one-hots stand for."""
  space = spaces.convert(space)
  if isinstance(space, spaces.Box):
    return flat.reshape(-1, *space.shape).astype(np.float32)
  if isinstance(space, spaces.Discrete):
    return flat.argmax(axis=-1).astype(np.int32)
  ends = np.cumsum([part.n for part in space.spaces])[:-1]
  parts = [
    _unflatten(part, columns)
    for part, columns in zip(space.spaces, np.split(flat, ends, axis=-1))
  ]
  if isinstance(space, spaces.MultiDiscrete):
    return np.stack(parts, axis=-1)
  return tuple(parts)


@pytest.mark.parametrize("game", list(_GAMES))
def test_golden(golden, game):
  arrays = golden("icrl/popgym_wrapped_obs")
  expected, actions = arrays[f"{game}/flat_obs"], arrays[f"{game}/actions"]
  observed, acted = _GAMES[game]
  size = spaces.flat_size(observed)
  params = _PlaybackParams(
    observations=_unflatten(observed, expected[:, :size]),
    max_steps_in_episode=100,
  )
  env = _Playback(observed, acted, length=len(actions))
  env = wrappers.FlattenHistory(env, **_POPGYM)
  assert env.observation_space(params).shape == expected.shape[1:]
  first, state = env.reset(jax.random.key(0), params)
  seen = [first]
  for action in actions:
    # A plain Tuple takes a tuple.
    if type(acted) is gymnax_spaces.Tuple:
      action = tuple(action)
    _, state, *_, info = env.step(jax.random.key(0), state, action, params)
    seen.append(info["final_observation"])
  np.testing.assert_array_equal(np.stack(seen), expected.astype(np.float32))


def test_golden_of_a_real_game(golden):
  arrays = golden("icrl/popgym_wrapped_obs")
  expected = arrays["RepeatPreviousEasy/flat_obs"]
  cards = np.zeros(52, np.int32)
  cards[: len(expected)] = expected[:, :4].argmax(axis=-1)
  game, params = envs.make("RepeatPreviousEasy")
  env = wrappers.FlattenHistory(game, **_POPGYM)
  _, state = game.reset_with_deck(cards)
  for t, action in enumerate(arrays["RepeatPreviousEasy/actions"]):
    seen, state, *_ = env.step(jax.random.key(0), state, action, params)
    np.testing.assert_array_equal(seen, expected[t + 1])


@functools.partial(jax.jit, static_argnums=(0, 3))
def _play_many(env, params, keys, num_steps):
  return jax.vmap(lambda key: toy.play(env, params, key, num_steps))(keys)


_PLAYED = [
  # Terminates; truncated; both within a run; another package's; continuous.
  ("RepeatPreviousEasy", {}, 4, 160),
  ("PositionOnlyCartPoleEasy", {"max_steps_in_episode": 5}, 2, 40),
  ("PositionOnlyCartPoleEasy", {"max_steps_in_episode": 12}, 2, 120),
  ("MemoryChain-bsuite", {}, 3, 40),
  ("Pendulum-v1", {"max_steps_in_episode": 9}, 3, 40),
]


@pytest.mark.parametrize(
  ("env_id", "changes", "size", "steps", "options"),
  [
    (*_PLAYED[-1], {}),
    (*_PLAYED[0], _POPGYM),
    *(
      pytest.param(*values, marks=pytest.mark.slow)
      for values in (
        (*_PLAYED[2], {"first_step": "one_hot"}),
        *((*played, {}) for played in _PLAYED[:-1]),
        (*_PLAYED[-1], _POPGYM),
      )
    ),
  ],
)
def test_history_at_episode_boundaries(env_id, changes, size, steps, options):
  plain, params = envs.make(env_id)
  params = params.replace(**changes)
  env = wrappers.FlattenHistory(plain, **options)
  # The same keys play the same episodes without the wrapper.
  keys = jax.random.split(jax.random.key(0), 3)
  first, _, actions, stepped = _play_many(env, params, keys, steps)
  bare_first, _, bare_actions, bare = _play_many(plain, params, keys, steps)
  np.testing.assert_array_equal(actions, bare_actions)
  done = np.asarray(stepped[3] | stepped[4])
  assert (done.sum(axis=1) >= 3).all()

  def flatten(space, elements, depth):
    function = lambda element: spaces.flatten(space, element)  # noqa: E731
    for _ in range(depth):
      function = jax.vmap(function)
    return np.asarray(jax.jit(function)(elements))

  observed, acted = plain.observation_space(params), plain.action_space(params)
  flat_actions = flatten(acted, actions, 2)
  no_action = np.zeros_like(flat_actions[0, 0])
  if options.get("previous_action") == "first" and env_id != "Pendulum-v1":
    no_action[0] = 1
  fresh, old = ([0, 1], [1, 0]) if "first_step" in options else ([1], [0])

  def expect(actual, flat, action, flag):
    action = np.broadcast_to(action, (*flat.shape[:-1], action.shape[-1]))
    flag = np.broadcast_to(flag, (*flat.shape[:-1], len(fresh)))
    wanted = np.concatenate([flat, action, flag], axis=-1)
    # The two runs are two programs: a pendulum's last bit may differ.
    np.testing.assert_allclose(actual, wanted, atol=1e-5)

  flat = flatten(observed, bare_first, 1)
  assert flat.shape == (3, size)
  expect(first, flat, no_action, fresh)
  ended = done[..., None]
  expect(
    stepped[0],
    flatten(observed, bare[0], 2),
    np.where(ended, no_action, flat_actions),
    np.where(ended, fresh, old),
  )
  final = flatten(observed, bare[5]["final_observation"], 2)
  expect(stepped[5]["final_observation"], final, flat_actions, old)
  assert env.observation_space(params).shape == first.shape[1:]
  assert first.dtype == stepped[0].dtype == jnp.float32


@pytest.mark.parametrize(
  ("env_id", "changes", "size", "steps", "outside"),
  [
    (*_PLAYED[0], True),
    (*_PLAYED[2], True),
    (*_PLAYED[2], False),
    *(
      pytest.param(*_PLAYED[i], True, marks=pytest.mark.slow) for i in (1, 3, 4)
    ),
  ],
)
def test_episode_statistics(env_id, changes, size, steps, outside):
  env, params = envs.make(env_id)
  params = params.replace(**changes)
  if outside:
    env = wrappers.EpisodeStatistics(wrappers.FlattenHistory(env))
  else:
    env = wrappers.FlattenHistory(wrappers.EpisodeStatistics(env))
  *_, stepped = toy.play(env, params, jax.random.key(0), steps)
  stepped = jax.tree.map(np.asarray, stepped[2:])
  reward, terminated, truncated, info = stepped
  done = np.asarray(terminated | truncated)
  np.testing.assert_array_equal(info["returned_episode"], done)
  assert info["returned_episode"].dtype == jnp.bool_
  assert info["returned_episode_return"].dtype == jnp.float32
  assert info["returned_episode_length"].dtype == jnp.int32
  total, length, last = 0.0, 0, (0.0, 0)
  for t in range(steps):
    total, length = total + float(reward[t]), length + 1
    if done[t]:
      last, total, length = (total, length), 0.0, 0
    # Sums in float64 here and in float32 there.
    np.testing.assert_allclose(
      info["returned_episode_return"][t], last[0], rtol=1e-5, atol=1e-5
    )
    assert info["returned_episode_length"][t] == last[1]


def test_statistics_of_a_whole_batch_are_reset_one_by_one():
  env, params = envs.make("PositionOnlyCartPoleEasy")
  env = wrappers.EpisodeStatistics(env)
  keys = jax.random.split(jax.random.key(0), 8)
  *_, stepped = _play_many(env, params, keys, 60)
  info = stepped[5]
  ends = np.asarray(info["returned_episode"])
  assert len({tuple(row) for row in ends.tolist()}) == 8
  np.testing.assert_allclose(
    info["returned_episode_return"],
    info["returned_episode_length"] / 200,
    rtol=1e-5,
  )


def _wrapped():
  env, params = envs.make("RepeatFirstEasy")
  return wrappers.EpisodeStatistics(wrappers.FlattenHistory(env)), params


def test_wrappers_are_equal_by_value():
  (one, _), (two, _) = _wrapped(), _wrapped()
  assert one == two
  assert hash(one) == hash(two)
  assert one != wrappers.EpisodeStatistics(
    wrappers.FlattenHistory(envs.make("RepeatFirstEasy")[0], "first")
  )
  assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one


def test_state_types_are_stable_and_a_step_is_traced_once():
  traces = []

  def step(env, key, state, action, params):
    traces.append(key)
    return env.step(key, state, action, params)

  step = jax.jit(step, static_argnums=0)
  for _ in range(2):
    env, params = _wrapped()
    _, state = env.reset(jax.random.key(0), params)
    for _ in range(2):
      for leaf in jax.tree.leaves(state):
        assert not leaf.weak_type
      _, state, *_ = step(env, jax.random.key(0), state, jnp.int32(1), params)
  assert len(traces) == 1


def test_types_do_not_follow_the_default_width():
  env, params = _wrapped()

  def run(key):
    first, state = env.reset(key, params)
    return first, state, env.step(key, state, jnp.int32(0), params)

  narrow = jax.eval_shape(run, jax.random.key(0))
  with jax.enable_x64(True):
    assert jax.eval_shape(run, jax.random.key(0)) == narrow


def test_default_parameters_are_used_when_none_are_given():
  env, params = _wrapped()
  key = jax.random.key(0)
  first, state = env.reset(key)
  jax.tree.map(
    np.testing.assert_array_equal, (first, state), env.reset(key, params)
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    env.step(key, state, jnp.int32(0)),
    env.step(key, state, jnp.int32(0), params),
  )


def test_other_physics():
  env = wrappers.Physics(
    gymnax.make("CartPole-v1")[0], (("gravity", 25.0), ("length", 0.1))
  )
  params = env.default_params
  assert (params.gravity, params.length, params.tau) == (25.0, 0.1, 0.02)
  assert hash(env) == hash(wrappers.Physics(env.env, env.values))
  with pytest.raises(ValueError, match="values: got 'mass', expected one"):
    wrappers.Physics(env.env, (("mass", 1.0),))


def test_some_numbers_are_shown_with_noise():
  bare = toy.Walk(limit=6, edge=99.0)
  (size,) = bare.observation_space(bare.default_params).shape
  env = wrappers.Shown(bare, (size - 1, 0), 0.1)
  first, _, _, steps = toy.play(env, env.default_params, jax.random.key(0), 600)
  shown, states, _, _, truncated, info = jax.tree.map(np.asarray, steps)
  exact = wrappers.Shown(bare, (size - 1, 0))
  _, _, _, steps = toy.play(exact, env.default_params, jax.random.key(0), 600)
  assert first.shape == (2,)
  assert env.observation_space().shape == (2,)
  seen = jax.vmap(lambda s: bare.observe(s, None))(states)
  noise = shown - np.asarray(seen)[:, [size - 1, 0]]
  # 600 numbers: their deviation is off by 3 %, their mean by 4 % of it.
  np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=0.15)
  np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.02)
  same = (shown == info["final_observation"]).all(axis=1)
  np.testing.assert_array_equal(same, ~truncated)
  assert (np.asarray(steps[0])[:, 1] == np.asarray(steps[1].position)).all()


@pytest.mark.parametrize(
  ("indices", "sigma", "message"),
  [
    ((), 0.0, "indices: got .*, expected one or more from 0 to"),
    ((9,), 0.0, "indices: got .*, expected one or more from 0 to"),
    ((0,), -1.0, "noise_sigma: got -1.0, expected a finite number"),
  ],
)
def test_what_cannot_be_shown_is_refused(indices, sigma, message):
  with pytest.raises(ValueError, match=message):
    wrappers.Shown(toy.Walk(), indices, sigma)


def test_everything_else_is_the_environment_s():
  plain, params = envs.make("RepeatFirstEasy")
  env = wrappers.Wrapper(plain)
  assert env.name == "RepeatFirst"
  assert env.num_actions == 4
  assert env.default_params == params
  assert env.observation_space(params).n == 4
  assert env.action_space(params).n == 4
  with pytest.raises(AttributeError, match="nothing"):
    _ = env.nothing
  key = jax.random.key(0)
  first, state = env.reset(key, params)
  jax.tree.map(
    np.testing.assert_array_equal, (first, state), plain.reset(key, params)
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    env.step(key, state, jnp.int32(0), params),
    plain.step(key, state, jnp.int32(0), params),
  )


def test_dictionaries_and_tuples():
  observed = gymnax_spaces.Dict(
    {"card": gymnax_spaces.Discrete(3), "angle": gymnax_spaces.Box(0, 1, ())}
  )
  acted = gymnax_spaces.Tuple(
    (gymnax_spaces.Discrete(2), gymnax_spaces.Box(-1, 1, (1,)))
  )
  params = _PlaybackParams(
    observations={
      "card": jnp.array([2, 0, 1]),
      "angle": jnp.array([0.25, 0.5, 0.75]),
    },
    max_steps_in_episode=100,
  )
  env = wrappers.FlattenHistory(_Playback(observed, acted, length=2))
  first, state = env.reset(jax.random.key(0), params)
  np.testing.assert_array_equal(first, [0, 0, 1, 0.25, 0, 0, 0, 1])
  action = (jnp.int32(1), jnp.array([-0.5]))
  seen, state, *_ = env.step(jax.random.key(0), state, action, params)
  np.testing.assert_array_equal(seen, [1, 0, 0, 0.5, 0, 1, -0.5, 0])
  seen, state, *_, info = env.step(jax.random.key(0), state, action, params)
  np.testing.assert_array_equal(seen, first)
  np.testing.assert_array_equal(
    info["final_observation"], [0, 1, 0, 0.75, 0, 1, -0.5, 0]
  )


@pytest.mark.parametrize("option", ["previous_action", "first_step"])
def test_an_unknown_option_is_refused(option):
  env, _ = envs.make("RepeatFirstEasy")
  with pytest.raises(ValueError, match=f"^{option}: got 'last', expected one"):
    wrappers.FlattenHistory(env, **{option: "last"})


def test_nothing_leaks():
  env, params = _wrapped()
  with jax.checking_leaks():
    toy.play(env, params, jax.random.key(0), 2)


def test_the_previous_action_may_be_left_out():
  game, params = envs.make("RepeatFirstEasy")
  size = spaces.flat_size(game.observation_space(params))
  env = wrappers.FlattenHistory(game, "none")
  assert env.observation_space(params).shape == (size + 1,)
  observation, state = env.reset(jax.random.key(0), params)
  assert observation.shape == (size + 1,)
  assert observation[-1] == 1
  for action in (1, 3):
    after = env.step(jax.random.key(1), state, action, params)[0]
    alone = game.step(jax.random.key(1), state, action, params)[0]
    alone = spaces.flatten(game.observation_space(params), alone)
    np.testing.assert_array_equal(after, [*alone, 0])
  seen = {}
  for shows in (True, False):
    config = ppo.Config(env_id="RepeatFirstEasy", shows_action=shows)
    player = ppo.player(config)
    seen[shows] = player.env.observation_space(player.env_params).shape[0]
  assert seen == {True: size + 5, False: size + 1}
