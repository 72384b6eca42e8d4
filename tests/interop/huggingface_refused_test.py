"""What files of the transformers library cannot hold is refused."""

import json
import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxseq.adapt import initial_states
from jaxseq.adapt import lora
from jaxseq.adapt import quantized
from jaxseq.interop import huggingface
from jaxseq.interop import network_file
from jaxseq.interop import safetensors_file

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "interop"


def test_tuned_states_are_not_dropped(tmp_path):
  config, variables = huggingface.load(GOLDEN / "mamba2")
  network = huggingface.make_network(config, variables)
  states = initial_states.parameters(network, variables)
  tuned = initial_states.attach(network, variables, states)
  with pytest.raises(
    ValueError,
    match=r"^variables: got \['initial_states'\], expected \"params\" alone, "
    "as .*: write all of them by network_file.save, or tuned states by",
  ):
    huggingface.save(tmp_path / "a", config, tuned)
  path = tmp_path / "b"
  for saver, given in (
    (network_file, tuned),
    (quantized, quantized.quantize(network, tuned)),
  ):
    saver.save(path, network, given)
    _, loaded = saver.load(path)
    chex.assert_trees_all_equal(
      loaded["initial_states"], given["initial_states"]
    )


@pytest.mark.parametrize("value", [1e5, -1e5])
def test_numbers_that_a_dtype_has_not(tmp_path, value):
  config, variables = huggingface.load(GOLDEN / "mamba2")
  weights = variables["params"]["embed"]["embedding"]
  variables["params"]["embed"]["embedding"] = weights.at[0, 0].set(value)
  huggingface.save(tmp_path, config, variables)
  name = "embeddings.weight: got numbers up to 1e.05, expected those of float16"
  message = f'{name}: pass %sdtype="bfloat16"'
  with pytest.raises(ValueError, match=message % "param_"):
    huggingface.load(tmp_path, param_dtype="float16")
  with pytest.raises(ValueError, match=message % ""):
    huggingface.save(tmp_path, config, variables, dtype="float16")
  assert huggingface.load(tmp_path, param_dtype="bfloat16")
  # What is not finite itself may be asked for.
  variables["params"]["embed"]["embedding"] = weights.at[0, 0].set(jnp.inf)
  huggingface.save(tmp_path, config, variables, dtype="float16")
  _, loaded = huggingface.load(tmp_path, param_dtype="float16", finite=False)
  assert jnp.isinf(loaded["params"]["embed"]["embedding"][0, 0])


@pytest.mark.parametrize("save", ["network", "pretrained"])
def test_weights_that_are_no_arrays_get_their_remedy(tmp_path, save):
  config, variables = huggingface.load(GOLDEN / "mamba2")
  network = huggingface.make_network(config, variables)
  adapters = lora.init(
    jax.random.key(0), network, variables, lora.Config(("in_proj",))
  )
  for wrong, got, remedy in (
    (lora.attach(variables, adapters), "LowRank", r"adapt\.lora\.merge"),
    (quantized.quantize(network, variables), "Int8", r"adapt\.quantized\.save"),
  ):
    arguments = {
      "network": (network_file, tmp_path / "a", network),
      "pretrained": (huggingface, tmp_path, config),
    }
    module, *first = arguments[save]
    with pytest.raises(
      ValueError, match=f"variables: .*: got '{got}.*an array.*{remedy}"
    ):
      module.save(*first, wrong)


def test_a_saved_model_keeps_its_dtype_and_what_reads_its_texts(tmp_path):
  base, place = tmp_path / "base", tmp_path / "saved"
  shutil.copytree(GOLDEN.parent / "hybrids" / "minimax", base)
  beside = ("tokenizer.json", "generation_config.json", "chat_template.jinja")
  for name in beside:
    (base / name).write_text("{}")
  config, variables = huggingface.load(base, param_dtype="bfloat16")
  huggingface.save(place, config, variables, like=base)
  tensors = safetensors_file.read(place / "model.safetensors")
  assert {str(x.dtype) for x in tensors.values()} == {"bfloat16"}
  assert json.loads((place / "config.json").read_text())["dtype"] == "bfloat16"
  # What follows from config.json is there again.
  before = safetensors_file.read(base / "model.safetensors")
  assert tensors.keys() == before.keys()
  assert "model.layers.0.self_attn.slope_rate" in tensors
  for name in beside:
    assert (place / name).read_text() == "{}"
  huggingface.save(place, config, variables, like=place, dtype="float32")
  tensors = safetensors_file.read(place / "model.safetensors")
  assert {str(x.dtype) for x in tensors.values()} == {"float32"}
