"""Views that hide: nothing of an old episode is seen in the next."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.icrl import continuous_control
from configs.icrl import velocity_free
from jaxseq.rl import envs
from jaxseq.rl import evaluate
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.rl.wrappers import views
from tests.rl import toy


@struct.dataclass
class _State(base.EnvState):
  episode: jax.Array


@dataclasses.dataclass(frozen=True)
class _Numbered(base.Environment):
  """Shows the numbers of the episode, from 1, and of the step, and a choice.

  The mask tells the step, too: it is late in nothing.
  """

  length: int = 5

  def start(self, words, params):
    return _State(jnp.int32(0), jnp.int32(1))

  def restart(self, words, state, params):
    return _State(jnp.int32(0), state.episode + 1)

  def advance(self, words, state, action, params):
    return state.replace(time=state.time + 1), jnp.float32(0)

  def observe(self, state, params):
    numbers = jnp.stack([state.episode, state.time + 1]).astype(jnp.float32)
    seen = {"numbers": numbers, "choice": state.time % 3}
    return action_masks.join(seen, jnp.arange(self.length + 1) == state.time)

  @property
  def default_params(self):
    return base.EnvParams(max_steps_in_episode=self.length)

  def observation_space(self, params=None):
    parts = {
      "numbers": spaces.Box(1.0, np.inf, (2,)),
      "choice": spaces.Discrete(3),
    }
    return action_masks.with_mask(spaces.Dict(parts), self.length + 1)

  def action_space(self, params=None):
    return spaces.Discrete(self.length + 1)


def _played(env, num_steps):
  """First observation, and observations, final ones, and ends."""
  first, _, _, steps = toy.play(
    env, env.default_params, jax.random.key(0), num_steps
  )
  done = steps[3] | steps[4]
  return jax.tree.map(
    np.asarray, (first, steps[0], steps[5]["final_observation"], done)
  )


def test_an_observation_is_late_by_its_steps_and_never_of_another_episode():
  delay, length = 2, 5
  env = wrappers.Delay(_Numbered(length), delay)
  first, shown, final, done = _played(env, 3 * length)
  assert first["observation"]["choice"] == 3
  assert (first["observation"]["numbers"] == 0).all()
  assert first["action_mask"].argmax() == 0
  for t in range(3 * length):
    episode, step = divmod(t, length)
    assert done[t] == (step == length - 1)
    # The last one of the episode is late in the same episode.
    seen = jax.tree.map(lambda x, t=t: x[t], final)
    np.testing.assert_array_equal(
      seen["observation"]["numbers"],
      [episode + 1, step + 2 - delay] if step + 1 >= delay else [0, 0],
    )
    assert seen["action_mask"].argmax() == step + 1
    if done[t]:
      seen = jax.tree.map(lambda x, t=t: x[t], shown)
      assert (seen["observation"]["numbers"] == 0).all()
      assert seen["observation"]["choice"] == 3
      assert seen["action_mask"].argmax() == 0
    else:
      np.testing.assert_array_equal(
        shown["observation"]["numbers"][t], final["observation"]["numbers"][t]
      )
  inside = jax.vmap(env.observation_space().spaces["observation"].contains)
  assert inside(shown["observation"]).all()


def test_first_and_last_observations_are_hidden_like_all_others():
  env = wrappers.Flicker(_Numbered(2), 0.4)
  first, shown, final, done = _played(env, 4000)
  blank = shown["observation"]["choice"] == 3
  np.testing.assert_array_equal(
    blank, (shown["observation"]["numbers"] == 0).all(axis=1)
  )
  last = final["observation"]["choice"] == 3
  # Shares of 2,000: one standard deviation is 0.011.
  for share in (blank[done], blank[~done], last[done]):
    np.testing.assert_allclose(share.mean(), 0.4, atol=0.045)
  # At an end each of the two has its own draw, and elsewhere one.
  np.testing.assert_array_equal(blank[~done], last[~done])
  np.testing.assert_allclose((blank & last)[done].mean(), 0.16, atol=0.035)
  # No number is of the episode before.
  begun = shown["observation"]["numbers"][done & ~blank]
  assert (begun[:, 1] == 1).all()
  assert first["action_mask"].argmax() == 0
  assert (shown["action_mask"][done].argmax(axis=1) == 0).all()
  resets = jax.jit(jax.vmap(lambda key: env.reset(key)[0]))(
    jax.random.split(jax.random.key(1), 2000)
  )
  share = (resets["observation"]["choice"] == 3).mean()
  np.testing.assert_allclose(share, 0.4, atol=0.045)


class _Pictured(_Numbered):
  """Shows the number of the step as an image."""

  def observe(self, state, params):
    return jnp.full((2, 2, 1), state.time + 1, jnp.uint8)

  def observation_space(self, params=None):
    return spaces.Box(0, 255, (2, 2, 1), np.uint8)


def test_what_is_dropped_leaves_mask_action_and_spaces():
  plain = wrappers.flat(_Numbered(3))
  env = wrappers.Dropped(plain, 0.4)
  assert str(env.observation_space()) == str(plain.observation_space())
  for seen, whole in zip(_played(env, 600)[1:3], _played(plain, 600)[1:3]):
    np.testing.assert_array_equal(seen["action_mask"], whole["action_mask"])
    seen, whole = seen["observation"], whole["observation"]
    hides = (seen[:, :5] == 0).all(axis=1)
    np.testing.assert_allclose(hides.mean(), 0.4, atol=0.08)
    np.testing.assert_array_equal(seen[~hides], whole[~hides])
    np.testing.assert_array_equal(seen[:, 5:], whole[:, 5:])


def test_images_are_dropped_whole():
  plain = wrappers.images(_Pictured(3))
  env = wrappers.Dropped(plain, 0.4)
  seen, whole = _played(env, 300)[1], _played(plain, 300)[1]
  assert seen.image.dtype == np.uint8
  hides = (seen.image == 0).all(axis=(1, 2, 3))
  np.testing.assert_allclose(hides.mean(), 0.4, atol=0.11)
  np.testing.assert_array_equal(seen.image[~hides], whole.image[~hides])
  np.testing.assert_array_equal(seen.history, whole.history)


def test_noise_on_arrays_of_numbers():
  bare = toy.Walk(limit=6, edge=99.0)
  env = wrappers.Noise(bare, 0.1)
  _, shown, final, done = _played(env, 600)
  _, exact, exact_final, _ = _played(wrappers.Noise(bare, 0.0), 600)
  for noisy, plain in ((shown, exact), (final, exact_final)):
    # The deviation of 1200 numbers is off by 2 %.
    np.testing.assert_allclose((noisy - plain).std(), 0.1, rtol=0.1)
  np.testing.assert_array_equal((shown == final).all(axis=1), ~done)


def test_views_are_options_of_an_id():
  env, params = envs.make(
    "view/PositionOnlyCartPoleEasy",
    max_steps=30,
    shown=[1],
    noise=0.1,
    delay=2,
    flicker=0.5,
  )
  assert int(params.max_steps_in_episode) == 30
  kinds = []
  while isinstance(env, wrappers.Wrapper):
    kinds.append(type(env).__name__)
    env = env.env
  assert kinds == ["Flicker", "Delay", "Noise", "Shown"]
  bare, _ = envs.make("view/RepeatFirstEasy")
  assert not isinstance(bare, wrappers.Wrapper)
  config = ppo.Config(
    env_id="view/RepeatFirstEasy",
    env_options=(("flicker", 0.2), ("delay", 1)),
    network=toy.network(),
  )
  env, params = rollout.environment(config.env_id, config.env_options)
  # Four suits and two marks of what is hidden, the action before, and a flag.
  assert env.observation_space(params).shape == (6 + 4 + 1,)
  both = evaluate.members(
    dataclasses.replace(
      config,
      env_id="view/ProjectedControl",
      env_options=(("tasks", ("CartPole-usual",) * 2), ("flicker", 0.2)),
    )
  )
  assert len(both) == 2


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: wrappers.Delay(_Numbered(), 0), "steps: got 0"),
    (lambda: wrappers.Flicker(_Numbered(), 1.5), "probability: got 1.5"),
    (lambda: wrappers.Noise(_Numbered(), 0.1), "expected observations that"),
    (lambda: wrappers.Noise(toy.Walk(), -1.0), "sigma: got -1.0"),
    (
      lambda: envs.make("view/RepeatFirstEasy", noise=0.1),
      r"^noise of view/RepeatFirstEasy: got Discrete\(4\), expected obs",
    ),
    (
      lambda: envs.make("view/PositionOnlyCartPoleEasy", shown=(0, 7)),
      "^shown of view/PositionOnlyCartPoleEasy: got .0, 7., expected one or",
    ),
    (
      lambda: envs.make("view/RepeatFirstEasy", delay=-1),
      "^delay of view/RepeatFirstEasy: got -1, expected an integer",
    ),
    (
      lambda: envs.make("view/RepeatFirstEasy", flicker=1.3),
      "^flicker of view/RepeatFirstEasy: got 1.3, expected a .* from 0 to 1",
    ),
    (lambda: envs.make("view/Nowhere"), "env_id: got 'Nowhere'"),
    (
      lambda: envs.make("view/RepeatFirstEasy", flicke=0.1),
      "options: RepeatFirstEasy does not take",
    ),
  ],
)
def test_views_that_do_not_fit_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_spaces_of_hidden_observations():
  space = spaces.Tuple(
    (spaces.MultiDiscrete((2, 3)), spaces.Box(1, 255, (2, 2, 1), np.uint8))
  )
  hidden = views.hidden(space)
  np.testing.assert_array_equal(hidden[0], [2, 3])
  assert hidden[1].dtype == np.uint8
  assert not hidden[1].any()
  assert views.hideable(space).contains(hidden)
  assert not space.contains(hidden)


def test_tasks_without_velocities_show_none():
  for body, (positions, velocities) in velocity_free.BODIES.items():
    both = velocity_free.indices(body, "P"), velocity_free.indices(body, "V")
    assert both[0] == tuple(range(positions))
    assert both[1] == tuple(range(positions, positions + velocities))
  env, params = envs.make("PositionOnlyCartPoleEasy")
  _, state = env.reset(jax.random.key(0), params)
  fast = state.replace(x_dot=jnp.float32(9), theta_dot=jnp.float32(9))
  np.testing.assert_array_equal(
    env.observe(fast, params), env.observe(state, params)
  )
  # Nor is there a reward, of which velocities could be read.
  seen, _ = rollout.environment("PositionOnlyCartPoleEasy")
  assert seen.observation_space(params).shape == (2 + 2 + 1,)


def test_rewards_of_which_a_share_is_paid():
  whole, params = envs.make("PositionOnlyCartPoleEasy")
  part = continuous_control.Paid(whole, (1,), share=0.5)
  of_whole, of_part = (
    toy.play(env, params, jax.random.key(0), 4)[-1] for env in (whole, part)
  )
  assert of_part[0].shape == (4, 1)
  np.testing.assert_array_equal(of_part[2], 0.5 * of_whole[2])
  assert (of_part[2] > 0).all()
