"""Tests of whole games with a policy, and of their gifs."""

import jax
import numpy as np
from PIL import Image
import pytest

from jaxseq import spr
from jaxseq.spr import full_games
from jaxseq.spr import gifs
from jaxseq.spr import learner
from tests.spr import games


@pytest.mark.slow
def test_every_game_is_played_once_to_its_end():
  game = games.make(spread=2, always=True)
  settings = spr.settings.Settings(
    head={"hidden": 3, "atoms": 3}, agent={"epsilon_eval": 1.0}
  )
  config = spr.settings.agent_config(settings, game)
  agent = learner.init(jax.random.key(0), config.variant.update)
  play = full_games.make(config, game)
  result = play(agent, jax.random.key(1), 9, keep_frames=100)
  assert set(result.lengths) == {7, 8, 9}
  # A lost life ends nothing, and what comes after the end does not count.
  np.testing.assert_array_equal(result.returns, 2 * result.lengths)
  np.testing.assert_array_equal(
    result.frames[:, 0, 0, 0], np.arange(result.lengths[0])
  )
  assert len(play(agent, jax.random.key(1), 9, keep_frames=2).frames) == 2


@pytest.mark.slow
def test_the_best_action_is_played_without_noise():
  game = games.make()
  settings = spr.settings.Settings(
    head={"hidden": 3, "atoms": 3}, agent={"epsilon_eval": 0.0}
  )
  config = spr.settings.agent_config(settings, game)
  agent = learner.init(jax.random.key(0), config.variant.update)
  # Without weights behind it the value is the bias: action 1 has the best one.
  params = jax.tree.map(lambda leaf: 0 * leaf, agent.params)
  out = params["head"]["advantage_out"]
  out["b"] = out["b"].at[5].set(1.0)
  agent = agent._replace(params=params)
  result = full_games.make(config, game)(agent, jax.random.key(1), 2)
  np.testing.assert_array_equal(result.returns, [2 * 7, 2 * 7])
  assert result.frames.shape == (0, 4, 4, 1)
  observation = np.zeros((1, 4, 4, 2), np.uint8)
  action, memory = spr.agent.act(
    config, agent, observation, jax.random.key(0), epsilon=0.0, noisy=True
  )
  assert (action, memory) == (1, ())


def test_pictures_of_gray_frames(tmp_path):
  frames = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * 100
  frames = np.broadcast_to(frames, (3, 84, 84, 1))
  path = gifs.write_gif(tmp_path / "a" / "game.gif", frames)
  with Image.open(path) as image:
    assert (image.n_frames, image.size) == (3, (168, 168))
    image.seek(2)
    assert image.convert("RGB").getpixel((5, 5)) == (200, 200, 200)


def test_a_game_that_goes_on_after_its_frames_says_so(tmp_path):
  frames = np.zeros((3, 10, 10, 4), np.uint8)
  counts = {}
  for length in (3, 800):
    path = gifs.write_gif(tmp_path / f"{length}.gif", frames, length)
    with Image.open(path) as image:
      counts[length] = image.n_frames
      image.seek(image.n_frames - 1)
      last = np.asarray(image.convert("RGB"))
  # Equal frames become one that is shown for longer.
  assert counts == {3: 1, 800: 2}
  # Letters on white.
  assert last.min() < 60
  assert (last > 240).mean() > 0.5


def test_channels_get_colors():
  frames = np.zeros((1, 10, 10, 3), np.uint8)
  frames[0, 0, 0, 0] = frames[0, 1, 1, 2] = 255
  images = gifs.images(frames)
  assert images.shape == (1, 160, 160, 3)
  assert len(np.unique(images.reshape(-1, 3), axis=0)) == 3
  assert (images[0, :16, :16] == images[0, 0, 0]).all()
  with pytest.raises(ValueError, match="11., expected at most 10 channels"):
    gifs.images(np.zeros((1, 2, 2, 11), np.uint8))
