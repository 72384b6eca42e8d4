"""Connections of a server: their number, their time, and its end."""

import contextlib
import http.client
import socket
import threading
import time
import types

import pytest

from jaxseq.generation import _connections
from jaxseq.generation import server

pytest.importorskip("uvicorn", reason="the extra serve is needed")
pytest.importorskip("starlette", reason="the extra serve is needed")


def _application(work):
  """An application that answers each request with what a function returns."""

  async def app(scope, receive, send):
    if scope["type"] != "http":
      return
    while (await receive()).get("more_body"):
      pass
    body = work()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

  app.state = types.SimpleNamespace(give_up=lambda: None)
  return app


@contextlib.contextmanager
def _running(work=lambda: b"done", **options):
  """Runs a server in a thread; yields it and its port."""
  running = server.make_server(_application(work), grace=5.0, **options)
  running.config.lifespan = "off"
  with socket.socket() as listening:
    listening.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
      while not running.started:
        time.sleep(0.01)
      yield running, listening.getsockname()[1]
    finally:
      running.should_exit = True
      thread.join()


def _connection(port, content=b""):
  made = socket.create_connection(("127.0.0.1", port), 20)
  made.sendall(content)
  return made


def _get(port):
  """The status and the body of an answer."""
  client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
  with contextlib.closing(client):
    client.request("GET", "/")
    answer = client.getresponse()
    return answer.status, answer.read()


_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"


@pytest.mark.parametrize(
  "content", [b"", b"GET / HT", _HEAD, _HEAD + b"\r\n", _HEAD + b"\r\nab"]
)
def test_half_a_request_is_not_waited_for(content):
  with _running(request_timeout=0.5) as (_, port):
    with _connection(port, content) as half:
      start = time.monotonic()
      assert half.recv(100) == b""
      assert 0.3 < time.monotonic() - start < 10
    # Nor is half of a second one.
    with _connection(port, _HEAD + b"\r\nabcde" + content) as half:
      assert b"200 OK" in half.recv(1000)
      while half.recv(1000):
        pass
    assert _get(port) == (200, b"done")


def test_an_answer_may_take_longer_than_its_request():
  def work():
    time.sleep(1)
    return b"late"

  with _running(work, request_timeout=0.2) as (_, port):
    assert _get(port) == (200, b"late")


def test_connections_beyond_a_number_are_refused():
  with _running(connections=4, request_timeout=2.0) as (running, port):
    held = [_connection(port) for _ in range(4)]
    try:
      with _connection(port) as more:
        answer = more.recv(1000)
      assert answer.startswith(b"HTTP/1.1 503 ")
      assert b"connections: got as many as there is room for" in answer
    finally:
      for each in held:
        each.close()
    end = time.monotonic() + 10
    while running.server_state.connections and time.monotonic() < end:
      time.sleep(0.01)
    assert _get(port) == (200, b"done")


def test_half_of_the_open_files_are_left(monkeypatch):
  resource = pytest.importorskip("resource")
  monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4096))
  assert _connections._most(512) == 128
  assert _connections._most(100) == 100
  monkeypatch.setattr(
    resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2
  )
  assert _connections._most(512) == 512


def test_requests_that_were_sent_before_the_end_are_answered():
  begun = threading.Event()

  def work():
    # Nothing is taken meanwhile, as under load.
    if not begun.is_set():
      begun.set()
      time.sleep(0.5)
    return b"done"

  with _running(work) as (running, port):
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    clients = [_connection(port, asked)]
    begun.wait(10)
    clients += [_connection(port, asked) for _ in range(5)]
    running.should_exit = True
    for client in clients:
      with client, client.makefile("rb") as answer:
        assert b"done" in answer.read()


def test_wrong_bounds_are_refused():
  for options in ({"connections": 0}, {"request_timeout": 0.0}):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}: got 0"):
      server.make_server(_application(bytes), **options)
