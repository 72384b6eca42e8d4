"""The server, driven by a public client of its interface."""

import asyncio
from concurrent import futures
import contextlib
import json
import re
import socket
import sys
import threading
import time
from unittest import mock
import urllib.request

from absl import logging as absl_logging
import jax
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.adapt import lora
from jaxseq.generation import _completions
from jaxseq.generation import _in_flight
from jaxseq.generation import engine_thread
from jaxseq.generation import server
from tests.generation import networks

openai = pytest.importorskip("openai", reason="a client is needed")
pytest.importorskip("uvicorn", reason="the extra serve is needed")

CONFIG = generation.EngineConfig(slots=4, lines=2, chunk=8, steps=4)


@contextlib.contextmanager
def running(
  waiting=100,
  cache=None,
  grace=30.0,
  adapters=None,
  template=None,
  states=64,
  room=0,
  read_adapter=None,
  **options,
):
  """Runs a server in a thread; yields its worker and its address."""
  network, variables = networks.make("gru", vocab_size=256)
  engine = generation.Engine(
    network,
    variables,
    CONFIG,
    cache=cache,
    patterns=generation.PatternConfig(states=states),
    adapters=adapters,
    adapter_room=room,
  )
  engine.run([generation.Request([0], 1)])  # Compiles.
  worker = engine_thread.EngineThread(engine, waiting)
  config = server.ServerConfig(**options)
  rest = config, template, read_adapter
  app = server.make_app(worker, generation.Codec(), *rest)
  # What absl writes to is closed by uvicorn where it is not standard error.
  handler = absl_logging.get_absl_handler().python_handler
  with mock.patch.object(handler, "stream", sys.stderr):
    running = server.make_server(app, grace=grace)
  with socket.socket() as listening:
    listening.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
      while not running.started:
        time.sleep(0.01)
      yield worker, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
      running.should_exit = True
      thread.join()


def _client(address):
  return openai.OpenAI(
    base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60
  )


def _offline(prompts, length, seeds, adapter=None, **options):
  """Texts of whole batches."""
  network, variables = networks.make("gru", vocab_size=256)
  variables = lora.merge(variables, adapter or {})
  codec = generation.Codec()
  tokens, _ = generation.generate(
    network,
    variables,
    [codec.encode(prompt) for prompt in prompts],
    length,
    jax.random.key(0),
    seeds=seeds,
    **options,
  )
  return [codec.decode(row) for row in np.asarray(tokens)]


def _get(address):
  with urllib.request.urlopen(address) as answer:
    return answer.read().decode()


def _refused(address, body=None):
  """Status and message of an answer that is an error."""
  with pytest.raises(urllib.error.HTTPError) as caught:
    urllib.request.urlopen(address, body)
  with caught.value as answer:
    assert answer.headers["Content-Type"] == "application/json"
    return answer.code, json.loads(answer.read())["error"]["message"]


@pytest.mark.slow
def test_the_name_of_an_adapter_is_a_model():
  wide = jax.random.normal(jax.random.key(1), (2, 256))
  factors = lora.Factors(jax.numpy.ones((8, 2)), wide)
  adapter = {"head/mlp/dense_0/kernel": factors}
  served = running(model="small", adapters={"tuned": adapter})
  with served as (_, address), _client(address) as client:
    listed = client.models.list()
    assert [model.id for model in listed] == ["small", "tuned"]
    assert client.models.retrieve("tuned").parent == "small"
    for name, used in (("tuned", adapter), ("small", None)):
      options = {"prompt": "In the", "seed": 5, "max_tokens": 9}
      answer = client.completions.create(model=name, **options)
      assert [answer.choices[0].text] == _offline(["In the"], 9, [5], used)
      assert answer.model == name
  with (
    pytest.raises(ValueError, match="adapters: got 'a', expected names of ad"),
    running(model="a", adapters={"a": adapter}),
  ):
    pass


