"""Against the transformers library itself; run by `make test-interop`."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from jaxseq.programs import adapted_files

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/hybrids"

pytestmark = [
  pytest.mark.interop,
  # The other library's own business.
  pytest.mark.filterwarnings("default"),
]

CASES = (
  "mamba",
  "mamba_untied_biases",
  "mamba_expand",
  "mamba2",
  "mamba2_tied_biases",
  "mamba2_limits",
)
# Logits are of size 1 to 4. Both sides compute in float32, in another order:
# ten times the largest difference seen.
_FLOAT32 = {"rtol": 0, "atol": 3e-5}


@pytest.fixture(scope="module")
def models():
  from tests.interop import models

  return models


def _logits(config, variables, ids):
  network = huggingface.make_network(config, variables)
  logits, _ = jax.jit(network.apply)(variables, jnp.asarray(ids))
  return np.asarray(logits)


def _close(label, ours, theirs):
  print(f"{label}: largest difference {np.max(np.abs(ours - theirs)):.1e}")
  assert np.std(theirs) > 0.05
  np.testing.assert_allclose(ours, theirs, **_FLOAT32)


def test_all_cases_are_tested(models):
  assert set(CASES) == set(models.CASES)


@pytest.mark.parametrize("case", CASES)
def test_saved_there_and_loaded_here(models, case, tmp_path):
  model, ids = models.make(case), models.tokens()
  model.save_pretrained(tmp_path)
  config, variables = huggingface.load(tmp_path)
  _close(case, _logits(config, variables, ids), models.logits(model, ids))
  tokens, _ = generation.generate(
    huggingface.make_network(config, variables),
    variables,
    jnp.asarray(ids),
    40,
    jax.random.key(0),
    temperature=0.0,
  )
  # With its cache, the other library forgets the bounds on step sizes.
  cached = "limits" not in case
  np.testing.assert_array_equal(tokens, models.greedy(model, ids, 40, cached))


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(models, case, tmp_path):
  import torch

  model = models.make(case)
  model.save_pretrained(tmp_path / "a")
  huggingface.save(tmp_path / "b", *huggingface.load(tmp_path / "a"))
  again = type(model).from_pretrained(tmp_path / "b").state_dict()
  for name, tensor in model.state_dict().items():
    assert torch.equal(again[name], tensor), name


@pytest.mark.parametrize(
  ("mixer", "options", "settings"),
  [
    ("mamba", {"d_state": 6}, {"tie": True}),
    ("mamba", {"bias": True, "dt_rank": 3}, {"scan_layers": True}),
    ("mamba2", {"d_state": 12, "headdim": 4}, {"tie": True}),
    (
      "mamba2",
      {"ngroups": 2, "norm_groups": 2, "d_state": 8, "dt_limit": (0.0, 0.05)},
      {"scan_layers": True},
    ),
  ],
)
def test_made_here_and_loaded_there(models, mixer, options, settings, tmp_path):
  import transformers

  if mixer == "mamba2":
    options = {"headdim": 8, "norm_eps": 1e-4, **options}
  config = nn.NetworkConfig(
    nn.StackConfig(
      mixer,
      mixer_options=tuple(options.items()),
      d_model=32,
      num_layers=2,
      norm="rms",
      activation="none",
      norm_epsilon=1e-4,
      scan_layers=settings.get("scan_layers", False),
    ),
    tie=settings.get("tie", False),
    head_bias=False,
  )
  ids = models.tokens()
  variables = nn.SequenceNetwork(config, 64, 64).init(jax.random.key(0), ids)
  huggingface.save(tmp_path, config, variables)
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
  assert model.config.model_type == mixer
  _close(mixer, _logits(config, variables, ids), models.logits(model, ids))


@pytest.mark.parametrize("name", ["falcon_h1", "lfm2"])
def test_all_weights_trained_here_and_loaded_there(name, tmp_path):
  import torch
  import transformers

  base = GOLDEN / name
  config, variables = huggingface.load(base)
  variables = jax.tree.map(lambda x: 1.1 * x, variables)
  adapted_files.write_pretrained(tmp_path, str(base), config, variables)
  model = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / adapted_files.PRETRAINED
  ).eval()
  with np.load(base / "expected.npz") as arrays:
    ids = arrays["ids"]
  with torch.no_grad():
    theirs = model(torch.from_numpy(ids.astype(np.int64))).logits.numpy()
  _close(name, _logits(config, variables, ids), theirs)


@pytest.mark.parametrize("case", ["mamba", "mamba2"])
def test_bfloat16_activations(models, case, tmp_path):
  import torch

  model, ids = models.make(case).to(torch.bfloat16), models.tokens()
  model.save_pretrained(tmp_path)
  config, variables = huggingface.load(tmp_path)
  stack = dataclasses.replace(config.stack, dtype="bfloat16")
  narrow = dataclasses.replace(config, stack=stack)
  assert stack.residual_float32
  theirs, ours = models.logits(model, ids), _logits(narrow, variables, ids)
  exact = _logits(config, variables, ids)
  error, limit = (np.std(logits - exact) for logits in (ours, theirs))
  print(f"{case}: errors of bfloat16 are {error:.1e}, there {limit:.1e}")
  # Theirs rounds more often; neither should be far from what it rounds to.
  assert error < 1.5 * limit < 0.05 * np.std(exact)


def test_shards(models, tmp_path):
  model, ids = models.make("mamba"), models.tokens()
  model.save_pretrained(tmp_path, max_shard_size="20KB")
  assert len(list(tmp_path.glob("*.safetensors"))) > 1
  _close(
    "shards",
    _logits(*huggingface.load(tmp_path), ids),
    models.logits(model, ids),
  )


def test_golden_outputs_are_those_of_this_version(models):
  import transformers

  for name in ("mamba", "mamba2"):
    directory = models.GOLDEN / name
    model = transformers.AutoModelForCausalLM.from_pretrained(
      directory, dtype="float32"
    )
    with np.load(directory / "outputs.npz") as outputs:
      logits = models.logits(model.eval(), outputs["ids"])
      np.testing.assert_allclose(logits, outputs["logits"], **_FLOAT32)


def test_files_are_those_of_the_safetensors_library(tmp_path):
  import safetensors.torch
  import torch

  tensors = {
    "half": torch.arange(3).to(torch.float16),
    "brain": torch.linspace(-2, 2, 5).to(torch.bfloat16),
    "single": torch.arange(6.0).reshape(2, 3),
    "double": torch.tensor(1.5, dtype=torch.float64),
    "whole": torch.tensor([[1], [-2]], dtype=torch.int64),
    "flags": torch.tensor([True, False, True]),
    "none": torch.zeros((0, 4), dtype=torch.uint8),
  }
  safetensors.torch.save_file(tensors, tmp_path / "theirs", {"format": "pt"})
  arrays = safetensors_file.read(tmp_path / "theirs")
  assert arrays.keys() == tensors.keys()
  safetensors_file.write(tmp_path / "ours", arrays, {"format": "pt"})
  again = safetensors.torch.load_file(tmp_path / "ours")
  for name, tensor in tensors.items():
    assert torch.equal(again[name], tensor), name
    assert again[name].dtype == tensor.dtype
    values = tensor.to(torch.float64).numpy()
    np.testing.assert_array_equal(arrays[name].astype(np.float64), values)
