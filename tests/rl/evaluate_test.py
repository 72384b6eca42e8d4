import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import _transcript
from jaxseq.rl import evaluate
from jaxseq.rl.agents import ppo
from tests.rl import toy

toy.register(
  Paid=toy.Paid, PaidEnding=functools.partial(toy.Paid, 50, longest=9)
)


@functools.cache
def trained(env_id="JaxseqTest-PaidEnding", seed=0):
  network = toy.network(heads=(8,))
  config = ppo.Config(env_id=env_id, network=network)
  return config, ppo.init(config, jax.random.key(seed)).variables


@pytest.mark.slow
def test_every_environment_counts_once():
  config, variables = trained()
  played = evaluate.evaluate(
    config, variables, jax.random.key(0), num_episodes=3000
  )
  assert played["complete"].all()
  # Every step pays 1.
  np.testing.assert_array_equal(
    played["episode_return"], played["episode_length"]
  )
  # Lengths are uniform over 1 to 9; what ends within a fixed number of steps
  # would be shorter. Standard error of the mean: 2.58 / sqrt(3000) = 0.047.
  shares = np.bincount(played["episode_length"], minlength=10)[1:] / 3000
  np.testing.assert_allclose(shares, 1 / 9, atol=0.03)
  np.testing.assert_allclose(played["mean_return"], 5.0, atol=0.2)


@pytest.mark.slow
def test_the_time_limit_completes_an_episode():
  config, variables = trained("JaxseqTest-Paid")
  played = evaluate.evaluate(
    config, variables, jax.random.key(0), num_episodes=4
  )
  assert played["complete"].all()
  np.testing.assert_array_equal(played["episode_return"], 5.0)


def test_incomplete_episodes_are_told_apart():
  config, variables = trained()
  played = evaluate.evaluate(
    config, variables, jax.random.key(0), num_episodes=200, limit=4
  )
  complete = np.asarray(played["complete"])
  assert 0 < complete.sum() < 200
  length = np.asarray(played["episode_length"])
  np.testing.assert_array_equal(length[~complete], 4)
  np.testing.assert_allclose(
    played["mean_return"], length[complete].mean(), rtol=1e-6
  )
  none = evaluate.evaluate(
    config, variables, jax.random.key(0), num_episodes=2, limit=0
  )
  assert np.isnan(none["mean_return"])


def test_variables_without_statistics_are_refused():
  config = ppo.Config(
    env_id="JaxseqTest-PaidEnding",
    network=toy.network(heads=(8,)),
    normalize_observation=True,
  )
  arguments = config, trained()[1], jax.random.key(0)
  message = r"variables: got \['params'\], expected 'statistics' among them"
  with pytest.raises(ValueError, match=message):
    evaluate.evaluate(*arguments)
  with pytest.raises(ValueError, match=message):
    evaluate.record(*arguments, 2)


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [False, True])
def test_vmap_over_seeds(greedy):
  config, first = trained("RepeatPreviousEasy")
  _, second = trained("RepeatPreviousEasy", seed=1)
  keys = jax.random.split(jax.random.key(0), 2)

  def play(variables, key):
    return evaluate.evaluate(
      config, variables, key, num_episodes=5, greedy=greedy
    )["mean_return"]

  both = jax.tree.map(lambda *x: jnp.stack(x), first, second)
  together = jax.vmap(play)(both, keys)
  # An action flips only if two scores agree to rounding.
  np.testing.assert_allclose(
    together, [play(first, keys[0]), play(second, keys[1])], atol=1e-5
  )


@pytest.mark.slow
def test_greedy_actions_are_the_most_probable():
  config, variables = trained("RepeatPreviousEasy")
  key = jax.random.key(3)
  greedy = evaluate.record(config, variables, key, 60, greedy=True)[0]
  sampled = evaluate.record(config, variables, key, 60)[0]
  assert (greedy.log_prob >= np.log(1 / 4)).all()
  assert (sampled.log_prob < np.log(1 / 4)).any()


def test_transcript_of_repeat_previous():
  config, variables = trained("RepeatPreviousEasy")
  player = ppo.player(config)
  episode = jax.device_get(
    evaluate.record(config, variables, jax.random.key(4), 60)[0]
  )
  rows = _transcript.rows(player, episode)
  # One episode and no more.
  assert len(rows) == 51
  columns = _transcript.columns(player)
  assert columns == [
    "step",
    "observation",
    "asked",
    "action",
    "reward",
    "value",
  ]
  shown = [row[1] for row in rows]
  assert [row[2] for row in rows] == ["-"] * 3 + shown[:-3]
  for _, _, asked, action, reward, _ in rows[3:]:
    assert (asked == action) == (float(reward) > 0)
  assert len(_transcript.rows(player, episode, limit=7)) == 7


@pytest.mark.parametrize(
  ("env_id", "options", "tells"),
  [
    ("RepeatFirstEasy", {}, True),
    ("Trials", {"game": "RepeatFirstEasy", "num_trials": 2}, False),
    ("view/RepeatPreviousEasy", {"delay": 1}, False),
  ],
)
def test_a_transcript_tells_answers_of_cards_as_they_are(
  env_id, options, tells
):
  config = ppo.Config(env_id=env_id, env_options=options)
  assert ("asked" in _transcript.columns(ppo.player(config))) == tells


@pytest.mark.slow
@pytest.mark.parametrize(
  "env_id", ["RepeatFirstEasy", "MemoryChain-bsuite", "JaxseqTest-Paid"]
)
def test_transcript_of_other_environments(env_id):
  config, variables = trained(env_id)
  player = ppo.player(config)
  episode = jax.device_get(
    evaluate.record(config, variables, jax.random.key(4), 8)[0]
  )
  rows = _transcript.rows(player, episode)
  assert all(len(row) == len(_transcript.columns(player)) for row in rows)
  if env_id == "RepeatFirstEasy":
    assert {row[2] for row in rows} == {rows[0][1]}
