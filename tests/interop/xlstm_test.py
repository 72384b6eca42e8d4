"""xLSTM-7B of the transformers library: other sizes, factors and bounds."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.interop import huggingface

_OPTIONS = {
  "plain": {},
  "narrow": {"qk_dim_factor": 0.25, "v_dim_factor": 0.5, "num_heads": 2},
  "wide": {"v_dim_factor": 2.0, "ffn_proj_factor": 1.3, "eps": 1e-3},
  "bounded": {"gate_soft_cap": 2.0, "output_logit_soft_cap": 1.5},
  "norms": {"norm_eps": 1e-3, "ffn_round_up_to_multiple_of": 24},
}


@pytest.mark.interop
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("case", _OPTIONS)
def test_saved_there_and_loaded_here(case, tmp_path):
  """Random weights, gates with inputs too."""
  import torch
  import transformers

  sizes = {"vocab_size": 30, "hidden_size": 24, "num_hidden_layers": 2}
  options = {"num_heads": 4, "ffn_round_up_to_multiple_of": 8, "chunk_size": 16}
  model = transformers.xLSTMForCausalLM(
    transformers.xLSTMConfig(**sizes | options | _OPTIONS[case])
  )
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      noise = torch.randn(parameter.shape, generator=generator)
      if parameter.ndim == 2:
        # Outputs of the size of inputs.
        parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
      else:
        parameter.add_(0.3 * noise)
    # Input gates begin at -10, where the memory holds next to nothing.
    for block in model.backbone.blocks:
      block.mlstm_layer.igate_preact.bias.add_(10)
  model.eval().save_pretrained(tmp_path)
  tokens = np.random.default_rng(0).integers(0, 30, (2, 37))
  with torch.no_grad():
    theirs = model(torch.tensor(tokens), use_cache=False).logits.numpy()
  config, variables = huggingface.load(tmp_path)
  network = huggingface.make_network(config, variables)
  ours, _ = network.apply(variables, jnp.asarray(tokens))
  print(f"{case}: largest difference {np.max(np.abs(ours - theirs)):.1e}")
  assert np.std(theirs) > 0.3
  # Both sides compute in float32, in another order, with divisors that may be
  # small: ten times the largest difference seen.
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.5e-4)
