import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn


def _x(*shape):
  return jax.random.normal(jax.random.key(5), (*shape, 8))


def _init(head, *arguments):
  return jax.jit(head.init)(jax.random.key(0), *arguments)


def test_mlp():
  mlp = nn.MLP((5, 3), activation="tanh")
  variables = _init(mlp, _x(2, 4))
  p = variables["params"]
  hidden = jnp.tanh(_x(2, 4) @ p["dense_0"]["kernel"] + p["dense_0"]["bias"])
  expected = hidden @ p["dense_1"]["kernel"] + p["dense_1"]["bias"]
  # float32 products in another order.
  np.testing.assert_allclose(
    jax.jit(mlp.apply)(variables, _x(2, 4)), expected, rtol=1e-5, atol=1e-5
  )
  last = nn.MLP((5, 3), activation="tanh", activate_last=True)
  np.testing.assert_allclose(
    jax.jit(last.apply)(variables, _x(2, 4)),
    jnp.tanh(expected),
    rtol=1e-5,
    atol=1e-5,
  )


def test_gradient_of_dense_layers_with_merged_axes(x64):
  """Leading axes are merged inside; values and gradients do not notice."""
  mlp = nn.MLP((5,))
  x = _x(2, 3, 4).astype(jnp.float64)
  variables = _init(mlp, x)
  kernel = variables["params"]["dense_0"]["kernel"]

  def loss(kernel):
    y = jnp.einsum("abci,io->abco", x, kernel)
    return jnp.sum(jnp.sin(y))

  got = jax.grad(lambda v: jnp.sum(jnp.sin(mlp.apply(v, x))))(variables)
  np.testing.assert_allclose(
    got["params"]["dense_0"]["kernel"], jax.grad(loss)(kernel), rtol=1e-6
  )


@pytest.mark.parametrize("gain", [2.0, 0.01])
def test_orthogonal_gains(gain):
  variables = _init(nn.MLP((8, 4), gain=2.0, out_gain=gain), _x(1))
  for name, scale in (("dense_0", 2.0), ("dense_1", gain)):
    kernel = variables["params"][name]["kernel"]
    np.testing.assert_allclose(
      kernel.T @ kernel,
      scale**2 * jnp.eye(kernel.shape[1]),
      # Float32 QR.
      atol=1e-5 * scale**2,
    )


def test_unknown_activation():
  with pytest.raises(
    ValueError, match="activation: got 'sine', expected one of"
  ):
    nn.MLP((3,), activation="sine").init(jax.random.key(0), _x(1))


def test_categorical_head_starts_near_uniform():
  head = nn.CategoricalHead(num_actions=3, widths=(16,))
  variables = _init(head, _x(2, 4))
  pi = head.apply(variables, _x(2, 4))
  assert isinstance(pi, nn.Categorical)
  assert pi.logits.shape == (2, 4, 3)
  np.testing.assert_allclose(pi.entropy(), np.log(3), atol=1e-2)


def test_gaussian_head():
  head = nn.GaussianHead(num_outputs=2, widths=(16,), log_std=-1.0)
  variables = _init(head, _x(2, 4))
  assert variables["params"]["log_std"].shape == (2,)
  pi = jax.jit(head.apply)(variables, _x(2, 4))
  assert pi.mean.shape == (2, 4, 2)
  np.testing.assert_array_equal(pi.log_std, jnp.full((2, 4, 2), -1.0))
  slope = jax.jit(
    jax.grad(
      lambda v: head.apply(v, _x(2, 4)).log_prob(jnp.ones((2, 4, 2))).sum()
    )
  )(variables)
  assert jnp.all(slope["params"]["log_std"] != 0)


def test_value_head():
  head = nn.ValueHead(widths=(16,))
  assert head.apply(_init(head, _x(2, 4)), _x(2, 4)).shape == (2, 4)


def test_regression_head():
  head = nn.RegressionHead(num_outputs=2, widths=(16,))
  assert jax.jit(head.apply)(_init(head, _x(2, 4)), _x(2, 4)).shape == (2, 4, 2)
  head = nn.RegressionHead(num_outputs=2, widths=(16,), with_variance=True)
  mean, variance = jax.jit(head.apply)(_init(head, _x(2, 4)), 20 * _x(2, 4))
  assert mean.shape == variance.shape == (2, 4, 2)
  assert jnp.all(variance > 0)


@pytest.mark.parametrize("pooling", ["none", "mean", "last"])
def test_classification_head(pooling):
  head = nn.ClassificationHead(num_classes=3, pooling=pooling)
  x = _x(2, 5)
  lengths = jnp.asarray([5, 2])
  variables = _init(head, x, lengths)
  logits = jax.jit(head.apply)(variables, x, lengths)
  p = variables["params"]["mlp"]["dense_0"]
  if pooling == "none":
    pooled = x
  elif pooling == "mean":
    pooled = jnp.stack([x[0].mean(0), x[1, :2].mean(0)])
  else:
    pooled = jnp.stack([x[0, 4], x[1, 1]])
  np.testing.assert_allclose(
    logits, pooled @ p["kernel"] + p["bias"], rtol=1e-5, atol=1e-5
  )
  full = jax.jit(head.apply)(variables, x, jnp.asarray([5, 5]))
  np.testing.assert_allclose(
    jax.jit(head.apply)(variables, x), full, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  ("dtype", "value", "count"),
  [("float16", 8.0, 16384), ("bfloat16", 1.25, 265)],
)
def test_means_of_narrow_numbers_do_not_depend_on_padding(dtype, value, count):
  """A float16 sum ends at 65504, and 265 is no number in bfloat16."""
  x = jnp.full((1, count, 2), value, dtype)
  padded = jnp.pad(x, [(0, 0), (0, 3), (0, 0)])
  pooled = nn.heads.pool("mean", padded, jnp.array([count]))
  np.testing.assert_array_equal(pooled, nn.heads.pool("mean", x))
  assert pooled.dtype == dtype
  np.testing.assert_array_equal(pooled, value)


