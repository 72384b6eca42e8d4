"""Families of pretrained models next to the transformers library, on one core.

  taskset -c 1 python -m benchmarks.families [NAME ...]

Needs torch and transformers; `make test-interop` makes .venvs/interop, which
has them. Each model is small: width 1024, a layer of each kind, 8192 tokens,
random weights in float32, saved by transformers. Both libraries load it in
processes of their own, which take turns, and read and continue the same
prompts, greedily and with a cache:

  load     from a directory to a model, of files that are in memory
  prefill  one prompt of 512 tokens, to the logits of the next
  decode   64 tokens behind a prompt of 16, which is read too, with 1 row and
           with 16
  memory   peak resident bytes of the process after all of that

Times are processor seconds, the best of the calls of all processes, and do not
hold jaxseq's compiling, which is a column of its own, and which its memory
does hold. The logits of the prompt must agree. Without its CUDA kernels
transformers goes through time in loops of torch operations for most mixers.
With --repeats=0 models are loaded, and nothing else.
"""

import argparse
import functools
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

_VOCAB, _WIDTH, _PROMPT, _SHORT, _LENGTH = 8192, 1024, 512, 16, 64
_ROWS = (1, 16)
_MIXED = {"layer_types": ["linear_attention", "full_attention"]}
_ATTENTION = {"num_attention_heads": 16, "num_key_value_heads": 4}
_TURNED = {"rope_type": "default", "rope_theta": 1e4}
_MAMBA2 = {
  "mamba_n_heads": 32,
  "mamba_d_head": 64,
  "mamba_d_state": 64,
  "mamba_n_groups": 1,
}
_EXPERTS = {"moe_intermediate_size": 512, "num_experts_per_tok": 2}
_DELTA = {
  "linear_num_key_heads": 8,
  "linear_num_value_heads": 8,
  "linear_key_head_dim": 64,
  "linear_value_head_dim": 128,
}
_QWEN = (
  _ATTENTION
  | _DELTA
  | _MIXED
  | {"head_dim": 64, "num_hidden_layers": 2, "intermediate_size": 2816}
)

# By model_type, entries of its configuration.
MODELS = {
  "mamba": {"num_hidden_layers": 2},
  "mamba2": {
    "num_hidden_layers": 2,
    "num_heads": 32,
    "head_dim": 64,
    "n_groups": 1,
  },
  "falcon_mamba": {"num_hidden_layers": 2},
  "jamba": _ATTENTION
  | {
    "num_hidden_layers": 4,
    "intermediate_size": 1024,
    "num_experts": 8,
    "attn_layer_period": 4,
    "attn_layer_offset": 2,
  },
  "bamba": _ATTENTION
  | _MAMBA2
  | {
    "num_hidden_layers": 2,
    "attn_layer_indices": [1],
    "intermediate_size": 2816,
  },
  "granitemoehybrid": _ATTENTION
  | _MAMBA2
  | _MIXED
  | {
    "num_hidden_layers": 2,
    "intermediate_size": 512,
    "shared_intermediate_size": 1024,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
  },
  "falcon_h1": _ATTENTION
  | _MAMBA2
  | {
    "num_hidden_layers": 2,
    "head_dim": 64,
    "mamba_d_ssm": 2048,
    "intermediate_size": 2816,
  },
  "nemotron_h": _ATTENTION
  | {
    "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
    "head_dim": 64,
    "intermediate_size": 2816,
    "mamba_num_heads": 32,
    "mamba_head_dim": 64,
    "ssm_state_size": 64,
    "n_groups": 1,
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
    "moe_shared_expert_intermediate_size": 1024,
  }
  | _EXPERTS,
  "zamba2": {
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid"] * 2,
    "num_mem_blocks": 1,
    "num_attention_heads": 16,
    "n_mamba_heads": 32,
    "mamba_d_state": 64,
    "mamba_ngroups": 1,
    "adapter_rank": 64,
    "intermediate_size": 2816,
    "use_mem_rope": True,
  },
  "qwen3_next": _QWEN
  | _EXPERTS
  | {"num_experts": 8, "shared_expert_intermediate_size": 1024},
  "qwen3_5_text": _QWEN,
  "olmo_hybrid": _ATTENTION
  | _DELTA
  | _MIXED
  | {
    "num_hidden_layers": 2,
    "intermediate_size": 2816,
    "rope_parameters": _TURNED,
  },
  "kimi_linear": _MIXED
  | _EXPERTS
  | {
    "num_hidden_layers": 2,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "linear_num_heads": 16,
    "linear_head_dim": 64,
    "num_local_experts": 8,
    "n_group": 1,
    "topk_group": 1,
  },
  "recurrent_gemma": {
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 128,
    "lru_width": 1024,
    "intermediate_size": 5632,
    "attention_window_size": 1024,
    "block_types": ["recurrent", "recurrent", "attention"],
  },
  "lfm2": _ATTENTION
  | {
    "num_hidden_layers": 3,
    "intermediate_size": 2816,
    "layer_types": ["conv", "full_attention", "conv"],
  },
  "minimax": _ATTENTION
  | _MIXED
  | {
    "num_hidden_layers": 2,
    "head_dim": 64,
    "intermediate_size": 1024,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
  },
  "rwkv": {"num_hidden_layers": 2, "context_length": 1024},
  "xlstm": {"num_hidden_layers": 2, "num_blocks": 2, "num_heads": 4},
}
_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_SIZES = {"vocab_size": _VOCAB, "hidden_size": _WIDTH}
_SIZES["max_position_embeddings"] = 1024


