"""What files of the transformers library cannot hold is refused."""

import pathlib

import chex
import jax.numpy as jnp
import pytest

from jaxseq.adapt import initial_states
from jaxseq.adapt import quantized
from jaxseq.interop import huggingface
from jaxseq.interop import network_file

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
