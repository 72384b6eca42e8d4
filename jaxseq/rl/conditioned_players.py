"""Decision Transformers in one file each, and what they reach when they play.

    player = conditioned_players.load("runs/dt/aaren/player.safetensors")
    returns = conditioned_players.play(player, key, targets)

A file is all that it takes to play: the environment, the network with its
variables, and by what observations and returns are scaled. It has the
safetensors format with JSON in its header; nothing of it is executed.
"""

import dataclasses
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.interop import described_file
from jaxseq.rl import conditioned
from jaxseq.rl.agents import ppo
from jaxseq.tasks import decision
from jaxseq.training import configuration
from jaxseq.training import run_directory

FORMAT = 1

_SCALES = "scales"
_FIELDS = ("format", "agent", "conditioned", "network", "versions")
_OF_MODULES = ("parent", "name")
# Options of the devices that it was trained on.
_OF_DEVICES = ("time_axis", "time_scheme")


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
  network = {
    field.name: described_file.encode(
      getattr(player.model, field.name), field.name, _OF_DEVICES
    )
    for field in dataclasses.fields(player.model)
    if field.name not in _OF_MODULES
  }
  described = {
    "format": FORMAT,
    "agent": described_file.encode(player.agent, "agent"),
    "conditioned": player.conditioned,
    "network": network,
    "versions": run_directory.versions(),
  }
  scale = {k: np.asarray(x) for k, x in player.scale._asdict().items()}
  described_file.write(path, described, {**player.variables, _SCALES: scale})


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
  found = described_file.read(
    path, "player", "conditioned_players.save", FORMAT
  )
  described = found.described
  try:
    described_file.check_fields(described, _FIELDS)
    for name in ("agent", "network"):
      if not isinstance(described[name], dict):
        raise _validate.error(name, described[name], "an object")
    if not isinstance(described["conditioned"], bool):
      raise _validate.error(
        "conditioned", described["conditioned"], "True or False"
      )
    agent = described_file.decode(described["agent"])
    network = described_file.decode(described["network"])
    for name in _OF_MODULES:
      if name in network:
        raise _validate.error("network", name, "fields of a network")
    described_file.check_sizes(network, found.tensors)
    variables = found.tree
    scale = variables.pop(_SCALES, {})
    described_file.check_fields(scale, decision.Scales._fields)
    return Player(
      configuration.from_config_dict(ppo.Config, agent, name="agent"),
      described["conditioned"],
      configuration.from_config_dict(
        decision.DecisionModel, network, name="network"
      ),
      variables,
      decision.Scales(**scale),
    )
  except ValueError as error:
    raise ValueError(f"{path} is no whole player: {error}") from error
