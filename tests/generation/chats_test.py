"""Chats on the server, formats of answers, and keys."""

import json
import re
import types
import urllib.error
import urllib.request

import pytest

from jaxseq import generation
from jaxseq.data import chats
from jaxseq.generation import _chats
from jaxseq.generation import _completions
from jaxseq.generation import _schemas
from jaxseq.generation import automaton

TEMPLATE = """
{%- if tools %}{{ tools[0].function.name }};{% endif %}
{%- for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}
{%- if add_generation_prompt %}assistant:{% endif %}"""
ASKED = "user: Hi\nassistant:"
MESSAGES = [{"role": "user", "content": "Hi"}]


class _Bytes:
  """A tokenizer of bytes."""

  normalizer = None

  def encode(self, text, add_special_tokens):
    assert not add_special_tokens
    ids = list(text.encode())
    spans = [(i, i + 1) for i in range(len(ids))]
    return types.SimpleNamespace(ids=ids, offsets=spans)


def _template():
  pytest.importorskip("jinja2", reason="the extra chats is needed")
  return chats.Template(_Bytes(), TEMPLATE)


def _parse(body, template=None):
  form = _chats.make_form(template or _template(), 99)
  return _completions.parse(form.body(body), generation.Codec())


def test_messages_become_a_prompt():
  found = _parse({"messages": MESSAGES, "temperature": 0.5, "logprobs": True})
  (request,) = found.requests
  assert bytes(request.prompt.tolist()).decode() == ASKED
  assert (request.length, request.sampling.temperature) == (99, 0.5)
  assert found.logprobs
  parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
  messages = [
    {"role": "user", "content": parts},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]},
  ]
  tools = [{"type": "function", "function": {"name": "look"}}]
  found = _parse(
    {"messages": messages, "tools": tools, "max_completion_tokens": 3}
  )
  (request,) = found.requests
  text = "user: a\nb\nassistant: \nassistant:"
  assert bytes(request.prompt.tolist()).decode() == f"look;{text}"
  assert request.length == 3
  options = {"tools": tools, "tool_choice": "none", "max_tokens": 4}
  (request,) = _parse({"messages": messages, **options}).requests
  assert bytes(request.prompt.tolist()).decode() == text
  assert request.length == 4


CALLS = """
{%- for message in messages %}{% for call in message.tool_calls or [] %}
{%- for name, value in call.function.arguments | items %}{{ name }}={{ value }}
{%- endfor %};{% endfor %}{% endfor %}{{ "thinks" if enable_thinking }}"""


def test_templates_get_objects_of_arguments_and_options():
  pytest.importorskip("jinja2", reason="the extra chats is needed")
  template = chats.Template(_Bytes(), CALLS)
  call = {"id": "x", "type": "function"}
  arguments = ('{"a": 1}', {"b": 2})
  calls = [
    {**call, "function": {"name": "f", "arguments": x}} for x in arguments
  ]
  messages = [{"role": "assistant", "content": None, "tool_calls": calls}]
  body = {"messages": messages, "chat_template_kwargs": {"enable_thinking": 1}}
  (request,) = _parse(body, template).requests
  assert bytes(request.prompt.tolist()).decode() == "a=1;b=2;thinks"
  body["chat_template_kwargs"] = {"tools": []}
  with pytest.raises(ValueError, match="chat_template_kwargs: got 'tools'"):
    _parse(body, template)
  for wrong in ("no JSON", "[1]"):
    calls[0]["function"]["arguments"] = wrong
    with pytest.raises(ValueError, match="the chat template fails with it"):
      _parse({"messages": messages}, template)


def test_fields_that_change_no_answer_are_taken():
  fields = {"user": "me", "metadata": {}, "store": False}
  fields |= {"service_tier": "auto", "parallel_tool_calls": True}
  assert _parse({"messages": MESSAGES, **fields}).requests


