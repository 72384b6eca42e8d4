"""Targets and losses of reinforcement learning: pure functions of arrays."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.losses import advantages as advantages
  from jaxseq.rl.losses import categorical as categorical
  from jaxseq.rl.losses import exploration as exploration
  from jaxseq.rl.losses import histogram as histogram
  from jaxseq.rl.losses import policy as policy
  from jaxseq.rl.losses import priorities as priorities
  from jaxseq.rl.losses import soft as soft
  from jaxseq.rl.losses import td as td
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
