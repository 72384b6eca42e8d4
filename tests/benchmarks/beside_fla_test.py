"""Our side of the benchmark beside flash-linear-attention, without torch."""

import types

import jax
import numpy as np
import pytest

from benchmarks import beside_fla
from benchmarks import fla_mixers

_TIME = 64


@pytest.mark.parametrize("mixer", beside_fla.MIXERS)
def test_both_forms_return_outputs_of_every_element(mixer):
  x = types.SimpleNamespace(**fla_mixers.draw(_TIME, width=16))
  function = getattr(fla_mixers, mixer)
  ours, steps = (
    jax.eval_shape(lambda form=form: function(form, x))
    for form in ("ours", "steps")
  )
  assert ours.shape == steps.shape
  assert ours.shape[:2] == (1, _TIME)
  assert np.prod(ours.shape[2:]) == 16 * (
    fla_mixers.QUERIES if mixer == "nsa" else fla_mixers.HEADS
  )


def test_every_array_of_the_peers_is_drawn():
  arrays = fla_mixers.draw(_TIME)
  for _, _, _, names, _ in beside_fla.PEERS:
    assert set(names.split()) <= set(arrays)
  assert all(x.dtype == np.float32 for x in arrays.values())


@pytest.mark.slow
@pytest.mark.parametrize("mixer", beside_fla.MIXERS)
def test_steps_agree_with_the_operation(mixer):
  x = fla_mixers.draw(_TIME)
  ours, steps = (
    beside_fla.make_ours(mixer, form)(x) for form in ("ours", "steps")
  )
  # float32; conjugate gradients stop at 2e-4.
  size = np.abs(ours).max()
  np.testing.assert_allclose(ours / size, steps / size, rtol=0, atol=3e-4)