@pytest.mark.parametrize(
  ("body", "message"),
  [
    ([], "body: got 'list', expected a JSON object"),
    ({}, "messages: got 'NoneType', expected a list"),
    ({"messages": []}, r"messages: got \[\], expected at least one"),
    ({"messages": [{"content": "a"}]}, r"messages\[0\]: role: got 'NoneType'"),
    ({"messages": [{"role": "user"}]}, r"messages\[0\]: content: got 'NoneT"),
    (
      {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
      r"content\[0\]: type: got 'image_url', expected one of 'text'",
    ),
    ({"messages": MESSAGES, "prompt": "a"}, "field: got 'prompt', expected m"),
    ({"messages": MESSAGES, "logprobs": 1}, "logprobs: got 'int', expected t"),
    ({"messages": MESSAGES, "top_logprobs": 5}, "top_logprobs: got 5"),
    ({"messages": MESSAGES, "echo": True}, "field: got 'echo', expected mess"),
    ({"messages": MESSAGES, "tool_choice": "required"}, "tool_choice: got"),
    ({"messages": MESSAGES, "message": 1}, "field: got 'message'"),
  ],
)
def test_wrong_chats_are_refused(body, message):
  with pytest.raises(ValueError, match=message):
    _parse(body)


def test_a_model_without_a_template_says_so():
  body = _chats.make_form(None, 99).body
  with pytest.raises(ValueError, match="messages: the model has no chat templ"):
    body({"messages": MESSAGES})


SCHEMA = {
  "$defs": {"Kind": {"enum": ["a.b", 3, None]}},
  "type": "object",
  "properties": {
    "kind": {"$ref": "#/$defs/Kind"},
    "note": {"type": ["string", "null"], "maxLength": 2},
    "numbers": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    "last": {"anyOf": [{"type": "boolean"}, {"const": "no"}]},
  },
  "required": ["numbers"],
  "additionalProperties": False,
}


def _format(schema):
  return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize(
  ("schema", "good", "bad"),
  [
    (
      SCHEMA,
      [
        '{"numbers": [1, -20]}',
        '{"kind":"a.b","numbers":[]}',
        '{"kind": null, "note": "ab", "numbers": [0], "last": "no"}',
        '{"note": null, "numbers": [1], "last": true}',
      ],
      [
        "{}",
        '{"numbers": [1, 2, 3]}',
        '{"numbers": [01]}',
        '{"numbers": [1],}',
        '{"kind": "axb", "numbers": []}',
        '{"note": "abc", "numbers": []}',
        '{"numbers": [], "kind": 3}',
      ],
    ),
    (
      {"properties": {"a": {"type": "number"}, "b": {"type": "null"}}},
      ["{}", '{"a": 1.5e3}', '{"b": null}', '{"a": 1, "b": null}'],
      ['{"a": 1"b": null}', '{, "b": null}', '{"b": null, "a": 1}'],
    ),
    (
      {"type": "array", "items": {"type": "string"}, "minItems": 2},
      ['["a", "\\n"]', '["a","b","\u00fc"]'],
      ['["a"]', "[]", '["a" "b"]', '["\n", ""]'],
    ),
    (
      {"type": "object", "additionalProperties": {"type": "integer"}},
      ['{"a": 1, "b": -2}', "{}"],
      ['{"a": "b"}', '{"a": 1.5}'],
    ),
    (None, ['{"a": [1, {"b": "c"}]}', "{}"], ["[1]", "{a: 1}", '{"a": }']),
  ],
)
def test_formats_of_answers(schema, good, bad):
  described = _format(schema) if schema else {"type": "json_object"}
  pattern = _schemas.pattern(described)
  for text in good:
    assert re.fullmatch(pattern, text), text
    json.loads(text)
  for text in bad:
    assert not re.fullmatch(pattern, text), text
  # The engine's automata read it, too.
  assert automaton.over_bytes(pattern, 10_000)


@pytest.mark.parametrize(
  ("described", "message"),
  [
    ({"type": "xml"}, "response_format: type: got 'xml', expected one of"),
    ({"type": "json_schema"}, "json_schema: got 'NoneType', expected an ob"),
    (_format({"type": "string", "pattern": "a"}), "schema: got 'pattern'"),
    (_format({"type": "integer", "minimum": 1}), "schema: got 'minimum'"),
    (_format({"$ref": "#"}), "more schemas in each other', expected at most"),
    (_format({"$ref": "#/$defs/x"}), r"\$ref: got '#/\$defs/x', expected a p"),
    (_format({"type": "text"}), "type: got 'text', expected one of 'string'"),
    (
      _format({"type": "object", "properties": {}, "required": ["a"]}),
      "required: got 'a', expected names of properties",
    ),
  ],
)
def test_formats_that_are_not_read_are_named(described, message):
  with pytest.raises(ValueError, match=message):
    _schemas.pattern(described)


def test_a_format_is_the_pattern_of_a_request():
  body = {"prompt": "a", "response_format": {"type": "json_object"}}
  (request,) = _completions.parse(body, generation.Codec()).requests
  assert request.pattern == _schemas.pattern({"type": "json_object"})
  with pytest.raises(ValueError, match="regex: got 'b', expected none beside"):
    _completions.parse({**body, "regex": "b"}, generation.Codec())


def _post(address, body, key=None):
  headers = {"Authorization": f"Bearer {key}"} if key else {}
  request = urllib.request.Request(address, json.dumps(body).encode(), headers)
  try:
    with urllib.request.urlopen(request) as answer:
      return answer.status, answer.read().decode()
  except urllib.error.HTTPError as error:
    with error:
      return error.code, error.read().decode()


def test_chats_are_answered_as_their_prompts_are():
  from tests.generation import server_test

  served = server_test.running(
    model="small", template=_template(), states=2048, api_keys=("one", "two")
  )
  with served as (_, address):
    place = f"{address}/v1/chat/completions"
    options = {"messages": MESSAGES, "seed": 5, "max_tokens": 9}
    status, refused = _post(place, options)
    assert (status, "got no key" in refused) == (401, True)
    assert _post(place, options, "three")[0] == 401
    with urllib.request.urlopen(f"{address}/health") as answer:
      assert answer.status == 200
    client = server_test.openai.OpenAI(
      base_url=f"{address}/v1", api_key="two", max_retries=0, timeout=60
    )
    with client:
      ask, plain = client.chat.completions.create, client.completions.create
      prompt = list(ASKED.encode())
      want = plain(model="small", prompt=prompt, seed=5, max_tokens=9, n=2)
      found = ask(model="small", **options, n=2, logprobs=True)
      assert [each.message.content for each in found.choices] == [
        each.text for each in want.choices
      ]
      assert found.choices[0].message.role == "assistant"
      assert len(found.choices[0].logprobs.content) == 9
      assert found.object == "chat.completion"
      assert found.usage.prompt_tokens == len(prompt)
      pieces = list(ask(model="small", **options, n=2, stream=True))
      assert {piece.object for piece in pieces} == {"chat.completion.chunk"}
      for i, each in enumerate(want.choices):
        deltas = [x.choices[0].delta for x in pieces if x.choices[0].index == i]
        assert "".join(delta.content for delta in deltas) == each.text
        roles = [delta.role for delta in deltas]
        assert roles == ["assistant", *[None] * (len(deltas) - 1)]
      options |= {"max_tokens": 300, "temperature": 0.3}
      schema = {"properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
      found = ask(model="small", **options, response_format=_format(schema))
      assert json.loads(found.choices[0].message.content)["a"] in (1, 2)
    status, refused = _post(place, {"messages": [{"role": "user"}]}, "one")
    assert status == 400
    assert "messages[0]: content: got 'NoneType'" in refused
