"""Intensities against the released networks, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.events.rate_models import cases

EPSILON = 2.0**-23
NAMES = (
  "nhp_trapezoid",
  "nhp_mean",
  "attnhp_2heads",
  "attnhp_1head_ln",
  "s2p2_impulse_prenorm_glu",
  "s2p2_backward_relative",
  "s2p2_forward_postnorm",
  "s2p2_real_relative",
)
QUICK = ("nhp_trapezoid", "s2p2_backward_relative")


def _between(states):
  """States after all events but the last; memories are shared."""

  def leaf(x):
    return x if x.shape[1] == 1 else x[:, :-1]

  return jax.tree.map(leaf, states)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in NAMES
  ],
)
def test_states_intensities_and_likelihood(name, golden):
  data = golden(f"intensities/{name}")
  module, config, params = cases.model(name, data)
  marks, gaps = map(jnp.asarray, (data["marks"], data["dt"]))
  apply = jax.jit(functools.partial(module.apply, config))
  intensity = jax.jit(functools.partial(module.intensity, config))
  states, _ = apply(params, marks, gaps)
  if name.startswith("attnhp"):
    # The released one has absolute times, and the first is not at 0.
    states = states._replace(time=jnp.asarray(data["time"]))
    shifted = gaps.at[:, 0].set(data["time"][:, 0])
    states, _ = apply(params, marks, shifted)
  real = np.asarray(data["mask"])
  inner = real[:, 1:]

  def check(value, expected, mask):
    # Both sides are float64, and sums are taken in other orders.
    np.testing.assert_allclose(
      np.asarray(value)[mask], np.asarray(expected)[mask], 1e-10, 1e-12
    )

  if name.startswith("nhp"):
    check(np.concatenate(states, -1), data["right_state"], real)
  if name.startswith("s2p2"):
    check(states.x, data["right_x"], real)
    for layer in range(1, int(data["layers"])):
      check(states.u[..., layer, :], data[f"right_u/{layer}"], real)
    gap = jnp.broadcast_to(data["query_gap"], (*gaps.shape, 6))
    rates = intensity(params, states, gap)
    check(rates, data["query_intensity"], real)
  states = _between(states)

  def rates(elapsed):
    return np.asarray(intensity(params, states, elapsed))

  at_events = rates(gaps[:, 1:, None])[..., 0, :]
  check(at_events, data["intensity"], inner)
  if name.startswith("attnhp"):
    points = jnp.asarray(data["sample_time"]) - data["time"][:, :-1, None]
  else:
    points = jnp.asarray(data["sample_dt"])
  between = rates(points)
  check(between, data["intensity_samples"], inner)
  total = (between + EPSILON).sum(-1)
  if data.get("use_mc", name in ("attnhp_1head_ln",)):
    integral = total.mean(-1)
  else:
    integral = 0.5 * (total[..., 1:] + total[..., :-1]).mean(-1)
  check(integral * gaps[:, 1:], data["compensator"], inner)
  if "compensator_exact" in data:
    node, weight = np.polynomial.legendre.leggauss(64)
    total = rates(gaps[:, 1:, None] * 0.5 * (node + 1)).sum(-1)
    exact = total @ weight * 0.5 * gaps[:, 1:]
    check(exact, data["compensator_exact"], inner)
