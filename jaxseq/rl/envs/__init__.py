"""Environments by name: POPGym's, MinAtar's, Atari's and others.

All have the interface of gymnax 1.0:

    env, params = envs.make("RepeatPreviousEasy")
    observation, state = env.reset(key, params)
    observation, state, reward, terminated, truncated, info = env.step(
      key, state, action, params
    )

`register` adds your own environment to `make`, which also accepts the ids of
gymnax; `register_with_gymnax` adds the environments here to `gymnax.make`.
gymnax is imported when it is first needed: its import puts arrays on a device,
and the imports of jaxseq do not.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.envs import action_masks as action_masks
  from jaxseq.rl.envs import adapters as adapters
  from jaxseq.rl.envs import atari as atari
  from jaxseq.rl.envs import bandit as bandit
  from jaxseq.rl.envs import base as base
  from jaxseq.rl.envs import battleship as battleship
  from jaxseq.rl.envs import blank as blank
  from jaxseq.rl.envs import card_game as card_game
  from jaxseq.rl.envs import card_games as card_games
  from jaxseq.rl.envs import cartpole as cartpole
  from jaxseq.rl.envs import concentration as concentration
  from jaxseq.rl.envs import dark_room as dark_room
  from jaxseq.rl.envs import for_gymnax as for_gymnax
  from jaxseq.rl.envs import foreign as foreign
  from jaxseq.rl.envs import labyrinth as labyrinth
  from jaxseq.rl.envs import minatar as minatar
  from jaxseq.rl.envs import minesweeper as minesweeper
  from jaxseq.rl.envs import pendulum as pendulum
  from jaxseq.rl.envs import protocol as protocol
  from jaxseq.rl.envs import randomness as randomness
  from jaxseq.rl.envs import registry as registry
  from jaxseq.rl.envs import spaces as spaces
  from jaxseq.rl.envs import teams as teams
  from jaxseq.rl.envs.protocol import Env as Env
  from jaxseq.rl.envs.registry import POPGYM as POPGYM
  from jaxseq.rl.envs.registry import atari_id as atari_id
  from jaxseq.rl.envs.registry import make as make
  from jaxseq.rl.envs.registry import names as names
  from jaxseq.rl.envs.registry import register as register
  from jaxseq.rl.envs.registry import (
    register_with_gymnax as register_with_gymnax,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
