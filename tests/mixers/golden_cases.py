"""What the tests beside the original implementations have in common."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# The tolerances that the golden sets give for float64, relative to the largest
# value: outputs and gradients.
FORWARD, GRADIENT = 1e-9, 1e-8


def close(actual, expected, tolerance):
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
  )


def subtree(data, prefix):
  return {
    key.removeprefix(prefix): value
    for key, value in data.items()
    if key.startswith(prefix)
  }


def stored(x):
  """Complex arrays as real and imaginary part."""
  if np.iscomplexobj(x):
    x = np.stack([x.real, x.imag], -1)
  return jnp.asarray(x)


def renamed(data, prefix, names):
  """Parameters, or their gradients, by our names of state-spaces/mamba's."""
  params = {}
  for name, original in names.items():
    value = data[prefix + original]
    if original == "conv1d.weight":
      value = value[:, 0]
    params[name] = value.T if original.endswith("weight") else value
  return params


def check_block(apply, params, data, expected):
  """Outputs, and the gradients of sum(y * w), of `apply(params, x)`."""

  def loss(params, x):
    y, _ = apply(params, x)
    return jnp.sum(y * data["w"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(grad_x, data["grad/x"], GRADIENT)
  assert grads.keys() == expected.keys()
  for name in grads:
    close(grads[name], expected[name], GRADIENT)


def check_layer(module, config, params, data, expected, **options):
  """The layer's outputs at once and by steps, and gradients; its last state.

  `params` and `expected` are the original's parameters and the gradients of
  sum(y * w), by our names.
  """

  def loss(params, x):
    y, state = module.apply(config, params, x, **options)
    return jnp.sum(y * data["w"]), (y, state)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, (y, last)), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], FORWARD)
  close(grad_x, data["grad_x"], GRADIENT)
  assert grads.keys() == expected.keys()
  for name in grads:
    close(grads[name], expected[name], GRADIENT)
  step = jax.jit(functools.partial(module.step, config, params, **options))
  batch, time = data["x"].shape[:2]
  state = module.initial_state(config, (batch,), jnp.float64)
  for t in range(time):
    y, state = step(data["x"][:, t], state)
    close(y, data["y"][:, t], FORWARD)
  return last
