"""Models of networks that were trained in a loop of one's own."""

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import models
from jaxseq import nn
from jaxseq.data import sources


def test_a_network_needs_no_data_set(tmp_path):
  stack = nn.StackConfig("gru", d_model=4, num_layers=1)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack, pooling="mean"), 2)
  series = np.random.default_rng(0).normal(size=(3, 5, 2))
  variables = jax.jit(network.init)(jax.random.key(0), series)
  source = sources.SeriesSource(channels=("a", "b"), classes=("no", "yes"))
  model = models.make(
    "classification", network, variables, preparation=source, examples=series
  )
  jaxseq.save(tmp_path / "model.safetensors", model)
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  logits, _ = jax.jit(network.apply)(variables, series)
  np.testing.assert_array_equal(
    loaded.predict(series)["class"], np.array(["no", "yes"])[logits.argmax(-1)]
  )
  # Prepared ones will do as well.
  same = models.make(
    "classification",
    network,
    variables,
    preparation=source,
    examples=source.prepare(series),
  )
  assert same.signature == model.signature


def test_a_model_of_nothing_is_refused():
  with pytest.raises(ValueError, match="models.make: got no splits, expected"):
    models.make("classification", None, {})
