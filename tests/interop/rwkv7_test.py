"""RWKV-7 in directories of flash-linear-attention, of the original's weights.

That library itself needs a GPU. What its script makes of the original's files
is made here of the golden ones, under the names that it gives them.
"""

import dataclasses
import json
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from tests.nn import rwkv_test

_NAMES = {
  "emb.weight": "model.embeddings.weight",
  "ln_out.": "model.norm.",
  "head.weight": "lm_head.weight",
  "blocks.": "model.layers.",
  ".ln0.": ".pre_norm.",
  ".ln1.": ".attn_norm.",
  ".ln2.": ".ffn_norm.",
  ".att.": ".attn.",
  "attn.receptance": "attn.r_proj",
  "attn.key": "attn.k_proj",
  "attn.value": "attn.v_proj",
  "attn.output": "attn.o_proj",
  "attn.ln_x": "attn.g_norm",
}
_CONFIG = {
  "model_type": "rwkv7",
  "hidden_size": 12,
  "hidden_ratio": 4.0,
  "intermediate_size": 48,
  "num_hidden_layers": 2,
  "vocab_size": 17,
  "head_dim": 4,
  "num_heads": None,
  "value_dim": [12, 12],
  "decay_low_rank_dim": 3,
  "a_low_rank_dim": 4,
  "v_low_rank_dim": 2,
  "gate_low_rank_dim": 5,
  "hidden_act": "sqrelu",
  "norm_first": True,
  "norm_bias": True,
  "norm_eps": 1e-5,
  "attn": None,
  "tie_word_embeddings": False,
}


def tensors(data):
  """The original's parameters by the names, and in the shapes, of the other."""
  found = {}
  for key, value in data.items():
    if not key.startswith("param/"):
      continue
    name = key.removeprefix("param/")
    if re.match(r"blocks\.0\.att\.v\d|blocks\.1\.ln0", name):
      continue
    for theirs, other in _NAMES.items():
      name = name.replace(theirs, other, 1)
    if low_rank := re.fullmatch(r"(.*\.)([wavg])([012])", name):
      places = ("2.bias", "0.weight", "2.weight")
      name = f"{low_rank[1]}{low_rank[2]}_lora.lora.{places[int(low_rank[3])]}"
      value = value.T if value.ndim == 2 else value
    if value.ndim == 3 and ".attn.x_" not in name:
      value = value[0, 0]
    found[name] = value.astype(np.float32)
  return found


@pytest.fixture
def directory(golden, tmp_path):
  """A directory with the golden model."""
  weights = tensors(golden("rwkv/rwkv7_lm"))
  safetensors_file.write(tmp_path / "model.safetensors", weights)
  return tmp_path


def load(directory, **entries):
  text = json.dumps(_CONFIG | entries)
  (directory / "config.json").write_text(text)
  return huggingface.load(directory)


def test_weights_are_those_of_the_golden_network(golden, directory):
  config, variables = load(directory)
  data = golden("rwkv/rwkv7_lm")
  expected = jax.tree.map(np.float32, rwkv_test.variables(data))
  chex.assert_trees_all_equal(variables, expected)
  stack = config.stack
  assert (stack.norm_epsilon, stack.every_layer[1].mixer_options) == (
    1e-5,
    tuple(
      sorted(
        {
          "head_size": 4,
          "eps": 4e-5,
          "decay_rank": 3,
          "rate_rank": 4,
          "value_rank": 2,
          "gate_rank": 5,
          "layer": 1,
          "num_layers": 2,
        }.items()
      )
    ),
  )
  assert config.embedding_norm


@pytest.mark.slow
def test_it_runs_as_the_original_does(golden, directory):
  """With the original's epsilon, which is that of heads of 64 there."""
  config, variables = load(directory, num_heads=3, head_dim=None)
  options = {**dict(config.stack.mixer_options), "eps": 64e-5}
  stack = dataclasses.replace(config.stack, mixer_options=options)
  config = dataclasses.replace(config, stack=stack)
  network = huggingface.make_network(config, variables)
  data = golden("rwkv/rwkv7_lm")
  logits, _ = network.apply(variables, jnp.asarray(data["ids"], jnp.int32))
  # float32 against float64.
  np.testing.assert_allclose(logits, data["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("entries", "message"),
  [
    (
      {"hidden_act": "relu"},
      "hidden_act: got 'relu', expected one of 'sqrelu'",
    ),
    ({"attn": {"layers": [0]}}, "attn: got {'layers'"),
    ({"value_dim": [12, 24]}, "value_dim: got"),
    ({"norm_bias": False}, "norm_bias: got False, expected one of True"),
    ({"head_dim": 5}, "head_size: got 5, expected a divisor of d_model = 12"),
    ({"decay_low_rank_dim": 4}, "w_lora"),
  ],
)
def test_what_is_not_supported_is_refused(directory, entries, message):
  with pytest.raises(ValueError, match=message):
    load(directory, **entries)
