"""Summaries of series, and networks that add a linear map of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.nn import series_summaries
from jaxseq.tasks import summary_baselines


def test_they_are_those_of_the_row_of_the_table():
  x = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
  lengths = np.array([7, 1, 3, 5, 2])
  for given in (None, lengths):
    part = data.ArrayDataset(x, np.zeros(5), given)
    wanted = summary_baselines.summaries(part)
    found = series_summaries.summarize(jnp.asarray(x), given)
    # Both sum in another order, in float32 and in float64.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_series_without_elements_or_changes_have_finite_ones():
  x = jnp.ones((2, 4, 1))
  lengths = jnp.array([0, 4])

  def total(x):
    return series_summaries.summarize(x, lengths).sum()

  np.testing.assert_array_equal(series_summaries.summarize(x, lengths)[0], 0)
  assert np.isfinite(jax.grad(total)(x)).all()


def test_a_network_adds_the_map_to_its_outputs():
  stack = nn.StackConfig("gru", d_model=4, num_layers=1)
  x = jax.random.normal(jax.random.key(0), (3, 6, 2))
  plain = nn.NetworkConfig(stack, pooling="mean")
  network = nn.SequenceNetwork(
    nn.NetworkConfig(stack, pooling="mean", summaries=True), 2
  )
  variables = network.init(jax.random.key(1), x)
  params = dict(variables["params"])
  kernel = np.arange(20.0, dtype=np.float32).reshape(10, 2)
  bias = np.array([1.0, -1.0], np.float32)
  params["summaries"] = {"linear": {"kernel": kernel, "bias": bias}}
  added, _ = network.apply({"params": params}, x)
  del params["summaries"]
  without, _ = nn.SequenceNetwork(plain, 2).apply({"params": params}, x)
  wanted = np.asarray(without) + series_summaries.summarize(x) @ kernel + bias
  np.testing.assert_allclose(added, wanted, rtol=1e-5)


def test_only_whole_series_have_them():
  with pytest.raises(ValueError, match="summaries: got True, expected False"):
    nn.NetworkConfig(summaries=True)
  network = nn.SequenceNetwork(
    nn.NetworkConfig(nn.StackConfig("gru"), pooling="mean", summaries=True),
    2,
    vocab_size=3,
  )
  with pytest.raises(ValueError, match="summaries: got True, expected False"):
    network.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
