"""Tests of the transition model, against golden values of SPR's own code."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.spr import conv_transition
from tests.spr import reference

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def load(arrays, prefix):
  tensors = {
    name.removeprefix(prefix + "_network_")
    .replace("_net_0_", ".net.0.")
    .replace("2_", "2."): value
    for name, value in arrays.items()
    if name.startswith(prefix + "_network_")
  }
  return jax.tree.map(jnp.asarray, reference.transition(tensors, ""))


@pytest.mark.parametrize(
  "name", ["C8_A4_bn", pytest.param("C6_A3_none", marks=pytest.mark.slow)]
)
def test_rollout_equals_the_reference(x64, golden, name):
  arrays = golden(f"spr/transition_{name}")
  channels, actions = int(name[1]), int(name[4])
  config = conv_transition.Config(
    actions,
    channels,
    norm="batch" if name.endswith("bn") else "none",
    norm_epsilon=float(arrays["bn_eps"]),
    residual=bool(arrays["residual"]),
    renormalize=bool(arrays["renormalize"]),
    epsilon=0.0,
  )
  params = load(arrays, "w")
  x0 = jnp.asarray(reference.images(arrays["x0"]))
  action = jnp.asarray(arrays["actions"]).T
  cotangent = jnp.asarray(reference.images(arrays["cotangent"]))

  @jax.jit
  def run(params, x0):
    def rollout(params, x0):
      latents = conv_transition.apply(config, params, x0, action)
      # The golden file has time first.
      return jnp.swapaxes(latents, 0, 1)

    latents, vjp = jax.vjp(rollout, params, x0)
    return latents, vjp(cotangent)

  latents, (grads, grad_x0) = run(params, x0)
  expected = reference.images(arrays["latents"])
  # With batch norm, the golden file has the first channels.
  np.testing.assert_allclose(
    latents[..., : expected.shape[-1]], expected, **TOLERANCE
  )
  np.testing.assert_allclose(
    grad_x0, reference.images(arrays["grad_x0"]), **TOLERANCE
  )
  jax.tree.map(
    lambda got, want: np.testing.assert_allclose(got, want, **TOLERANCE),
    grads,
    load(arrays, "g"),
  )


@pytest.mark.parametrize(
  "norm", ["batch", pytest.param("none", marks=pytest.mark.slow)]
)
def test_a_loop_equals_the_unrolled_rollout(x64, norm):
  config = conv_transition.Config(3, 4, hidden=5, norm=norm, residual=True)
  loop = dataclasses.replace(config, unroll=False)
  params = jax.jit(conv_transition.init, static_argnums=1)(
    jax.random.key(0), config
  )
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  latent = jax.random.uniform(jax.random.key(1), (2, 4, 3, 4))
  action = jnp.array([[0, 1, 2], [2, 1, 0]])
  outs = [
    jax.jit(lambda p, z, a, c=c: conv_transition.apply(c, p, z, a))(
      params, latent, action
    )
    for c in (config, loop)
  ]
  # Only the order of the sums differs.
  np.testing.assert_allclose(*outs, rtol=1e-12, atol=1e-13)
  assert outs[0].shape == (2, 3, 4, 3, 4)


def test_parameters_have_the_stated_shapes():
  params = conv_transition.init(jax.random.key(0), conv_transition.Config(6))
  shapes = jax.tree.map(jnp.shape, params)
  assert shapes == {
    "conv_in": {"w": (3, 3, 70, 64), "b": (64,)},
    "conv_out": {"w": (3, 3, 64, 64), "b": (64,)},
    "norm": {"scale": (64,), "bias": (64,)},
  }
  assert "norm" not in conv_transition.init(
    jax.random.key(0), conv_transition.Config(6, norm="none")
  )


def test_bad_input_is_refused():
  with pytest.raises(ValueError, match="norm: got 'layer', expected one of"):
    conv_transition.Config(3, norm="layer")
  with pytest.raises(
    ValueError, match="num_actions: got 0, expected an integer"
  ):
    conv_transition.Config(0)
  config = conv_transition.Config(3, 4)
  params = conv_transition.init(jax.random.key(0), config)
  latent = jnp.zeros((2, 3, 3, 4))
  action = jnp.zeros((2, 1), jnp.int32)
  with pytest.raises(ValueError, match="latent: got shape .*, expected shape"):
    conv_transition.apply(config, params, latent[..., :3], action)
  with pytest.raises(ValueError, match="action: got shape"):
    conv_transition.apply(config, params, latent, action[0])
  with pytest.raises(ValueError, match="one for each latent"):
    conv_transition.apply(config, params, latent, action[:1])
