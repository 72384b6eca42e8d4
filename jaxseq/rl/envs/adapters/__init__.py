"""Environments of other libraries, by name: `envs.make("brax/ant")`.

    gymnasium/CartPole-v1               on the host, as a vector
    brax/ant
    craftax/Craftax-Classic-Symbolic-v1
    xminigrid/MiniGrid-EmptyRandom-5x5
    navix/Navix-Empty-5x5-v0
    popgym_arcade/CartPoleEasy
    jaxmarl/MPE_simple_spread_v3        one agent, or a joint player, or a team

Each is a function of the name and options, which imports its library when
called.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.envs.adapters import gymnasium_vectors as gymnasium_vectors
  from jaxseq.rl.envs.adapters import jaxmarl_teams as jaxmarl_teams
  from jaxseq.rl.envs.adapters import libraries as libraries
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