@pytest.mark.slow
def test_a_public_client_is_served():
  with running(model="small") as (worker, address), _client(address) as client:
    ask = client.completions.create
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").id == "small"
    with pytest.raises(openai.NotFoundError, match="model: got 'big', expect"):
      client.models.retrieve("big")
    options = {"model": "small", "max_tokens": 9, "temperature": 0.8}
    found = ask(prompt=["In the", "A"], seed=5, logprobs=1, **options)
    texts = _offline(["In the", "A"], 9, [5, 6], temperature=0.8)
    assert [choice.text for choice in found.choices] == texts
    assert [choice.finish_reason for choice in found.choices] == ["length"] * 2
    assert found.usage.completion_tokens == 18
    assert found.usage.prompt_tokens == 9
    assert len(found.choices[0].logprobs.token_logprobs) == 9

    pieces = list(ask(prompt="In the", seed=5, stream=True, n=2, **options))
    text = "".join(
      choice.text
      for piece in pieces
      for choice in piece.choices
      if choice.index == 0
    )
    assert text == texts[0]
    ends = [
      choice.index
      for piece in pieces
      for choice in piece.choices
      if choice.finish_reason == "length"
    ]
    assert sorted(ends) == [0, 1]

    stop = texts[0][3:5]
    found = ask(prompt="In the", seed=5, stop=[stop], **options)
    assert found.choices[0].text == texts[0].split(stop)[0]
    assert found.choices[0].finish_reason == "stop"

    own = {"regex": "[a-d]{4}"}
    found = ask(prompt="In", n=3, extra_body=own, **options)
    assert all(re.fullmatch("[a-d]{4}", each.text) for each in found.choices)
    assert [each.finish_reason for each in found.choices] == ["stop"] * 3
    with pytest.raises(openai.BadRequestError, match="regex: got '103 state"):
      ask(prompt="In", extra_body={"regex": "a{100}"}, **options)

    with pytest.raises(openai.BadRequestError, match="temperature: got -1"):
      ask(prompt="a", model="small", temperature=-1)
    with pytest.raises(openai.BadRequestError, match="top_k: got 300"):
      ask(prompt="a", model="small", extra_body={"top_k": 300})
    assert _get(f"{address}/health") == '{"status":"ok"}'
    assert "POST /v1/completions" in _get(f"{address}/")
    metrics = _get(f"{address}/metrics")
    assert "jaxseq_requests_total 7\n" in metrics
    assert "jaxseq_refused_total 3\n" in metrics
    assert "jaxseq_rows 0\n" in metrics


def test_refusals_and_what_is_given_up():
  limits = _completions.Limits(max_tokens=10**9)
  options = {"body_bytes": 1000, "timeout": 1.0, "limits": limits}
  with running(0, **options) as (worker, address), _client(address) as client:
    ask = client.completions.create
    endless = {"model": "jaxseq", "prompt": "a", "max_tokens": 10**9}
    # No later time has room for these.
    with pytest.raises(openai.BadRequestError, match="rows: got 5, expected"):
      ask(n=5, **endless)
    with pytest.raises(openai.APIStatusError, match="more than 1000 bytes"):
      ask(model="jaxseq", prompt="a" * 1000)
    with pytest.raises(openai.APIStatusError, match="got no end in 1.0 sec"):
      ask(**endless)
    with pytest.raises(openai.APIError, match="got no end in 1.0 seconds"):
      list(ask(stream=True, **endless))
    # A client that goes away leaves its slots to others.
    with ask(stream=True, n=4, **endless):
      assert worker.rows == 4
      with pytest.raises(openai.RateLimitError, match="try again later"):
        ask(**endless)
    with pytest.raises(urllib.error.HTTPError, match="400"):
      urllib.request.urlopen(f"{address}/v1/completions", b"{")
    end = time.monotonic() + 30
    while worker.rows and time.monotonic() < end:
      time.sleep(0.01)
    assert worker.rows == 0
    assert "jaxseq_disconnected_total 1\n" in _get(f"{address}/metrics")
    assert ask(model="jaxseq", prompt="a", max_tokens=2).usage.total_tokens == 4


