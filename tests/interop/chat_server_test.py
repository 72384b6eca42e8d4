"""A served chat beside transformers; run by `make test-interop`."""

import contextlib
import pathlib
import shutil
import socket
import threading
import time

import pytest

from jaxseq import generation
from jaxseq.generation import engine_thread
from jaxseq.generation import server
from jaxseq.programs import serve

pytestmark = [
  pytest.mark.interop,
  # The other libraries' own business.
  pytest.mark.filterwarnings("default"),
]

CHATS = pathlib.Path(__file__).resolve().parents[1] / "golden/adapt/chats"
MESSAGES = [
  {"role": "system", "content": "Be short."},
  {"role": "user", "content": "How are you?"},
  {"role": "assistant", "content": "Well."},
  {"role": "user", "content": "And \u00e4 now?"},
]


@contextlib.contextmanager
def _running(served):
  """Runs a server of a model; yields its address."""
  config = generation.EngineConfig(slots=2, lines=1, chunk=8, steps=4)
  patterns = serve.make_patterns(served, 2**24)
  engine = generation.Engine(
    served.network, served.variables, config, patterns=patterns
  )
  worker = engine_thread.EngineThread(engine)
  options = server.ServerConfig("small", stop_tokens=served.stop_tokens)
  app = server.make_app(worker, served.codec, options, served.template)
  running = server.make_server(app)
  with socket.socket() as listening:
    listening.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
      while not running.started:
        time.sleep(0.01)
      yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
      running.should_exit = True
      thread.join()


def test_a_client_gets_what_transformers_says(tmp_path):
  transformers = pytest.importorskip("transformers", reason="it is compared")
  openai = pytest.importorskip("openai", reason="a client is needed")
  pytest.importorskip("uvicorn", reason="the extra serve is needed")
  import torch

  torch.manual_seed(0)
  config = transformers.AutoConfig.for_model(
    "mamba2",
    vocab_size=260,
    hidden_size=32,
    num_hidden_layers=2,
    num_heads=8,
    head_dim=8,
    state_size=8,
    n_groups=1,
    bos_token_id=None,
    pad_token_id=None,
    eos_token_id=259,
  )
  model = transformers.AutoModelForCausalLM.from_config(config).eval()
  model.save_pretrained(tmp_path)
  for path in CHATS.glob("tokenizer*.json"):
    shutil.copy(path, tmp_path)
  tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
  prompt = tokenizer.apply_chat_template(
    MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
  )["input_ids"]
  tokens = model.generate(prompt, max_new_tokens=20, do_sample=False)[0]
  new = tokens[prompt.shape[1] :].tolist()
  new = new[: new.index(259)] if 259 in new else new
  expected = tokenizer.decode(new)
  with _running(serve.load(tmp_path)) as address:
    client = openai.OpenAI(base_url=address, api_key="none", timeout=60)
    with client:
      ask = client.chat.completions.create
      options = {"model": "small", "messages": MESSAGES, "temperature": 0}
      found = ask(**options, max_completion_tokens=20)
      assert found.usage.prompt_tokens == prompt.shape[1]
      assert found.choices[0].message.content == expected
      pieces = ask(**options, max_completion_tokens=20, stream=True)
      texts = [piece.choices[0].delta.content for piece in pieces]
      assert "".join(texts) == expected
      asked = {"type": "json_object"}
      found = ask(**options, max_completion_tokens=99, response_format=asked)
      assert found.choices[0].message.content.startswith("{")
