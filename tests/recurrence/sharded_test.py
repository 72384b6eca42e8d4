"""The recurrences with time split over devices, against those on one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.recurrence import sharded_cases as cases

pytestmark = pytest.mark.devices

# One for each recurrence; the others are variants.
_QUICK = (
  "linear",
  "lti",
  "siso_matrix",
  "selective",
  "outer_heads",
  "softmax_outer_sink",
)


def _values_and_gradients(function, timed, fixed, reset, seed=2):
  """Outputs, final state, and the gradients from random cotangents on both."""

  @jax.jit
  def run(timed, fixed):
    out, pull = jax.vjp(lambda *args: function(*args, reset), timed, fixed)
    rng = np.random.default_rng(seed)
    cotangents = jax.tree.map(
      lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), out
    )
    return out, pull(cotangents)

  return run(timed, fixed)


def _compare(name, devices, exchange, dtype, tolerance, length=4):
  time = devices * length
  reset = jnp.asarray(cases.masks(time, devices))
  case = cases.make(name, len(reset), time, dtype)
  arguments = case.timed, case.fixed, reset
  got = _values_and_gradients(
    cases.run(case, cases.mesh_of(devices), exchange), *arguments
  )
  want = _values_and_gradients(cases.run(case), *arguments)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(
      x, y, rtol=tolerance, atol=tolerance * max(1, np.max(np.abs(y)))
    ),
    got,
    want,
  )


# The same sums in another order: a few units of the last place of float64.
@pytest.mark.parametrize("name", _QUICK)
@pytest.mark.usefixtures("x64")
def test_values_and_gradients_are_those_of_one_device(name):
  _compare(name, 4, "gather", np.float64, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["gather", "ppermute"])
@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("name", cases.NAMES)
@pytest.mark.usefixtures("x64")
def test_any_number_of_devices(name, devices, exchange):
  _compare(name, devices, exchange, np.float64, 1e-12)
