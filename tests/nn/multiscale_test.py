"""The quantizer at several scales: golden values, plain VQ, its matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import multiscale
from jaxseq.nn import quantizer

NAMES = ("scales_1_2_4", "scales_1_3_5_znorm")


def last(array):
  """Features with their axis at the end."""
  return np.moveaxis(array, -3, -1)


def model(data):
  """The quantizer of golden data, and its variables."""
  kernels = sorted(name for name in data if name.endswith("weight"))
  biases = sorted(name for name in data if name.endswith("bias"))
  codes, width = data["codebook"].shape
  config = multiscale.ScalesConfig(
    tuple(data["sizes"].tolist()),
    width,
    codes,
    residual_ratio=float(data["residual_ratio"]),
    convolutions=len(kernels),
    cosine=bool(data["znorm"]),
  )
  params = {
    "codebook": data["codebook"],
    # From (out, in, 3, 3).
    "kernel": np.stack([data[name].transpose(2, 3, 1, 0) for name in kernels]),
    "bias": np.stack([data[name] for name in biases]),
  }
  restarts = {
    "shift": np.zeros((codes, width)),
    "idle": np.zeros(codes, np.int32),
  }
  variables = {"params": params, "restarts": {"codebook": restarts}}
  return multiscale.MultiScaleQuantizer(config), variables


@pytest.mark.parametrize("name", NAMES)
def test_golden_values(golden, x64, name):
  data = {
    key: value.astype(float) if value.dtype == np.float32 else value
    for key, value in golden(f"var/{name}").items()
  }
  network, variables = model(data)
  features = jnp.asarray(last(data["features"]))

  def loss(variables, features):
    scales = network.apply(variables, features)
    return scales.loss, scales

  @jax.jit
  def run(variables, features):
    gradient = jax.value_and_grad(
      loss, argnums=(0, 1), has_aux=True, allow_int=True
    )
    (value, scales), grads = gradient(variables, features)
    sums = network.apply(variables, scales.codes, method="sums")
    inputs = [
      network.apply(variables, total, scale + 1, method="inputs")
      for scale, total in enumerate(sums[:-1])
    ]
    return value, scales, grads, sums, jnp.concatenate(inputs, axis=-2)

  value, scales, grads, sums, inputs = run(variables, features)
  np.testing.assert_array_equal(scales.codes, data["indices"])
  # The reference is float32 throughout.
  close = {"rtol": 1e-5, "atol": 1e-5}
  np.testing.assert_allclose(scales.sums, last(data["f_hat"]), **close)
  np.testing.assert_allclose(scales.output, last(data["embedded"]), **close)
  np.testing.assert_allclose(value, data["vq_loss"], rtol=1e-6)
  np.testing.assert_allclose(grads[1], last(data["grad_features"]), **close)
  book = grads[0]["params"]["codebook"]
  np.testing.assert_allclose(book, data["grad_codebook"], **close)
  np.testing.assert_allclose(sums, scales.sums, rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(inputs, data["var_input"], **close)
  config = network.config
  assert config.convolution_of_scale == tuple(data["phi_of_scale"].tolist())
  size = config.sizes[-1]
  for p in config.sizes:
    np.testing.assert_allclose(
      multiscale.upsampling(p, size), data[f"up_{p}"], atol=1e-6
    )
    np.testing.assert_allclose(
      multiscale.downsampling(size, p), data[f"down_{p}"], rtol=1e-6
    )


def test_one_scale_without_convolution_is_plain_quantisation():
  config = multiscale.ScalesConfig((3,), 4, 6, residual_ratio=0)
  network = multiscale.MultiScaleQuantizer(config)
  features = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
  variables = jax.jit(network.init)(jax.random.key(1), features)
  book = variables["params"]["codebook"]

  @jax.jit
  def run(features):
    scales = network.apply(variables, features)
    return scales.output.sum(), scales

  gradient, scales = jax.grad(run, has_aux=True)(features)
  codes = quantizer.nearest(features.reshape(2, 9, 4), book)
  np.testing.assert_array_equal(scales.codes, codes)
  np.testing.assert_allclose(
    scales.output, book[codes].reshape(features.shape), atol=1e-6
  )
  error = np.square(scales.output - features).mean()
  np.testing.assert_allclose(scales.loss, 1.25 * error, rtol=1e-5)
  np.testing.assert_array_equal(gradient, np.ones(features.shape))


def test_what_is_refused():
  for sizes in ((), (2, 2), (0, 1)):
    with pytest.raises(ValueError, match="sizes: got"):
      multiscale.ScalesConfig(sizes)
  with pytest.raises(ValueError, match=r"\(4, 2, 1\), .* that ascend"):
    multiscale.ScalesConfig((4, 2, 1))
  network = multiscale.MultiScaleQuantizer(multiscale.ScalesConfig((1, 2)))
  with pytest.raises(ValueError, match="features: got shape"):
    network.init(jax.random.key(0), jnp.zeros((1, 4, 4, 8)))
