"""Intensities of marked point processes, as recurrences over their events.

Each module is a model: pure functions like those of a mixer, except that an
element is an event, with its mark and the gap since the previous event, and
that the outputs continue in time between events:

    params = init(key, config)
    state = initial_state(config, params, batch_shape)
    states, state = apply(config, params, marks, gaps, state, reset)
    state = step(config, params, mark, gap, state, reset)
    rates = intensity(config, params, states, elapsed)    # (..., n, marks)
    top = bound(config, params, states, elapsed)          # (...)

`apply` returns the states after every event, with a time axis after the batch
axes, and the state after the last event. A model has `num_marks` marks, each
with an intensity, and one more, number `num_marks`, with which a sequence may
begin. A reset resets the state before an event, whose gap then counts from the
start of its own sequence.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.events.rate_models import attnhp as attnhp
  from jaxseq.tasks.events.rate_models import decays as decays
  from jaxseq.tasks.events.rate_models import nhp as nhp
  from jaxseq.tasks.events.rate_models import prompt_pool as prompt_pool
  from jaxseq.tasks.events.rate_models import s2p2 as s2p2
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
