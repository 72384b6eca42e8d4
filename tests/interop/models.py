"""Small random models of the transformers library, in several settings.

Needs torch and transformers; `python -m tests.interop.models` writes the
directories below `tests/golden/interop` with them.
"""

import os
import pathlib
import shutil

import numpy as np
import torch
import transformers

# Small products gain nothing from threads, and lose where cores are shared.
torch.set_num_threads(1)

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "interop"

_SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}
_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_HEADS = {"num_heads": 8, "head_dim": 8, "state_size": 16}

CASES = {
  "mamba": ("mamba", {"state_size": 8}),
  "mamba_untied_biases": (
    "mamba",
    {
      "state_size": 5,
      "tie_word_embeddings": False,
      "use_bias": True,
      "use_conv_bias": False,
      "conv_kernel": 3,
      "time_step_rank": 3,
      "layer_norm_epsilon": 1e-3,
    },
  ),
  "mamba_expand": ("mamba", {"expand": 3, "residual_in_fp32": False}),
  "mamba2": ("mamba2", {**_HEADS, "n_groups": 2}),
  "mamba2_tied_biases": (
    "mamba2",
    {
      **_HEADS,
      "n_groups": 1,
      "tie_word_embeddings": True,
      "use_bias": True,
      "use_conv_bias": False,
      "layer_norm_epsilon": 1e-3,
      "chunk_size": 16,
    },
  ),
  "mamba2_limits": (
    "mamba2",
    {
      **_HEADS,
      "n_groups": 4,
      "time_step_limit": (0.01, 0.3),
      "chunk_size": 16,
    },
  ),
}


def make(case):
  """A model whose every parameter is random, in evaluation mode."""
  kind, options = CASES[case]
  if kind == "mamba":
    config = transformers.MambaConfig(**_SIZES, **_IDS, **options)
    model = transformers.MambaForCausalLM(config)
  else:
    config = transformers.Mamba2Config(**_SIZES, **_IDS, **options)
    model = transformers.Mamba2ForCausalLM(config)
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      noise = torch.randn(parameter.shape, generator=generator)
      if name.endswith("embeddings.weight"):
        # Small beside what the layers add, or a tied head would repeat tokens.
        parameter.copy_(0.1 * noise)
      elif parameter.ndim > 1 and not name.endswith("A_log"):
        # Outputs of the size of inputs; weights of the convolution, that of
        # one channel.
        parameter.copy_(noise / parameter.shape[-1] ** 0.5)
      elif name.endswith(("norm.weight", "norm_f.weight", ".D")):
        parameter.copy_(1 + 0.3 * noise)
      elif name.endswith("A_log"):
        parameter.copy_(1 + 0.7 * noise)
      elif name.endswith(("dt_bias", "dt_proj.bias")):
        # Step sizes between 0.01 and 1.
        parameter.copy_(-2 + noise)
      else:
        parameter.copy_(0.3 * noise)
  return model.eval()


def tokens(batch=2, time=37):
  rng = np.random.default_rng(0)
  return rng.integers(0, _SIZES["vocab_size"], (batch, time)).astype(np.int32)


def logits(model, ids):
  """The logits of a model, (batch, time, vocab) float32."""
  with torch.no_grad():
    return model(torch.tensor(ids, dtype=torch.int64)).logits.numpy()


def greedy(model, ids, length, use_cache=True):
  """The tokens (batch, length) that the model goes on with."""
  ids = torch.tensor(ids, dtype=torch.int64)
  with torch.no_grad():
    out = model.generate(
      ids,
      attention_mask=torch.ones_like(ids),
      max_new_tokens=length,
      min_new_tokens=length,
      do_sample=False,
      use_cache=use_cache,
    )
  return out[:, ids.shape[1] :].numpy().astype(np.int32)


def write_golden():
  """Writes mamba, in float32, and mamba2, in bfloat16."""
  for case, dtype in (("mamba", "float32"), ("mamba2", "bfloat16")):
    directory = GOLDEN / case
    shutil.rmtree(directory, ignore_errors=True)
    make(case).to(getattr(torch, dtype)).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    model = type(make(case)).from_pretrained(directory, dtype=torch.float32)
    model.eval()
    ids = tokens()
    np.savez_compressed(
      directory / "outputs.npz",
      ids=ids,
      logits=logits(model, ids),
      greedy=greedy(model, ids, 40),
      torch_version=torch.__version__,
      transformers_version=transformers.__version__,
    )
    (directory / "model.safetensors").chmod(0o644)
    size = sum(os.path.getsize(path) for path in directory.iterdir())
    print(f"{directory}: {size / 1000:.0f} kB")


if __name__ == "__main__":
  write_golden()
