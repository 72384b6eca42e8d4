"""Gradient reversal, against values of another implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq.dts import domain_adaptation

WEIGHTS = ("W1", "b1", "Wy", "by", "Wd", "bd")


def test_gradients_equal_the_reference_and_compile_once(x64, golden):
  arrays = golden("dts/grl")
  params = {key: jnp.asarray(arrays[key]) for key in WEIGHTS}
  traces = []

  @jax.jit
  def run(params, strength):
    traces.append(strength)

    def loss(params):
      hidden = jnp.tanh(arrays["x"] @ params["W1"] + params["b1"])
      behind = domain_adaptation.reverse(hidden, strength)
      logits = (
        hidden @ params["Wy"] + params["by"],
        behind @ params["Wd"] + params["bd"],
      )
      losses = [
        optax.softmax_cross_entropy_with_integer_labels(*pair).mean()
        for pair in zip(logits, (arrays["y"], arrays["d"]))
      ]
      return sum(losses), (logits, losses)

    return jax.grad(loss, has_aux=True)(params)

  grads, (logits, losses) = run(params, arrays["lam"])
  for name, got in zip("yd", logits):
    np.testing.assert_allclose(got, arrays[f"logits_{name}"], rtol=1e-10)
  for name, got in zip("yd", losses):
    np.testing.assert_allclose(got, arrays[f"loss_{name}"], rtol=1e-10)
  for key, got in grads.items():
    np.testing.assert_allclose(
      got, arrays[f"g_{key}"], rtol=1e-10, atol=1e-12, err_msg=key
    )

  # Another strength: no new program; other gradients behind the layer alone.
  others, _ = run(params, np.asarray(0.2))
  assert len(traces) == 1
  for key in ("Wy", "by", "Wd", "bd"):
    np.testing.assert_array_equal(others[key], grads[key])
  # The gradient is linear in the strength: that of the class is at 0.
  none, _ = run(params, np.asarray(0.0))
  for key in ("W1", "b1"):
    slope = (grads[key] - none[key]) / arrays["lam"]
    assert np.abs(slope).max() > 0.01
    np.testing.assert_allclose(others[key], none[key] + 0.2 * slope, rtol=1e-9)


def test_a_strength_may_be_a_python_number():
  for strength in (2, 2.0):
    grad = jax.grad(lambda x, s=strength: domain_adaptation.reverse(x, s))(3.0)
    assert grad == -2.0
  assert (
    domain_adaptation.reverse(jnp.ones((), jnp.bfloat16), 0.5).dtype
    == jnp.bfloat16
  )