def test_a_stream_has_its_usage_if_asked():
  with running() as (_, address), _client(address) as client:
    asked = {"model": "jaxseq", "prompt": ["In", "A"], "max_tokens": 9, "n": 2}
    asked |= {"stream": True}
    ask = client.completions.create
    *pieces, last = ask(stream_options={"include_usage": True}, **asked)
    assert last.choices == []
    used = last.usage
    assert (used.prompt_tokens, used.completion_tokens) == (5, 36)
    assert used.total_tokens == 41
    assert all(piece.choices and piece.usage is None for piece in pieces)
    assert all("usage" in piece.model_fields_set for piece in pieces)
    for piece in ask(**asked):
      assert piece.choices
      assert "usage" not in piece.model_fields_set


def test_what_is_not_there_is_an_error_of_the_interface():
  with running(model="small") as (_, address), _client(address) as client:
    with pytest.raises(openai.NotFoundError, match="model: got 'gpt', expect"):
      client.completions.create(model="gpt", prompt="a")
    # The last seed there is has one behind it for the second prompt.
    asked = {"prompt": ["a", "b"], "seed": 2**32 - 1, "max_tokens": 1}
    assert client.completions.create(model="", **asked).usage.total_tokens == 6
    status, message = _refused(f"{address}/v1/chat")
    assert status == 404
    assert message.startswith("path: got '/v1/chat', expected one of '/'")
    assert _refused(f"{address}/v1/completions/", b"{}")[0] == 404
    assert _refused(f"{address}/v1/completions") == (
      405,
      "method: got 'GET', expected POST.",
    )
    assert _refused(f"{address}/health", b"{}") == (
      405,
      "method: got 'POST', expected GET or HEAD.",
    )


def _posted(address, **body):
  """Status and message of a body that is refused."""
  return _refused(f"{address}/v1/completions", json.dumps(body).encode())


def test_messages_name_fields_and_are_short():
  with running() as (_, address):
    status, message = _posted(address, prompt="a", max_tokens=int("1" * 4000))
    assert status == 400
    assert message.startswith("max_tokens: got 111")
    assert message.endswith("111, expected an integer from 1 to 4096.")
    assert len(message) < 1100
    status, message = _posted(address, prompt="a", regex="[^\\s\\S]")
    assert (status, message) == (
      400,
      "regex: no text of the tokens matches it.",
    )
    for half in ({"prompt": "\ud800"}, {"prompt": "a", "regex": "\udfff"}):
      status, message = _posted(address, **half)
      assert status == 400
      assert message.startswith("body: got half of a character, expected")


def _begun_body(address, rest):
  """A connection on which a part of a body has been sent."""
  port = int(address.rpartition(":")[2])
  connection = socket.create_connection(("127.0.0.1", port), 30)
  connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n" + rest)
  return connection


def _waited(condition):
  """Whether something comes to be within half a minute."""
  end = time.monotonic() + 30
  while not condition() and time.monotonic() < end:
    time.sleep(0.01)
  return condition()


def test_clients_that_leave_within_their_bodies_are_counted(capsys):
  with running() as (_, address):
    with _begun_body(address, b"Content-Length: 9\r\n\r\n{"):
      assert _waited(lambda: "requests_total 1\n" in _get(f"{address}/metrics"))
    assert _waited(
      lambda: "disconnected_total 1\n" in _get(f"{address}/metrics")
    )
    chunk = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    with _begun_body(address, chunk) as connection:
      connection.sendall(b"no chunk\r\n")
      assert _waited(
        lambda: "disconnected_total 2\n" in _get(f"{address}/metrics")
      )
  assert "Traceback" not in capsys.readouterr().err


class _Silent:
  """A worker whose events the test makes."""

  def submit(self, tasks, hear):
    del tasks
    self.hear = hear
    return [1]


