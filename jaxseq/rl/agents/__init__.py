"""The agents, each a module of pure functions."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.agents import common as common
  from jaxseq.rl.agents import off_policy as off_policy
  from jaxseq.rl.agents import on_policy as on_policy
  from jaxseq.rl.agents import on_policy_agent as on_policy_agent
  from jaxseq.rl.agents import ppo as ppo
  from jaxseq.rl.agents import pqn as pqn
  from jaxseq.rl.agents import r2d2 as r2d2
  from jaxseq.rl.agents import sac as sac
  from jaxseq.rl.agents import value_losses as value_losses
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
