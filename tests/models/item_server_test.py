"""The server of recommendations: what it lists, follows, and refuses."""

import asyncio
import dataclasses
import json

import pytest

from experiments import serve
from jaxseq.models import item_server
from tests.models import cases

testclient = pytest.importorskip(
  "starlette.testclient", reason="the extra serve is needed"
)


def test_lists_are_those_of_the_whole_history():
  model = cases.case("recommendation").model
  client = testclient.TestClient(item_server.make_app(model))
  for user, item in (("a", "3"), ("b", "7"), ("a", "5")):
    event = {"user": user, "item": item, "time": None}
    assert client.post("/v1/events", json=event).json() == {"user": user}
  for user, history in (("a", ["3", "5"]), ("b", ["7"])):
    found = client.post("/v1/recommend", json={"user": user}).json()
    wanted = model.predict([history])
    assert found["items"] == wanted["item"].tolist()
    # The network reads its newest items, and the stream all of them.
    assert found["scores"] == pytest.approx(wanted["score"].tolist(), rel=1e-4)
  some = {"user": "a", "k": 3, "items": ["1", "3", "9"]}
  assert set(client.post("/v1/recommend", json=some).json()["items"]) == {
    *("1", "9")
  }
  again = client.post("/v1/recommend", json={**some, "repeats": True}).json()
  assert set(again["items"]) == {"1", "3", "9"}
  assert client.get("/health").json() == {"status": "ok"}
  routes = ["POST /v1/events", "POST /v1/recommend", "GET /health"]
  assert client.get("/").json()["routes"] == ["GET /", *routes]
  # The help of the program says so of each kind of model.
  told = serve.__doc__.partition("\n    recommendation ")[2].partition("\n\n")[
    0
  ]
  assert all(route in told for route in routes)
  assert "metrics" not in told
  _refusals(client)


def test_fields_have_the_names_of_the_page_or_of_the_training():
  model = cases.case("recommendation").model
  columns = {"user": "customer", "item": "sku", "time": "at"}
  prepared = dataclasses.replace(model.preparation, **columns)
  model = dataclasses.replace(model, preparation=prepared)
  client = testclient.TestClient(item_server.make_app(model))

  def post(route, **fields):
    return client.post(f"/v1/{route}", json=fields).json()

  assert post("events", user="a", item="3", time=None) == {"user": "a"}
  assert post("events", customer="b", sku="3", at=None) == {"user": "b"}
  lists = [post("recommend", user="a"), post("recommend", customer="b")]
  assert lists[0]["items"] == lists[1]["items"]
  twice = post("events", user="a", customer="a", sku="3")
  assert "expected 'user' or 'customer'" in twice["error"]["message"]


def _refusals(client):
  """What is refused says why, and changes nothing."""
  cases_of = (
    ("events", {"user": "a"}, "body: got ['user'], expected 'item' too: it is"),
    ("events", {"user": "a", "item": None}, "item: got None, expected a text"),
    ("recommend", {"k": 2}, "body: got ['k'], expected 'user' too"),
    ("events", {"user": "a", "item": "odd"}, "item: got 'odd'"),
    ("events", {"user": "", "item": "3"}, "user: got nothing, expected"),
    ("events", {"user": "a", "item": "3", "time": "x"}, "time: got 'x'"),
    (
      "recommend",
      {"user": "new"},
      "user: got 'new', expected one that has sent an event to this server",
    ),
    ("recommend", {"user": "a", "k": 0}, "k: got 0"),
    ("recommend", {"user": "a", "n": 3}, "field: got 'n'"),
    ("recommend", [1], "body: got"),
  )
  for path, body, message in cases_of:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)
  assert client.post("/v1/events", content=b"{").status_code == 400
  large = client.post("/v1/events", content=b" " * (2**20 + 1))
  assert large.status_code == 413
  assert "no such route" in client.get("/v1/lists").json()["error"]["message"]


def test_the_least_recent_users_are_forgotten():
  model = cases.case("recommendation").model
  client = testclient.TestClient(item_server.make_app(model, users=2))

  def take(user, item):
    event = {"user": user, "item": item}
    assert client.post("/v1/events", json=event).status_code == 200

  def ask(user):
    return client.post("/v1/recommend", json={"user": user})

  take("a", "3")
  take("b", "7")
  # Who asks is as recent as who sends.
  first = ask("a").json()
  take("c", "5")
  assert ask("b").status_code == 400
  assert "one that has sent an event" in ask("b").json()["error"]["message"]
  assert ask("a").json() == first
  # The row of another user has nothing of them.
  take("b", "3")
  take("a", "3")
  assert ask("b").json()["items"] == first["items"]
  assert ask("c").status_code == 400


def test_names_have_a_length_and_whole_characters():
  model = cases.case("recommendation").model
  app = item_server.make_app(model, name_length=9)
  client = testclient.TestClient(app)
  for body, message in (
    ({"user": "a" * 10, "item": "3"}, "user: characters: got 10, expected at"),
    ({"user": "a", "item": "3" * 10}, "item: characters: got 10, expected at"),
    ({"user": "\ud800", "item": "3"}, "body: got half of a character"),
    ({"user": "a", "\udfff": "3"}, "body: got half of a character"),
  ):
    for path in ("events", "recommend"):
      if path == "recommend" and "half" not in message:
        continue
      answer = client.post(f"/v1/{path}", content=json.dumps(body))
      assert answer.status_code == 400
      assert answer.json()["error"]["message"].startswith(message)
  # UTF-8 of a half, and other encodings.
  for content in (
    b'{"user": "\xed\xa0\x80"}',
    '{"user": "a"}'.encode("utf-16"),
  ):
    assert client.post("/v1/events", content=content).status_code == 400
  # Nothing was taken.
  for user in ("a" * 10, "\ud800"):
    answer = client.post("/v1/recommend", content=json.dumps({"user": user}))
    assert answer.status_code == 400


def test_a_client_that_leaves_within_its_body_is_no_error():
  app = item_server.make_app(cases.case("recommendation").model)
  sent, part = [], {"type": "http.request", "body": b"{", "more_body": True}
  received = iter([part, {"type": "http.disconnect"}])
  scope = {"type": "http", "method": "POST", "path": "/v1/events"}

  async def receive():
    return next(received)

  async def send(message):
    sent.append(message)

  asyncio.run(app({**scope, "headers": [], "query_string": b""}, receive, send))
  assert sent[0]["status"] == 499