@pytest.mark.parametrize("rounds", range(4))
def test_a_cancellation_that_meets_events_is_not_lost(rounds):
  codec, worker = generation.Codec(), _Silent()
  completion = _completions.parse({"prompt": "a"}, codec)

  async def run():
    rows = _in_flight.Rows(completion, (), worker, codec)

    async def gathered():
      async for _ in rows.pieces(60.0):
        pass

    work = asyncio.ensure_future(gathered())
    await asyncio.sleep(0.01)
    worker.hear([])
    # In some round both come before the one who waits goes on.
    for _ in range(rounds):
      await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait({work}, timeout=2)
    assert work.cancelled()

  asyncio.run(run())


def test_a_server_that_ends_says_so_to_who_waits(capsys):
  limits = _completions.Limits(max_tokens=10**9)
  body = {"prompt": "a", "max_tokens": 10**9}
  message = "server: got no time for an end before it shuts down."

  def streamed(address):
    asked = json.dumps(body | {"stream": True}).encode()
    return _get(urllib.request.Request(f"{address}/v1/completions", asked))

  with futures.ThreadPoolExecutor() as pool:
    with running(grace=1.0, limits=limits) as (worker, address):
      asked = f"{address}/v1/completions", json.dumps(body).encode()
      plain = pool.submit(_refused, *asked)
      stream = pool.submit(streamed, address)
      # A request that does not come to its own end.
      port = int(address.rpartition(":")[2])
      slow = socket.create_connection(("127.0.0.1", port), 30)
      slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n")
      slow.sendall(b"Content-Length: 9\r\n\r\n{")
      end = time.monotonic() + 30
      while worker.rows < 2 and time.monotonic() < end:
        time.sleep(0.01)
      start = time.monotonic()
    assert time.monotonic() - start < 20
    assert plain.result() == (503, message)
    *_, piece, error = stream.result().strip().split("\n\n")
    assert '"text": ' in piece
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == (
      message
    )
    with slow, slow.makefile("rb") as answer:
      assert b" 503 " in answer.readline()
      assert message.encode() in answer.read()
  logged = capsys.readouterr().err
  assert "Finished server process" in logged
  assert "Traceback" not in logged
  assert "Cancel" not in logged


def test_a_server_says_that_its_engine_has_failed(monkeypatch, caplog):
  with running() as (worker, address), _client(address) as client:

    def fail():
      raise MemoryError

    monkeypatch.setattr(worker.engine, "advance", fail)
    with pytest.raises(openai.InternalServerError, match="it has failed"):
      client.completions.create(model="jaxseq", prompt="a")
    with pytest.raises(urllib.error.HTTPError, match="503"):
      _get(f"{address}/health")
    with pytest.raises(openai.InternalServerError, match="has stopped"):
      client.completions.create(model="jaxseq", prompt="a")
  assert "The engine has failed" in caplog.text


@pytest.mark.slow
def test_many_clients_get_what_is_theirs():
  """64 at once, streamed and not: none lost, rows as of whole batches."""
  rng = np.random.default_rng(0)
  prompts = [
    "stem of all: " * (i % 2) + "x" * int(rng.integers(1, 40)) + str(i)
    for i in range(192)
  ]
  cache = generation.PrefixCache(10**6)

  async def ask(client, i, gate):
    async with gate:
      made = client.completions.create(
        model="jaxseq",
        prompt=prompts[i],
        max_tokens=12,
        seed=i,
        stream=i % 3 == 0,
      )
      if i % 3:
        return (await made).choices[0].text
      parts = [piece.choices[0].text async for piece in await made]
      return "".join(parts)

  async def run(address):
    gate = asyncio.Semaphore(64)
    async with openai.AsyncOpenAI(
      base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=300
    ) as client:
      jobs = [ask(client, i, gate) for i in range(len(prompts))]
      return await asyncio.gather(*jobs)

  with running(cache=cache) as (worker, address):
    found = asyncio.run(run(address))
    assert worker.rows == 0
  assert found == _offline(prompts, 12, range(len(prompts)))
  assert cache.hits > 60
