"""Regression: the published network, the likelihood, irregular times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import regression

S5 = nn.NetworkConfig(
  nn.StackConfig(
    "s5",
    mixer_options=(("ssm_size", 16), ("blocks", 8), ("dt_min", 0.01)),
    d_model=30,
    num_layers=4,
    prenorm=False,
  ),
  head_widths=(30,),
)
GRU = nn.NetworkConfig(nn.StackConfig("gru", d_model=6, num_layers=1))


def test_the_published_number_of_parameters():
  arm = regression.ArmConfig(S5, gaps="scale", image_size=24)
  model = regression.Regressor(arm, 2)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), jnp.zeros((1, 3, 576)), jnp.ones((1, 3))
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 15_820


def test_the_image_encoder_against_numpy():
  encoder = regression.ImageEncoder(8, 3, channels=2)
  x = jax.random.normal(jax.random.key(0), (2, 64))
  variables = jax.jit(encoder.init)(jax.random.key(1), x)
  params = jax.tree.map(np.asarray, variables["params"])

  def convolve(image, kernel, bias, stride):
    size, reach = kernel.shape[0], kernel.shape[0] // 2
    image = np.pad(image, ((reach, reach), (reach, reach), (0, 0)))
    out = np.zeros(
      ((image.shape[0] - size) // stride + 1,) * 2 + (kernel.shape[-1],)
    )
    for i in range(out.shape[0]):
      for j in range(out.shape[1]):
        a, b = i * stride, j * stride
        out[i, j] = np.einsum(
          "ijc,ijcd->d", image[a : a + size, b : b + size], kernel
        )
    return np.maximum(out + bias, 0)

  def pool(y):
    return np.max([y[i::2, j::2] for i in range(2) for j in range(2)], axis=0)

  expected = []
  for image in np.asarray(x).reshape(2, 8, 8, 1):
    y = pool(convolve(image, *_pair(params["conv_0"]), 1))
    y = pool(convolve(y, *_pair(params["conv_1"]), 2))
    kernel, bias = _pair(params["dense_0"])
    y = np.maximum(y.reshape(-1) @ kernel + bias, 0)
    kernel, bias = _pair(params["dense_1"])
    expected.append(y @ kernel + bias)
  # float32 against float64.
  np.testing.assert_allclose(
    jax.jit(encoder.apply)(variables, x), expected, rtol=1e-4, atol=1e-5
  )


def _pair(layer):
  return layer["kernel"].astype(float), layer["bias"].astype(float)


def test_the_likelihood_of_a_gaussian():
  mean, target = jnp.array([1.0, 2.0]), jnp.array([1.5, 0.0])
  variance = jnp.array([0.25, 4.0])
  expected = 0.5 * (np.log(0.25) + 1 + np.log(4) + 1)
  value = regression.negative_log_likelihood(mean, variance, target)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  exact = regression.negative_log_likelihood(mean, 0 * variance, mean)
  np.testing.assert_allclose(exact, np.log(1e-6), rtol=1e-6)


@pytest.mark.parametrize(
  "gaps", ["scale", "append", pytest.param("ignore", marks=pytest.mark.slow)]
)
def test_what_becomes_of_the_gaps(gaps):
  network = nn.NetworkConfig(
    nn.StackConfig(
      "s5", mixer_options=(("ssm_size", 4), ("blocks", 1)), num_layers=1
    )
  )
  arm = regression.ArmConfig(network, gaps=gaps)
  model = regression.Regressor(arm, 2)
  x = jax.random.normal(jax.random.key(0), (3, 5, 4))
  ones = jnp.ones((3, 5))
  variables = jax.jit(model.init)(jax.random.key(1), x, ones)
  apply = jax.jit(model.apply)
  mean, variance = apply(variables, x, ones)
  assert (variance > 0).all()
  other, _ = apply(variables, x, ones.at[:, 2].set(3.0))
  np.testing.assert_array_equal(mean[:, :2], other[:, :2])
  changed = jnp.abs(mean - other)[:, 2:].max()
  assert changed == 0 if gaps == "ignore" else changed > 1e-4


def test_evaluation():
  rng = np.random.default_rng(0)

  def part(count):
    return data.ArrayDataset(
      rng.normal(size=(count, 4, 3)).astype(np.float32),
      rng.normal(size=(count, 4, 2)).astype(np.float32),
      extras=data.Extras(gaps=rng.uniform(1, 3, (count, 4)).astype(np.float32)),
    )

  splits = data.Splits(part(6), None, part(5), data.Info("", "", ""))
  arm = regression.ArmConfig(GRU, batch_size=2)
  problem = regression.Problem(arm, splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  assert set(metrics) == {"mse", "test_loss"}
  test = splits.test
  mean, _ = jax.jit(regression.Regressor(arm, 2).apply)(
    variables, test.inputs, test.extras.gaps
  )
  np.testing.assert_allclose(
    metrics["mse"], np.mean((mean - test.targets) ** 2), rtol=1e-5
  )
  loss, _ = jax.jit(problem.loss)(variables, test, None, jax.random.key(0))
  np.testing.assert_allclose(loss, metrics["test_loss"], rtol=1e-5)
  with pytest.raises(ValueError, match="the data: got targets of shape .6"):
    regression.Problem(
      arm,
      splits._replace(train=splits.train._replace(targets=np.zeros(6, int))),
    )


def test_wrong_options():
  with pytest.raises(ValueError, match="gaps: got 'scale', expected 'append'"):
    regression.ArmConfig(GRU, gaps="scale")
  stack = nn.StackConfig.alternating("s5", "gru", d_model=6, num_layers=2)
  with pytest.raises(ValueError, match="'ignore' for the mixer 'gru', which"):
    regression.ArmConfig(nn.NetworkConfig(stack), gaps="scale")
  with pytest.raises(ValueError, match="image_size: got 12, expected a mult"):
    regression.ArmConfig(GRU, image_size=12)
