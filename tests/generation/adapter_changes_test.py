"""Adapters that come and go while an engine, and a server, run."""

import json

import jax
import pytest

from jaxseq import generation
from jaxseq.adapt import lora
from jaxseq.generation import _slots
from tests.generation import chats_test
from tests.generation import networks
from tests.generation import server_test

openai = server_test.openai
PATH = "head/mlp/dense_0/kernel"


def _adapter(seed, rank=2):
  wide = jax.random.normal(jax.random.key(seed), (rank, 256))
  return {PATH: lora.Factors(jax.numpy.ones((8, rank)), wide)}


def test_a_busy_adapter_keeps_its_place():
  network, variables = networks.make("gru", vocab_size=256)
  config = generation.EngineConfig(slots=2, lines=1, chunk=3, steps=2)
  engine = generation.Engine(network, variables, config, adapter_room=1)
  wide = _adapter(1)
  plain = generation.Request([1, 2], 12, seed=3)
  request = generation.Request([1, 2], 12, seed=3, adapter="a")
  engine.submit(plain)
  before = engine.advance()
  # A row that has begun goes on, in programs that are compiled apart.
  engine.add_adapter("a", wide)
  programs = _slots.advance._cache_size()
  number = engine.submit(request)
  events = [*before, *engine.advance(), *engine.advance()]
  engine.remove_adapter("a")
  assert engine.adapters == ()
  with pytest.raises(ValueError, match="adapter: got 'a', expected None: ther"):
    engine.prepare(request)
  with pytest.raises(ValueError, match="adapters: got 2, expected at most 1"):
    engine.add_adapter("b", _adapter(2))
  while engine.busy:
    events += engine.advance()
  merged = {True: lora.merge(variables, wide), False: variables}
  for adapted in (True, False):
    own = [each for each in events if (each.request == number) == adapted]
    tokens, _ = generation.generate(
      network,
      merged[adapted],
      jax.numpy.array([1, 2]),
      12,
      jax.random.key(0),
      seeds=3,
    )
    row = generation.requests.join(own)
    assert row.tokens.tolist() == tokens.tolist()
  assert _slots.advance._cache_size() == programs
  # Its place is free now, and nothing is compiled for the next one.
  engine.add_adapter("b", _adapter(2))
  assert engine.adapters == ("b",)
  assert _slots.advance._cache_size() == programs
  with pytest.raises(
    ValueError, match="got 'b', expected a name that no other"
  ):
    engine.add_adapter("b", wide)


def test_a_client_loads_and_unloads():
  adapters = {"one": _adapter(1), "two": _adapter(2)}

  def read(path):
    if path not in adapters:
      raise ValueError(f"{path}: got no adapter_config.json, expected one.")
    return adapters[path]

  served = server_test.running(model="small", room=2, read_adapter=read)
  with served as (worker, address), server_test._client(address) as client:
    load = f"{address}/v1/load_lora_adapter"
    unload = f"{address}/v1/unload_lora_adapter"
    body = {"lora_name": "tuned", "lora_path": "one"}
    post = chats_test._post
    done = post(load, body)
    assert done == (200, "Success: LoRA adapter 'tuned' added successfully.")
    assert [each.id for each in client.models.list()] == ["small", "tuned"]
    options = {"prompt": "In the", "seed": 5, "max_tokens": 9}
    for name, used in (("tuned", _adapter(1)), ("small", None)):
      answer = client.completions.create(model=name, **options)
      want = server_test._offline(["In the"], 9, [5], used)
      assert [answer.choices[0].text] == want
    for wrong, message in (
      (body, "lora_name: got 'tuned', expected a name that no other one has"),
      (body | {"lora_name": "small"}, "expected another name than the model's"),
      (body | {"lora_name": "x", "lora_path": "none"}, "no adapter_config.js"),
      ({"lora_name": "x"}, "lora_path: got None, expected a text"),
      (body | {"rank": 3}, "field: got 'rank', expected"),
    ):
      status, refused = post(load, wrong)
      assert status == 400
      assert message in json.loads(refused)["error"]["message"]
    endless = client.completions.create(
      model="tuned", prompt="a", max_tokens=4000, stream=True
    )
    next(endless)
    assert post(unload, {"lora_name": "tuned"})[0] == 200
    assert post(unload, {"lora_name": "tuned"})[0] == 404
    with pytest.raises(openai.NotFoundError, match="model: got 'tuned'"):
      client.completions.create(model="tuned", prompt="a")
    next(endless)
    endless.close()
    server_test._waited(lambda: worker.rows == 0)
    for name in ("again", "more"):
      assert (
        post(load, body | {"lora_name": name, "lora_path": "two"})[0] == 200
      )
