"""Tests of the head, against golden values of SPR's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.spr import q_heads
from tests.spr import reference

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
NAMES = {
  "advantage_hidden": "adv_hidden",
  "advantage_out": "adv_out",
  "value_hidden": "val_hidden",
  "value_out": "val_out",
}


def test_dueling_noisy_head_equals_the_reference(x64, golden):
  arrays = golden("spr/dueling_noisy_head_C4_A4")
  x = jnp.asarray(reference.images(arrays["x"]))
  shape = x.shape[1:]
  params, noise = {"advantage_bias": arrays["advantage_bias"]}, {}
  for name, theirs in NAMES.items():
    latent = shape if name.endswith("hidden") else None
    parts = [arrays[f"{theirs}_{p}"] for p in ("w_mu", "w_sigma")]
    parts += [arrays[f"{theirs}_{p}"] for p in ("b_mu", "b_sigma")]
    params[name] = reference.noisy(parts, latent)
    normal = arrays[f"{theirs}_normal_in"]
    noise[name] = q_heads.scale_noise(
      jnp.asarray(normal if latent is None else reference.rows(normal, latent)),
      jnp.asarray(arrays[f"{theirs}_normal_out"]),
    )
  params = jax.tree.map(jnp.asarray, params)
  config = q_heads.Config(
    4, 100, hidden=8, gradient_scale=float(arrays["grad_scale"])
  )

  @jax.jit
  def run(params, x):
    noisy, vjp = jax.vjp(
      lambda p, x: q_heads.apply(config, p, x, noise), params, x
    )
    plain = q_heads.apply(config, params, x)
    projected, project_vjp = jax.vjp(
      lambda x: q_heads.project(config, params, x), x
    )
    grads = vjp(jnp.asarray(arrays["cotangent"]))
    return noisy, plain, projected, grads, project_vjp(projected)[0]

  noisy, plain, projected, (grads, grad_x), through = run(params, x)
  np.testing.assert_allclose(noisy, arrays["logits_noisy"], **TOLERANCE)
  np.testing.assert_allclose(plain, arrays["logits_mean"], **TOLERANCE)
  np.testing.assert_allclose(projected, arrays["ql1_projection"], **TOLERANCE)
  np.testing.assert_allclose(
    grad_x, reference.images(arrays["grad_x_noisy"]), **TOLERANCE
  )
  for name, theirs in NAMES.items():
    latent = shape if name.endswith("hidden") else None
    for leaf in ("w", "w_sigma"):
      key = f"{theirs}_grad_w_{'mu' if leaf == 'w' else 'sigma'}"
      if key in arrays:
        want = reference.dense(arrays[key], latent)
        # Of the largest layer, the golden file has the first outputs.
        got = grads[name][leaf][:, : want.shape[1]]
        np.testing.assert_allclose(got, want, **TOLERANCE)
  # The projection's gradient is not scaled.
  weights = [params[name]["w"] for name in ("value_hidden", "advantage_hidden")]
  np.testing.assert_allclose(
    through,
    (projected @ np.concatenate(weights, axis=1).T).reshape(x.shape),
    **TOLERANCE,
  )
  part = q_heads.projection_params(config, params)
  np.testing.assert_array_equal(q_heads.project(config, part, x), projected)


def test_values_are_expected_returns(x64, golden):
  arrays = golden("spr/categorical_utils")
  config = q_heads.Config(1, 4)
  got = q_heads.action_values(config, jnp.asarray(arrays["logits"]))
  np.testing.assert_allclose(
    got, arrays["from_categorical_limit10"], **TOLERANCE
  )


def test_other_heads_equal_their_definitions():
  latent = jax.random.normal(jax.random.key(1), (2, 3, 2, 2, 3))
  flat = latent.reshape(2, 3, 12)
  relu = jax.nn.relu

  def dense(layer, x):
    return x @ layer["w"] + layer["b"]

  options = {"noisy": False, "advantage_bias": False, "gradient_scale": 1.0}
  shared = q_heads.Config(4, 12, 5, "shared", atoms=None, **options)
  params = q_heads.init(jax.random.key(0), shared)
  assert set(params) == {"hidden", "advantage_out", "value_out"}
  assert set(params["hidden"]) == {"w", "b"}
  hidden = relu(dense(params["hidden"], flat))
  advantage = dense(params["advantage_out"], hidden)
  want = dense(params["value_out"], hidden) + advantage
  want -= advantage.mean(axis=-1, keepdims=True)
  got = q_heads.apply(shared, params, latent)
  # Float32, sums of a dozen terms in another order.
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
  assert q_heads.action_values(shared, got) is got
  np.testing.assert_allclose(
    q_heads.project(shared, params, latent),
    dense(params["hidden"], flat),
    rtol=1e-5,
    atol=1e-6,
  )
  plain = q_heads.Config(4, 12, 5, dueling=False, atoms=3, **options)
  params = q_heads.init(jax.random.key(0), plain)
  assert plain.projection_width == 5
  hidden = relu(dense(params["advantage_hidden"], flat))
  want = dense(params["advantage_out"], hidden).reshape(2, 3, 4, 3)
  got = q_heads.apply(plain, params, latent)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_initial_weights_and_noise_have_the_stated_scales():
  config = q_heads.Config(6, 3136)
  params = q_heads.init(jax.random.key(0), config)
  layer = params["value_hidden"]
  assert layer["w"].shape == (3136, 256)
  assert np.abs(layer["w"]).max() <= 1 / 56
  assert np.abs(layer["w"]).max() > 0.99 / 56
  np.testing.assert_allclose(layer["w_sigma"], 0.5 / 56, rtol=1e-6)
  np.testing.assert_allclose(layer["b_sigma"], 0.5 / 16, rtol=1e-6)
  config = q_heads.Config(6, 3136, bias_sigma="in", initializer="xavier")
  layer = q_heads.init(jax.random.key(0), config)["value_hidden"]
  np.testing.assert_allclose(layer["b_sigma"], 0.5 / 56, rtol=1e-6)
  assert np.abs(layer["b"]).max() > 0
  noise = q_heads.draw_noise(jax.random.key(1), config)
  assert set(noise) == set(config.sizes)
  f = noise["value_hidden"].inputs
  assert f.shape == (3136,)
  # f(x)^2 = |x|, whose mean over a normal is sqrt(2 / pi), here of 3136 draws
  # with a standard deviation of 0.6: within five standard errors.
  assert abs(jnp.square(f).mean() - np.sqrt(2 / np.pi)) < 5 * 0.6 / 56
  assert abs(jnp.sign(f).mean()) < 5 / 56


def test_bad_input_is_refused():
  with pytest.raises(ValueError, match="streams: got .*, expected one of"):
    q_heads.Config(4, 12, streams="both")
  with pytest.raises(ValueError, match="atoms: got 1, expected an integer"):
    q_heads.Config(4, 12, atoms=1)
  with pytest.raises(
    ValueError, match="v_min: got .*, expected a number below v_max"
  ):
    q_heads.Config(4, 12, v_min=10.0)
  config = q_heads.Config(4, 12, 5, noisy=False)
  params = q_heads.init(jax.random.key(0), config)
  with pytest.raises(ValueError, match="latent: got shape .*, expected shape"):
    q_heads.apply(config, params, jnp.zeros((2, 2, 2, 2)))
  assert q_heads.draw_noise(jax.random.key(0), config) is None
  with pytest.raises(ValueError, match="noise: got .*, expected None"):
    q_heads.apply(config, params, jnp.zeros((2, 2, 2, 3)), {})
