"""The benchmark of streaming measures what it says."""

import numpy as np
import pytest

from benchmarks import streaming
from jaxseq import mixers


def _bytes(name, context):
  *_, state = streaming.prepare(name, context, rows=2, d_model=4)
  return streaming.state_bytes(state)


@pytest.mark.slow
@pytest.mark.parametrize("name", mixers.names())
def test_only_attention_remembers_more_of_a_longer_context(name, monkeypatch):
  # The longer context is read in two pieces.
  monkeypatch.setattr(streaming, "_PIECE", 3)
  short, long = _bytes(name, 3), _bytes(name, 6)
  if name == "attention":
    assert long > 1.5 * short
  else:
    assert long == short > 0


def test_a_step_takes_time():
  *bound, state = streaming.prepare("gru", 2, rows=1, d_model=4)
  x = np.zeros((5, 1, 4), np.float32)
  seconds = streaming.seconds_per_step(*bound, state, x, repeats=1)
  assert 0 < seconds < 60
