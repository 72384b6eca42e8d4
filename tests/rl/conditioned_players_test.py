"""Files of networks that play for a return that is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.interop import described_file
from jaxseq.rl import conditioned_players
from tests.rl import pole_player


@pytest.mark.slow
def test_a_player_is_saved_loaded_and_plays(tmp_path):
  *_, player = pole_player.make()
  path = tmp_path / "player.safetensors"
  conditioned_players.save(path, player)
  found = conditioned_players.load(path)
  assert (found.agent, found.conditioned) == (pole_player.CONFIG, False)
  assert found.model == player.model
  jax.tree.map(np.testing.assert_array_equal, found.variables, player.variables)
  jax.tree.map(np.testing.assert_array_equal, found.scale, player.scale)
  key, targets = jax.random.key(1), [5.0, 12.0, 12.0]
  played = conditioned_players.play(found, key, targets)
  wanted = conditioned_players.play(player, key, jnp.array(targets))
  np.testing.assert_array_equal(played, wanted)
  assert (played > 0).all()


def test_what_is_no_player_gets_one_sentence(tmp_path):
  *_, player = pole_player.make()
  path = tmp_path / "player.safetensors"
  conditioned_players.save(path, player)
  whole = described_file.read(path)

  def fails(message, **changes):
    described_file.write(path, {**whole.described, **changes}, whole.tree)
    with pytest.raises(ValueError, match=f"is no whole player: {message}"):
      conditioned_players.load(path)

  fails("conditioned: got 'int', expected True or False", conditioned=1)
  fails("agent: got 'str', expected an object", agent="ppo")
  network = whole.described["network"]
  fails("network: got 'name'", network={**network, "name": "x"})
  fails("network: max_timesteps", network={**network, "max_timesteps": 10**9})
  tree = dict(whole.tree)
  del tree["scales"]
  described_file.write(path, whole.described, tree)
  with pytest.raises(ValueError, match="fields: got .*'mean'"):
    conditioned_players.load(path)
