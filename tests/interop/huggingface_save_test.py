"""Networks and arguments that saving refuses."""

import dataclasses
import functools
import pathlib

import pytest

from jaxseq.interop import huggingface

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "interop"


@functools.cache
def _loaded(name):
  return huggingface.load(GOLDEN / name)


def _changed(config, head_bias=False, **options):
  stack = dataclasses.replace(config.stack, **options)
  return dataclasses.replace(config, stack=stack, head_bias=head_bias)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"mixer": "gru", "mixer_options": ()},
      "mixer: got 'gru', expected one of",
    ),
    ({"hybrid": {"gru": {}}}, "config: got a hybrid of mamba2 and gru, as Ba"),
    ({"layers": ({}, {})}, "config: got layers of mamba2 that differ"),
    ({"norm": "layer"}, "norm: got 'layer', expected 'rms' to be saved"),
    ({"activation": "gelu"}, "activation: got 'gelu', expected 'none'"),
    ({"feedforward": "swiglu"}, "feedforward: got 'swiglu', expected 'none'"),
    ({"final_norm": False}, "final_norm: got False"),
    ({"head_bias": True}, "head_bias: got True, expected False"),
    ({"norm_epsilon": 1e-3}, "the mixer's norm_eps: got 1e-05, expected 0.001"),
    ({"num_layers": 3}, "got shape None of stack/layers_2/mixer/A_log"),
  ],
)
def test_networks_that_the_library_has_not(options, message, tmp_path):
  config, variables = _loaded("mamba2")
  config = _changed(config, **options)
  with pytest.raises(ValueError, match=message):
    huggingface.save(tmp_path, config, variables)


def test_a_hybrid_is_not_saved(tmp_path):
  folder = GOLDEN.parent / "hybrids"
  for name, mixers in (
    ("bamba", "mamba2 and attention"),
    ("zamba2", "mamba2 and a shared block"),
  ):
    config, variables = huggingface.load(folder / name)
    message = f"^config: got a hybrid of {mixers}, as Bamba .* alone can be"
    with pytest.raises(ValueError, match=message):
      huggingface.save(tmp_path, config, variables)


def test_other_arguments_of_save(tmp_path):
  config, variables = _loaded("mamba2")
  options = dict(config.stack.mixer_options) | {"norm_groups": 1}
  ungrouped = _changed(config, mixer_options=options)
  with pytest.raises(
    ValueError, match="the mixer's norm_groups: got 1, expected 2"
  ):
    huggingface.save(tmp_path, ungrouped, variables)
  with pytest.raises(
    ValueError, match="dtype: got 'int8', expected one of 'float32', 'bfloat16'"
  ):
    huggingface.save(tmp_path, config, variables, dtype="int8")
  with pytest.raises(
    ValueError, match="entries: got vocab_size = 1, expected no entry that"
  ):
    huggingface.save(tmp_path, config, variables, entries={"vocab_size": 1})
  with pytest.raises(ValueError, match="variables: got none, expected those"):
    huggingface.save(tmp_path, config, {"params": {}})
  assert not list(tmp_path.iterdir())
  config, variables = huggingface.load(GOLDEN / "mamba", scan_layers=True)
  config = _changed(config, num_layers=3)
  with pytest.raises(ValueError, match="variables: got a parameter of shape"):
    huggingface.save(tmp_path, config, variables)
