"""Environments of other libraries, by name: `envs.make("brax/ant")`.

    gymnasium/CartPole-v1               on the host, as a vector
    brax/ant
    craftax/Craftax-Classic-Symbolic-v1
    xminigrid/MiniGrid-EmptyRandom-5x5
    navix/Navix-Empty-5x5-v0
    popgym_arcade/CartPoleEasy
    jaxmarl/MPE_simple_spread_v3        one agent, or all as one

Each module has `make(name, **options)`, and imports its library when that is
called.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.envs.adapters import arcade_games as arcade_games
  from jaxseq.rl.envs.adapters import brax_tasks as brax_tasks
  from jaxseq.rl.envs.adapters import craftax_worlds as craftax_worlds
  from jaxseq.rl.envs.adapters import gymnasium_vectors as gymnasium_vectors
  from jaxseq.rl.envs.adapters import marl_views as marl_views
  from jaxseq.rl.envs.adapters import navix_grids as navix_grids
  from jaxseq.rl.envs.adapters import xland_grids as xland_grids
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
