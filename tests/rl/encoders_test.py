"""Tests of the encoders, against golden values of SPR's own code."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import encoders
from jaxseq.rl import layers
from tests.spr import reference

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def test_renormalize_equals_the_reference(x64, golden):
  arrays = golden("spr/renormalize_B3")
  x = jnp.asarray(reference.images(arrays["x"]))
  cotangent = jnp.asarray(reference.images(arrays["cotangent"]))
  y, vjp = jax.vjp(lambda x: layers.renormalize(x, 0.0), x)
  np.testing.assert_allclose(y, reference.images(arrays["y"]), **TOLERANCE)
  np.testing.assert_allclose(
    vjp(cotangent)[0], reference.images(arrays["grad_x"]), **TOLERANCE
  )


def test_conv_encoder_equals_the_reference(x64, golden):
  arrays = golden("spr/encoder_c8")
  params = {
    f"conv_{i}": reference.conv(
      arrays[f"w_conv_{n}_weight"], arrays[f"w_conv_{n}_bias"]
    )
    for i, n in enumerate((0, 2, 4))
  }
  params = jax.tree.map(jnp.asarray, params)
  image = jnp.asarray(reference.images(arrays["image_u8"]))
  config = encoders.Config(channels=(8, 16, 16), epsilon=0.0)
  raw = encoders.Config(channels=(8, 16, 16), renormalize=False)
  assert encoders.latent_shape(config) == (7, 7, 16)

  @jax.jit
  def run(params, image):
    latent = encoders.apply(raw, params, image)
    y, vjp = jax.vjp(
      lambda p, x: encoders.apply(config, p, x),
      params,
      image.astype(jnp.float64) / 255,
    )
    return latent, y, vjp(jnp.asarray(reference.images(arrays["cotangent"])))

  latent, y, (grads, grad_image) = run(params, image)
  for got, name in ((latent, "latent"), (y, "latent_renormalized")):
    np.testing.assert_allclose(got, reference.images(arrays[name]), **TOLERANCE)
  np.testing.assert_allclose(
    grad_image.mean(axis=(1, 2)), arrays["grad_image_mean"], **TOLERANCE
  )
  for i, n in enumerate((0, 2, 4)):
    expected = arrays[f"g_conv_{n}_weight"]
    got = grads[f"conv_{i}"]["w"].transpose(3, 2, 0, 1)
    # Of the larger layers, the golden file has the first output channels.
    np.testing.assert_allclose(got[: len(expected)], expected, **TOLERANCE)
    np.testing.assert_allclose(
      grads[f"conv_{i}"]["b"], arrays[f"g_conv_{n}_bias"], **TOLERANCE
    )


def test_latent_shapes_are_those_of_the_published_networks():
  impala = encoders.Config(kind="impala", channels=(16, 32, 32), width=4)
  cases = {
    encoders.Config(): (7, 7, 64),
    encoders.Config(padding="SAME"): (11, 11, 64),
    impala: (11, 11, 128),
  }
  for config, shape in cases.items():
    assert encoders.latent_shape(config) == shape
    params = jax.eval_shape(
      lambda c=config: encoders.init(jax.random.key(0), c)
    )
    image = jax.ShapeDtypeStruct((2, 3, 84, 84, 4), jnp.uint8)
    latent = jax.eval_shape(
      lambda p, x, c=config: encoders.apply(c, p, x), params, image
    )
    assert latent.shape == (2, 3, *shape)
    assert latent.dtype == jnp.float32


def test_impala_equals_its_definition(x64):
  config = encoders.Config(
    kind="impala",
    image_shape=(9, 10, 2),
    channels=(3, 2),
    width=2,
    blocks=1,
    renormalize=False,
    initializer="xavier",
  )
  params = jax.jit(encoders.init, static_argnums=1)(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  rng = np.random.default_rng(0)
  image = rng.normal(size=(9, 10, 2))

  def conv(layer, x):
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((h, w, layer["b"].size)) + layer["b"]
    for i in range(3):
      for j in range(3):
        out += padded[i : i + h, j : j + w] @ layer["w"][i, j]
    return out

  def pool(x):
    # SAME: of an odd length one row is added on both sides, of an even one
    # behind it alone.
    pads = [(n % 2, 1) for n in x.shape[:2]]
    padded = np.pad(x, (*pads, (0, 0)), constant_values=-np.inf)
    h, w = -(-x.shape[0] // 2), -(-x.shape[1] // 2)
    rows = [padded[2 * i : 2 * i + 3].max(0) for i in range(h)]
    rows = np.array(rows)
    columns = [rows[:, 2 * j : 2 * j + 3].max(1) for j in range(w)]
    return np.stack(columns, axis=1)

  x = image
  for i in range(2):
    stage = params[f"stage_{i}"]
    x = pool(conv(stage["in"], x))
    y = conv(stage["block_0_0"], np.maximum(x, 0))
    x = x + conv(stage["block_0_1"], np.maximum(y, 0))

  @jax.jit
  def run(params, image):
    def total(params):
      y = encoders.apply(config, params, image)
      return y.sum(), y

    return jax.value_and_grad(total, has_aux=True)(params)

  (_, got), grads = run(params, image)
  assert got.shape == encoders.latent_shape(config) == (3, 3, 4)
  np.testing.assert_allclose(got, np.maximum(x, 0), rtol=1e-10, atol=1e-12)
  # Of the last convolution's biases, each counts where the output is positive.
  np.testing.assert_allclose(
    grads["stage_1"]["block_0_1"]["b"], (x > 0).sum(axis=(0, 1)), rtol=1e-10
  )
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  assert np.abs(grads["stage_0"]["in"]["w"]).max() > 0


def test_dropout_keeps_the_mean_and_is_off_without_a_key():
  small = {"image_shape": (6, 6, 1), "channels": (64,), "kernels": (3,)}
  small |= {"strides": (1,), "renormalize": False}
  config = encoders.Config(dropout=0.5, **small)
  params = jax.jit(encoders.init, static_argnums=1)(jax.random.key(0), config)
  image = jax.random.uniform(jax.random.key(1), (256, 6, 6, 1))
  apply = jax.jit(encoders.apply, static_argnums=0)
  plain = apply(encoders.Config(**small), params, image)
  off = apply(config, params, image)
  on = apply(config, params, image, jax.random.key(2))
  np.testing.assert_array_equal(off, plain)
  live = plain > 0
  np.testing.assert_allclose(
    np.asarray(on)[live & (on != 0)],
    2 * np.asarray(plain)[live & (on != 0)],
    rtol=1e-6,
  )
  # Half a million elements or so are kept or dropped: within 5 deviations.
  share = (on[live] != 0).mean()
  assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(live.sum())


def test_a_dead_latent_is_no_nan_with_an_epsilon():
  dead = jnp.zeros((1, 3, 3, 2))
  assert np.isnan(layers.renormalize(dead, 0.0)).all()
  grad = jax.grad(lambda x: layers.renormalize(x, 1e-5).sum())(dead)
  assert np.isfinite(layers.renormalize(dead, 1e-5)).all()
  assert np.isfinite(grad).all()


def test_convolutions_in_bfloat16_stay_near():
  config = encoders.Config(
    image_shape=(24, 24, 2), channels=(8, 8), kernels=(4, 3), strides=(2, 1)
  )
  half = dataclasses.replace(config, dtype="bfloat16")
  params = jax.jit(encoders.init, static_argnums=1)(jax.random.key(0), config)
  image = jax.random.bits(jax.random.key(1), (2, 24, 24, 2), jnp.uint8)
  apply = jax.jit(encoders.apply, static_argnums=0)
  full, rounded = (apply(c, params, image) for c in (config, half))
  assert rounded.dtype == jnp.float32
  # Latents are in [0, 1]; bfloat16 keeps 8 bits.
  np.testing.assert_allclose(rounded, full, atol=0.03)
  assert not np.array_equal(rounded, full)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"kind": "resnet"}, "kind: got .*, expected one of"),
    ({"padding": "same"}, "padding: got 'same', expected one of"),
    ({"dropout": 1.0}, "dropout: got 1.0, expected"),
    ({"strides": (4, 2)}, "expected as many of each"),
    ({"image_shape": (10, 10, 4)}, "image_shape: got .* expected room for"),
    ({"kind": "impala", "dropout": 0.5}, "dropout: got 0.5, expected 0"),
    ({"width": 0}, "width: got 0"),
  ],
)
def test_bad_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    encoders.Config(**options)


def test_images_of_another_shape_are_refused():
  config = encoders.Config()
  params = jax.eval_shape(lambda: encoders.init(jax.random.key(0), config))
  with pytest.raises(ValueError, match="image: got shape"):
    encoders.apply(config, params, jnp.zeros((2, 4, 84, 84), jnp.uint8))


def test_vectors_become_an_image_of_one_pixel():
  config = encoders.Config(kind="mlp", image_shape=(5,), channels=(4, 3))
  assert encoders.latent_shape(config) == (1, 1, 3)
  params = encoders.init(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (2, 6, 5))
  latent = encoders.apply(config, params, x)
  assert latent.shape == (2, 6, 1, 1, 3)
  for i in range(2):
    layer = params[f"dense_{i}"]
    x = jax.nn.relu(x @ layer["w"] + layer["b"])
  low, high = (f(x, axis=-1, keepdims=True) for f in (jnp.min, jnp.max))
  expected = (x - low) / (high - low + config.epsilon)
  np.testing.assert_allclose(latent[:, :, 0, 0], expected, rtol=1e-5)
  with pytest.raises(ValueError, match="image_shape: got .*, expected 1 axes"):
    encoders.Config(kind="mlp")
  suited = encoders.suited((5,))
  encoders.Config(image_shape=(5,), **suited)
