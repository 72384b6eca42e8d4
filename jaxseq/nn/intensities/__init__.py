"""Intensities of marked point processes, as recurrences over their events.

Each module is a model: pure functions like those of a mixer, but that an
element is an event, with its mark and the gap since the event before, and that
what is read out goes on in time between events:

    params = init(key, config)
    state = initial_state(config, params, batch_shape)
    states, state = apply(config, params, marks, gaps, state, reset)
    state = step(config, params, mark, gap, state, reset)
    rates = intensity(config, params, states, elapsed)    # (..., n, marks)
    top = bound(config, params, states, elapsed)          # (...)

`apply` returns the states after every event, with an axis of time behind those
of the batch, and that after the last. A model has `num_marks` marks, which its
intensities are of, and one more, number `num_marks`, which a sequence may begin
with. A reset puts the state back before an event, whose gap then counts from
the beginning of its own sequence.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.nn.intensities import attnhp as attnhp
  from jaxseq.nn.intensities import decays as decays
  from jaxseq.nn.intensities import nhp as nhp
  from jaxseq.nn.intensities import s2p2 as s2p2
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
