"""The configs of the suite of Atari; what it runs is `experiments.spr`."""

import pytest

from configs.atari100k_suite import atari100k
from experiments import atari100k_suite
from jaxseq.spr import published
from jaxseq.spr import variants
from jaxseq.training import config as config_lib

pytestmark = pytest.mark.usefixtures("atari_stand_in")


def suite(variant, **changes):
  config = atari100k.get_config(variant)
  config.update(changes)
  return config_lib.from_config_dict(atari100k_suite.Config, config)


@pytest.mark.parametrize("agent", variants.names())
def test_every_agent_plays_all_games(agent):
  config = suite(agent)
  assert config.num_seeds == 5
  made = atari100k_suite.make_arms(config)
  assert tuple(made) == published.GAMES
  expected = variants.get(agent, 6).updates_per_step
  for game, arms in made.items():
    assert set(arms) == {agent}
    arm = arms[agent]
    assert arm.settings.game == arm.game.name == game
    assert arm.agent.variant.updates_per_step == expected
    assert arm.agent.num_steps == 100_000


def test_the_tiny_suite_has_two_games():
  assert set(atari100k_suite.make_arms(suite("tiny"))) == {"boxing", "pong"}


def test_atari_can_be_played_as_the_released_code_plays_it():
  arms = {"spr": {"environment": "atari_released"}}
  made = atari100k_suite.make_arms(suite("spr", arms=arms))
  assert made["pong"]["spr"].settings.environment == "atari_released"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"games": ("pong", "pong")}, "games: got .* each of them once"),
    ({"games": ("tetris",)}, "tetris"),
    (
      {"arms": {"spr": {"game": "pong"}}},
      "arms.spr.game: got 'pong', expected none",
    ),
    (
      {"arms": {"spr": {"environment": "minatar"}}},
      "got the environment 'minatar', expected 'atari' or 'atari_released'",
    ),
  ],
)
def test_wrong_suites_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    suite("spr", **changes)


def test_an_unknown_agent_is_refused():
  with pytest.raises(ValueError, match="variant: got 'huge'"):
    atari100k.get_config("huge")
