"""The page of the chat server, run as it stands; by `make test-interop`."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from jaxseq.interop import huggingface

pytestmark = [
  pytest.mark.interop,
  # The other libraries' own business.
  pytest.mark.filterwarnings("default"),
]

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHATS = ROOT / "tests/golden/adapt/chats"
PAGE = (ROOT / "docs/chat_server.md").read_text()
MESSAGES = [{"role": "user", "content": "Where is Oslo?"}]
# A row of the smallest of models is shorter, and learns faster.
_SMALL = (
  "--config.length=64 --config.arms.lora.optimizer.learning_rate=0.05 "
  "--config.num_updates=40"
)


def _blocks(kind):
  return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


def _write_model(transformers, path):
  """Writes a directory of a hybrid with random weights and a tokenizer."""
  config = transformers.AutoConfig.for_model(
    "bamba",
    vocab_size=260,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    attn_layer_indices=[1],
    mamba_n_heads=4,
    mamba_d_head=16,
    mamba_d_state=8,
    max_position_embeddings=4096,
    bos_token_id=None,
    pad_token_id=None,
    eos_token_id=259,
  )
  transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
  for file in CHATS.glob("tokenizer*.json"):
    shutil.copy(file, path)


def _answer(transformers, directory):
  """Returns what the transformers library answers."""
  model = transformers.AutoModelForCausalLM.from_pretrained(directory)
  tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(directory)
  prompt = tokenizer.apply_chat_template(
    MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
  )["input_ids"]
  tokens = model.generate(prompt, max_new_tokens=20, do_sample=False)[0]
  new = tokens[prompt.shape[1] :].tolist()
  return tokenizer.decode(new[: new.index(259)] if 259 in new else new)


def _wait(process, address):
  while process.poll() is None:
    try:
      urllib.request.urlopen(f"{address}/health", timeout=5).close()
    except OSError:
      time.sleep(0.2)
    else:
      return
  raise AssertionError("The server has ended.")


def test_the_page_runs_from_the_directory_to_a_chat(tmp_path):
  transformers = pytest.importorskip("transformers", reason="it is compared")
  pytest.importorskip("uvicorn", reason="the extra serve is needed")
  if not shutil.which("curl"):
    pytest.skip("needs curl")
  import torch

  torch.manual_seed(0)
  _write_model(transformers, tmp_path / "my-model")
  (tmp_path / "chats.jsonl").write_text("".join(_blocks("json")))
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  load, adapt, serve, chat = _blocks("sh")
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
  environment = os.environ | {
    "PYTHONPATH": str(ROOT),
    "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
  }

  def shell(command, start=subprocess.check_output, **options):
    return start(
      command.replace("8000", port),
      shell=True,
      cwd=tmp_path,
      env=environment,
      text=True,
      **options,
    )

  assert "2 layers of width 32" in shell(load)
  shell(f"{adapt.rstrip()} {_SMALL}")
  process = shell(f"exec {serve}", subprocess.Popen)
  try:
    _wait(process, f"http://127.0.0.1:{port}")
    found = {}
    for name in ("my-model", "mine"):
      reply = json.loads(shell(chat.replace('"mine"', f'"{name}"')))
      found[name] = reply["choices"][0]["message"]["content"]
  finally:
    process.terminate()
    process.wait()
  directory, merged = tmp_path / "my-model", tmp_path / "merged"
  adapter = tmp_path / "runs/mine/lora/adapter"
  loaded = huggingface.load(directory, adapter=adapter)
  huggingface.save(merged, *loaded, like=directory)
  assert found["my-model"] == _answer(transformers, directory)
  assert found["mine"] == _answer(transformers, merged)
  assert found["mine"] != found["my-model"]