def _make(name, directory):
  """Writes a model with random weights; returns its number of parameters."""
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.AutoConfig.for_model(
    name, **{**_SIZES, **_IDS, **MODELS[name]}
  )
  model = transformers.AutoModelForCausalLM.from_config(config)
  model.float().save_pretrained(directory)
  return sum(parameter.numel() for parameter in model.parameters())


def _theirs(directory):
  """Functions of transformers that load a model, read a prompt and decode."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()

  # Its module is imported before the clock starts.
  config = transformers.AutoConfig.from_pretrained(directory)
  kind = getattr(transformers, config.architectures[0])

  def load():
    return kind.from_pretrained(directory, dtype=torch.float32).eval()

  @torch.no_grad()
  def read(model, ids):
    return model(torch.from_numpy(ids), use_cache=True).logits[:, -1].numpy()

  def write(model, ids, length):
    ids = torch.from_numpy(ids)
    out = model.generate(
      ids,
      attention_mask=torch.ones_like(ids),
      max_new_tokens=length,
      min_new_tokens=length,
      do_sample=False,
      use_cache=True,
    )
    return out[:, ids.shape[1] :].numpy()

  return load, read, write


def _ours(directory):
  """The same functions of this package."""
  import jax

  from jaxseq import generation
  from jaxseq.interop import huggingface

  huggingface.open_model(directory)

  def load():
    config, variables = huggingface.load(directory)
    return huggingface.make_network(config, variables), variables

  def read(model, ids):
    prefix = generation.read_prefix(*model, ids.astype(np.int32))
    return np.asarray(jax.block_until_ready(prefix).logits)

  def write(model, ids, length):
    tokens, _ = generation.generate(
      *model,
      ids.astype(np.int32),
      length,
      jax.random.key(0),
      temperature=0.0,
    )
    return np.asarray(tokens)

  return load, read, write


def _seconds(function):
  start = time.process_time()
  result = function()
  return time.process_time() - start, result


def _measure(side, directory, repeats):
  """Prints what one process needs, as JSON."""
  load, read, write = {"theirs": _theirs, "ours": _ours}[side](directory)
  found = {}
  found["load"], model = _seconds(load)
  ids = np.random.default_rng(0).integers(0, _VOCAB, (max(_ROWS), _PROMPT))
  calls = {}
  if repeats:
    calls["prefill"] = functools.partial(read, model, ids[:1])
  for rows in _ROWS if repeats else ():
    prompts = ids[:rows, :_SHORT]
    calls[f"decode {rows}"] = functools.partial(write, model, prompts, _LENGTH)
  first = {name: _seconds(call) for name, call in calls.items()}
  best = dict.fromkeys(calls, np.inf)
  for _ in range(repeats):
    for name, call in calls.items():
      best[name] = min(best[name], _seconds(call)[0])
  found |= best
  found["compile"] = sum(first[name][0] - best[name] for name in calls)
  found["memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  if repeats:
    found["logits"] = first["prefill"][1][0].tolist()
    found["tokens"] = first["decode 1"][1][0].tolist()
  print(json.dumps(found))


def _other_process(*arguments):
  """What this file prints in another process."""
  command = [sys.executable, "-m", "benchmarks.families", *map(str, arguments)]
  text = subprocess.run(
    command, stdout=subprocess.PIPE, text=True, check=True
  ).stdout
  return json.loads(text.splitlines()[-1])


def _compare(name, flags):
  """Prints the row of a family."""
  with tempfile.TemporaryDirectory(dir=flags.dir) as folder:
    directory = pathlib.Path(folder) / name
    size = _other_process(name, f"--make={directory}")
    for path in directory.iterdir():
      path.read_bytes()
    runs = {"theirs": [], "ours": []}
    for _ in range(flags.processes):
      for side, found in runs.items():
        found.append(
          _other_process(
            f"--side={side}",
            f"--make={directory}",
            f"--repeats={flags.repeats}",
          )
        )
  cells = [name, f"{size / 1e6:.0f}"]
  columns = [("load", 1, 2), ("memory", 1e-6, 0)]
  if flags.repeats:
    theirs, ours = (np.array(runs[side][0]["logits"]) for side in runs)
    # float32 on both sides, in another order.
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.std(theirs), rtol=0)
    columns[1:1] = [
      ("prefill", 1, 2),
      *((f"decode {rows}", 1e3 / _LENGTH, 1) for rows in _ROWS),
    ]
  for column, scale, digits in columns:
    least = [min(run[column] for run in runs[side]) for side in runs]
    a, b = (f"{scale * value:.{digits}f}" for value in least)
    cells.append(f"{a} / {b} = {least[0] / least[1]:.2f}")
  if flags.repeats:
    cells.append(f"{min(run['compile'] for run in runs['ours']):.1f}")
    same = runs["theirs"][0]["tokens"] == runs["ours"][0]["tokens"]
    cells.append("yes" if same else "no")
  print("| " + " | ".join(cells) + " |", flush=True)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("names", nargs="*", help="model types; all if none")
  parser.add_argument("--processes", type=int, default=2, help="of each side")
  parser.add_argument("--repeats", type=int, default=2, help="in each of them")
  parser.add_argument("--dir", help="where models are put while they are timed")
  parser.add_argument("--make", help=argparse.SUPPRESS)
  parser.add_argument("--side", help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.side:
    _measure(flags.side, flags.make, flags.repeats)
    return
  if flags.make:
    print(_make(flags.names[0], flags.make))
    return
  columns = ["model_type", "million", "load s", "memory MB"]
  if flags.repeats:
    columns[3:3] = ["prefill s", *(f"decode {rows}, ms" for rows in _ROWS)]
    columns += ["compile s", "same tokens"]
  print("| " + " | ".join(columns) + " |")
  for name in flags.names or MODELS:
    _compare(name, flags)


if __name__ == "__main__":
  main()
