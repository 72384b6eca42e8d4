"""Games of POPGym, with options, by the name of a config's variant."""

import pytest

from configs.spr import popgym


def test_a_variant_has_options_of_its_game():
  config = popgym.get_config("RepeatPreviousEasy,tiny,k=2,suit=red")
  assert config.settings["env_options"] == {"k": 2, "suit": "red"}
  assert list(config.arms) == ["spr"]
  assert not popgym.get_config("RepeatPreviousEasy").settings["env_options"]
  with pytest.raises(ValueError, match="variant: got 'A,huge'"):
    popgym.get_config("A,huge")
