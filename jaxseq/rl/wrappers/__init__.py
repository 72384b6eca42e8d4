"""Wrappers around environments with the interface of gymnax 1.0.

A wrapper is hashable if its environment is, works under `jit`, `vmap` and
`scan`, and forwards everything that it does not change to the environment.
The environment resets itself when an episode ends, so a wrapper receives two
observations then, the last of one episode in `info["final_observation"]`
and the first of the next, and has to handle both.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.wrappers import agents as agents
  from jaxseq.rl.wrappers import base as base
  from jaxseq.rl.wrappers import checked as checked
  from jaxseq.rl.wrappers import history as history
  from jaxseq.rl.wrappers import statistics as statistics
  from jaxseq.rl.wrappers import views as views
  from jaxseq.rl.wrappers.agents import AgentHistory as AgentHistory
  from jaxseq.rl.wrappers.base import Physics as Physics
  from jaxseq.rl.wrappers.base import Wrapper as Wrapper
  from jaxseq.rl.wrappers.base import innermost as innermost
  from jaxseq.rl.wrappers.base import innermost_state as innermost_state
  from jaxseq.rl.wrappers.base import select as select
  from jaxseq.rl.wrappers.checked import CheckedMasks as CheckedMasks
  from jaxseq.rl.wrappers.history import FlattenHistory as FlattenHistory
  from jaxseq.rl.wrappers.history import FrameStack as FrameStack
  from jaxseq.rl.wrappers.history import FrameStackState as FrameStackState
  from jaxseq.rl.wrappers.history import ImageHistory as ImageHistory
  from jaxseq.rl.wrappers.history import ImageObservation as ImageObservation
  from jaxseq.rl.wrappers.history import flat as flat
  from jaxseq.rl.wrappers.history import images as images
  from jaxseq.rl.wrappers.statistics import (
    EpisodeStatistics as EpisodeStatistics,
  )
  from jaxseq.rl.wrappers.statistics import StatisticsState as StatisticsState
  from jaxseq.rl.wrappers.views import Delay as Delay
  from jaxseq.rl.wrappers.views import DelayState as DelayState
  from jaxseq.rl.wrappers.views import Dropped as Dropped
  from jaxseq.rl.wrappers.views import Flicker as Flicker
  from jaxseq.rl.wrappers.views import Noise as Noise
  from jaxseq.rl.wrappers.views import Shown as Shown
  from jaxseq.rl.wrappers.views import View as View
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
