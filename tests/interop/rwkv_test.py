"""RWKV-4 of the transformers library: scaled streams, tied and scanned."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from tests.interop import families_test


def _logits(directory, ids, **options):
  config, variables = huggingface.load(directory, **options)
  network = huggingface.make_network(config, variables)
  return config, network.apply(variables, jnp.asarray(ids))[0]


def test_halved_streams_have_larger_epsilons(tmp_path):
  """As many quarters of the variance as there are halvings before a norm."""
  config, variables = huggingface.load(families_test.GOLDEN / "rwkv")
  assert (config.stack.norm_epsilon, config.stack.layers) == (1e-5, ())
  assert config.embedding_scale == 1
  families_test.copy("rwkv", tmp_path, rescale_every=1)
  config, same = huggingface.load(tmp_path)
  layers = [config.stack.every_layer[i].norm_epsilon for i in range(2)]
  np.testing.assert_allclose(layers, [1e-5, 4e-5])
  np.testing.assert_allclose(config.stack.norm_epsilon, 16e-5)
  # The norm behind the embedding has that one, too.
  assert config.embedding_scale == 4
  assert same["params"].keys() == variables["params"].keys()


@pytest.mark.slow
def test_tied_and_scanned(tmp_path):
  families_test.copy("rwkv", tmp_path, tie_word_embeddings=True)
  path = tmp_path / "model.safetensors"
  tensors = safetensors_file.read(path)
  tensors["head.weight"] = tensors["rwkv.embeddings.weight"]
  safetensors_file.write(path, tensors)
  ids = np.arange(6)[None]
  config, logits = _logits(tmp_path, ids)
  assert config.tie
  del tensors["head.weight"]
  safetensors_file.write(path, tensors)
  config, scanned = _logits(tmp_path, ids, scan_layers=True)
  assert config.stack.scan_layers
  # The same products in another program.
  np.testing.assert_allclose(scanned, logits, rtol=1e-5, atol=1e-5)
  tensors["head.weight"] = 2 * tensors["rwkv.embeddings.weight"]
  safetensors_file.write(path, tensors)
  with pytest.raises(ValueError, match=r"head\.weight: got another"):
    huggingface.load(tmp_path)


_OPTIONS = {
  "plain": {"rescale_every": 0},
  "halved": {"rescale_every": 1, "layer_norm_epsilon": 1e-3},
  "halved_once": {"rescale_every": 2, "intermediate_size": 40},
  "narrow": {"attention_hidden_size": 20, "rescale_every": -1},
  "tied": {"tie_word_embeddings": True, "rescale_every": 3},
}


@pytest.mark.interop
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("case", _OPTIONS)
def test_saved_there_and_loaded_here(case, tmp_path):
  """Random weights; saved before they are halved for what follows."""
  import torch
  import transformers

  sizes = {"vocab_size": 30, "hidden_size": 24, "num_hidden_layers": 3}
  ids = {"bos_token_id": None, "eos_token_id": None}
  model = transformers.RwkvForCausalLM(
    transformers.RwkvConfig(**sizes, **ids, **_OPTIONS[case])
  )
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      noise = torch.randn(parameter.shape, generator=generator)
      if parameter.ndim == 2:
        # Outputs of the size of inputs.
        parameter.copy_(noise / parameter.shape[-1] ** 0.5)
      elif "time_mix" in name:
        parameter.copy_(torch.sigmoid(noise))
      else:
        parameter.add_(0.3 * noise)
  model.eval().save_pretrained(tmp_path)
  tokens = np.random.default_rng(0).integers(0, 30, (2, 37))
  with torch.no_grad():
    theirs = model(torch.tensor(tokens), use_cache=False).logits.numpy()
  _, ours = _logits(tmp_path, tokens)
  print(f"{case}: largest difference {np.max(np.abs(ours - theirs)):.1e}")
  assert np.std(theirs) > 0.3
  # Both sides compute in float32, in another order: ten times what was seen.
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-5)
