"""Decision Transformers in one file each, and what they reach when they play.

    player = conditioned_players.load("runs/dt/aaren/player.safetensors")
    returns = conditioned_players.play(player, key, targets)

A file is all that it takes to play: the environment, the network with its
variables, and by what observations and returns are scaled. It has the
safetensors format with JSON in its header; nothing of it is executed.
"""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _codec
from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.interop import described_file
from jaxseq.rl import conditioned
from jaxseq.rl.agents import ppo
from jaxseq.tasks import decision

_SCALES = "scales"


class Player(NamedTuple):
  """A trained network that plays for the return that is asked for.

  Attributes:
    agent: the agent whose episodes were recorded; its environment is played.
    conditioned: whether the network sees returns-to-go.
    model: the network.
    variables: its variables, as NumPy arrays.
    scale: by what observations and returns are scaled.
  """

  agent: ppo.Config
  conditioned: bool
  model: decision.DecisionModel
  variables: PyTree
  scale: decision.Scales


def play(player: Player, key: jax.Array, targets: jax.Array) -> jax.Array:
  """Plays one whole episode for each return that is asked for.

  Args:
    player: who plays.
    key: random key.
    targets: (episodes,) returns asked for.

  Returns:
    (episodes,) returns achieved.
  """
  network = nn.NetworkConfig(player.model.config)
  arm = decision.ArmConfig(network, conditioned=player.conditioned)
  targets = jnp.asarray(targets, jnp.float32)
  world = ppo.player(player.agent)

  @jax.jit
  def compute(variables, scale, key, targets):
    return conditioned.play(
      arm, player.model, variables, scale, world, key, targets
    )

  return compute(player.variables, player.scale, key, targets)


def save(path: str | os.PathLike, player: Player) -> None:
  """Writes a player to a file, which is replaced if it is there.

  Args:
    path: the file.
    player: the player, with variables of one seed.

  Raises:
    OSError: if the file cannot be written.
  """
  described = {
    "agent": _codec.encode(player.agent, "agent"),
    "conditioned": player.conditioned,
    "network": _codec.encode(player.model, "network", _codec.OF_DEVICES),
  }
  scale = {k: np.asarray(x) for k, x in player.scale._asdict().items()}
  variables = {**player.variables, _SCALES: scale}
  described_file.save(path, KIND, described, variables)


def load(path: str | os.PathLike) -> Player:
  """Reads a player that `save` wrote.

  Its environment is made when it plays: an id of your own has to be registered
  until then.

  Args:
    path: the file.

  Raises:
    ValueError: if the file is none of these, is damaged, or has a later format.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


def _decode(contents):
  """The player of a file."""
  described, variables = contents.described, contents.tree
  conditions = _validate.instance(
    "conditioned", described["conditioned"], bool, "True or False"
  )
  model = described_file.make_network(
    decision.DecisionModel, described["network"], contents, "network"
  )
  scales = variables.pop(_SCALES, {})
  described_file.check_names(scales, decision.Scales._fields)
  return Player(
    described_file.build(ppo.Config, described["agent"], "agent"),
    conditions,
    model,
    variables,
    decision.Scales(**scales),
  )


KIND = described_file.Kind(
  "player",
  "conditioned_players.save",
  ("agent", "conditioned", "network"),
  _decode,
)