def test_padding_may_be_undefined():
  head = nn.ClassificationHead(num_classes=3)
  x = _x(2, 5)
  lengths = jnp.asarray([5, 2])
  variables = _init(head, x, lengths)
  np.testing.assert_array_equal(
    jax.jit(head.apply)(variables, x.at[1, 2:].set(jnp.nan), lengths),
    jax.jit(head.apply)(variables, x, lengths),
  )


def test_the_mean_over_no_element_is_zero():
  head = nn.ClassificationHead(num_classes=3)
  lengths = jnp.asarray([5, 0])
  variables = _init(head, _x(2, 5), lengths)
  logits = head.apply(variables, _x(2, 5), lengths)
  bias = variables["params"]["mlp"]["dense_0"]["bias"]
  np.testing.assert_array_equal(logits[1], bias)


def test_pairs():
  head = nn.ClassificationHead(num_classes=3, widths=(6,), pairs=True)
  x = _x(2, 2, 5)
  lengths = jnp.asarray([[5, 2], [1, 4]])
  variables = _init(head, x, lengths)
  apply = jax.jit(head.apply)
  logits = apply(variables, x, lengths)
  p = jax.tree.map(np.asarray, variables["params"]["mlp"])
  for row, ends, found in zip(np.asarray(x), lengths, logits):
    a, b = (values[:end].mean(0) for values, end in zip(row, ends))
    features = np.concatenate([a, b, a - b, a * b])
    hidden = features @ p["dense_0"]["kernel"] + p["dense_0"]["bias"]
    inner = np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)
    hidden = 0.5 * hidden * (1 + np.tanh(inner))
    expected = hidden @ p["dense_1"]["kernel"] + p["dense_1"]["bias"]
    # float32 sums in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  swapped = apply(variables, x[:, ::-1], lengths[:, ::-1])
  assert np.abs(swapped - logits).max() > 0.1
  padded = x.at[0, 1, 2:].set(jnp.nan).at[1, 0, 1:].set(jnp.nan)
  np.testing.assert_array_equal(apply(variables, padded, lengths), logits)


@pytest.mark.parametrize(
  ("head", "arguments", "message"),
  [
    (
      nn.ClassificationHead(num_classes=3, pairs=True),
      (_x(4, 3, 5),),
      r"x: got shape \(4, 3, 5, 8\), expected \(\*batch, 2, time",
    ),
    (
      nn.ClassificationHead(num_classes=3, pooling="none", pairs=True),
      (_x(4, 2, 5),),
      "pooling: got 'none', expected 'mean' or 'last' for pairs",
    ),
    (
      nn.ClassificationHead(num_classes=3, pooling="max"),
      (_x(2, 5),),
      "pooling: got 'max', expected one of",
    ),
    (
      nn.ClassificationHead(num_classes=3),
      (_x(),),
      r"x: got shape .*, expected \(\*batch, time",
    ),
    (
      nn.ClassificationHead(num_classes=3),
      (_x(2, 5), jnp.ones((5,))),
      r"lengths: got shape \(5,\), expected shape \(2,\)",
    ),
  ],
)
def test_bad_arguments(head, arguments, message):
  with pytest.raises(ValueError, match=message):
    head.init(jax.random.key(0), *arguments)


@pytest.mark.parametrize(
  "head",
  [
    nn.GaussianHead(num_outputs=3, widths=(16,), dtype="bfloat16"),
    *(
      pytest.param(head, marks=pytest.mark.slow)
      for head in (
        nn.CategoricalHead(num_actions=3, widths=(16,), dtype="bfloat16"),
        nn.ValueHead(widths=(16,), dtype="bfloat16"),
      )
    ),
    nn.RegressionHead(
      num_outputs=3, widths=(16,), with_variance=True, dtype="bfloat16"
    ),
    nn.ClassificationHead(num_classes=3, dtype="bfloat16"),
  ],
)
def test_bfloat16(head):
  x = _x(2, 5)
  variables = _init(head, x)
  for leaf in jax.tree.leaves(variables):
    assert leaf.dtype == jnp.float32
  full = jax.jit(head.clone(dtype="float32").apply)(variables, x)
  for low, high in zip(
    jax.tree.leaves(jax.jit(head.apply)(variables, x)), jax.tree.leaves(full)
  ):
    # Two products in bfloat16, 4e-3 each, over values of order one.
    np.testing.assert_allclose(low.astype(jnp.float32), high, atol=5e-2)
