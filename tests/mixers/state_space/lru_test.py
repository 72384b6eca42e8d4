"""The LRU against minimal-LRU (float64), and its initial eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import lru
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree


def test_golden(x64, golden):
  """Outputs, and the gradients of sum(y * w)."""
  del x64
  data = golden("rglru/lru")
  params = subtree(data, "param/")
  states, width = params["B_re"].shape
  config = lru.Config(width, d_state=states)

  def loss(params, x):
    y, _ = lru.apply(config, params, x)
    return jnp.sum(y * data["w"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(grad_x, data["grad_x"], GRADIENT)
  for name, expected in subtree(data, "grad_param/").items():
    close(grads[name], expected, GRADIENT)


def test_eigenvalues_at_the_start():
  config = lru.Config(256, r_min=0.8, r_max=0.9, max_phase=0.1)
  params = lru.init(jax.random.key(0), config)
  size = np.exp(-np.exp(np.asarray(params["nu_log"], np.float64)))
  # Drawn between these, with the rounding of two logarithms in float32.
  assert 0.7999 < size.min()
  assert size.max() < 0.9001
  assert np.exp(np.asarray(params["theta_log"])).max() < 0.1
  scale = np.exp(np.asarray(params["gamma_log"], np.float64))
  np.testing.assert_allclose(scale, np.sqrt(1 - size**2), rtol=1e-5)


def test_the_ring_is_no_wider_than_one():
  with pytest.raises(ValueError, match="r_min: got 0.9, expected 0 <= r_min <"):
    lru.Config(4, r_min=0.9, r_max=0.8)
