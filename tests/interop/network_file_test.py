"""Files of networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.interop import described_file
from jaxseq.interop import network_file

_STACK = nn.StackConfig(
  "gru",
  hybrid={"attention": {"heads": 2, "window": 3}},
  d_model=8,
  num_layers=2,
  norm="batch",
)


@pytest.mark.parametrize(
  ("network", "inputs"),
  [
    (nn.SequenceModel(_STACK), jnp.ones((2, 3, 8))),
    (
      nn.SequenceNetwork(nn.NetworkConfig(_STACK, tie=True), 5, 5),
      jnp.ones((2, 3), jnp.int32),
    ),
  ],
)
def test_a_network_is_saved_and_loaded(tmp_path, network, inputs):
  path = tmp_path / "network.safetensors"
  variables = jax.jit(network.init)(jax.random.key(0), inputs)
  network_file.save(path, network, variables)
  again, weights = network_file.load(path)
  assert again == network
  assert weights.keys() == {"params", "batch_stats"}
  jax.tree.map(np.testing.assert_array_equal, weights, variables)
  np.testing.assert_array_equal(
    jax.jit(again.apply)(weights, inputs)[0],
    jax.jit(network.apply)(variables, inputs)[0],
  )


def test_what_is_no_network_gets_one_sentence(tmp_path):
  path = tmp_path / "network.safetensors"
  weights = {"params": {"a": np.ones(2)}}
  with pytest.raises(ValueError, match="expected SequenceNetwork or"):
    network_file.save(path, nn.MLP((3,)), weights)
  described = {"format": 1, "network": "MLP", "fields": {}, "versions": {}}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="no whole network: network: got 'MLP'"):
    network_file.load(path)
  sizes = {"config": {"stack": {"d_model": 10**9}}, "num_outputs": 3}
  described |= {"network": "SequenceNetwork", "fields": sizes}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="d_model: got 1000000000"):
    network_file.load(path)
  described |= {"fields": {"parent": None}}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="expected fields of a network"):
    network_file.load(path)
  described_file.write(path, {**described, "format": 7}, weights)
  with pytest.raises(ValueError, match="format 7, of a later version"):
    network_file.load(path)
