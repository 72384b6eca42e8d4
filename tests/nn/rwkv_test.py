"""RWKV-7 as a whole network, against BlinkDL's RWKV-LM (float64)."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from tests.mixers.golden_cases import close
from tests.mixers.matrix_states import rwkv7_test
from tests.nn import channel_mix_test

_WIDTH, _TOKENS, _LAYERS = 12, 17, 2


def norm(data, prefix):
  return {"scale": data[f"{prefix}.weight"], "bias": data[f"{prefix}.bias"]}


def variables(data):
  """The original's parameters as those of the network."""
  stack = {"final_norm": norm(data, "param/ln_out")}
  for i in range(_LAYERS):
    block = f"param/blocks.{i}"
    stack[f"layers_{i}"] = {
      "norm": norm(data, f"{block}.ln1"),
      "mixer": rwkv7_test.parameters(data, f"{block}.att.", i),
      "feedforward_norm": norm(data, f"{block}.ln2"),
      "feedforward": channel_mix_test.parameters(data, f"{block}.ffn."),
    }
  head = {"mlp": {"dense_0": {"kernel": data["param/head.weight"].T}}}
  return {
    "params": {
      "embed": {"embedding": data["param/emb.weight"]},
      "embedding_norm": norm(data, "param/blocks.0.ln0"),
      "stack": stack,
      "head": head,
    }
  }


@pytest.fixture
def network(golden):
  """The network, its parameters and the golden values."""
  data = golden("rwkv/rwkv7_lm")
  params = variables(data)
  first = params["params"]["stack"]["layers_0"]["mixer"]
  ranks = {"decay_rank": "w1", "rate_rank": "a1", "gate_rank": "g1"}
  options = {field: first[name].shape[1] for field, name in ranks.items()}
  second = params["params"]["stack"]["layers_1"]["mixer"]
  options["value_rank"] = second["v1"].shape[1]
  options["head_size"] = int(data["head_size"])
  stack = nn.StackConfig(
    "rwkv7",
    options,
    d_model=_WIDTH,
    num_layers=_LAYERS,
    norm_epsilon=1e-5,
    activation="none",
    feedforward="channel_mix",
    dtype="float64",
  )
  config = nn.NetworkConfig(stack, embedding_norm=True, head_bias=False)
  return nn.SequenceNetwork(config, _TOKENS, _TOKENS), params, data


def test_golden_logits(x64, network):
  del x64
  network, params, data = network
  shapes = jax.eval_shape(network.init, jax.random.key(0), data["ids"])
  chex.assert_trees_all_equal_shapes(shapes, params)
  logits, _ = jax.jit(network.apply)(params, data["ids"])
  # The tolerance that the golden set gives.
  close(logits, data["logits"], 1e-10)


@pytest.mark.slow
def test_steps_share_the_first_layers_values(x64, network):
  del x64
  network, params, data = network
  step = jax.jit(functools.partial(network.apply, method="step"))
  state = network.initial_state((2,), jnp.float64)
  for t in range(data["ids"].shape[1]):
    logits, state = step(params, data["ids"][:, t], state)
    close(logits, data["logits"][:, t], 1e-10)


@pytest.mark.slow
def test_packed_documents_are_each_alone(x64, network):
  del x64
  network, params, data = network
  packed = data["ids"].reshape(1, -1)
  reset = (np.arange(packed.size) % data["ids"].shape[1] == 0)[None]
  logits, _ = jax.jit(network.apply)(params, packed, None, reset)
  close(logits[0], data["logits"].reshape(-1, _TOKENS), 1e-10)
