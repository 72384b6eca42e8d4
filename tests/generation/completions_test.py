import numpy as np
import pytest

from jaxseq import generation
from jaxseq.generation import _completions

CODEC = generation.Codec()


def _parse(**body):
  return _completions.parse(body, CODEC)


def test_a_body_becomes_requests():
  found = _parse(
    model="x",
    prompt=["ab", "c"],
    max_tokens=5,
    n=2,
    seed=7,
    temperature=0.5,
    top_k=3,
    min_tokens=2,
    stop="\n",
    stop_token_ids=[4],
    logprobs=0,
    echo=False,
    user=None,
  )
  assert [request.seed for request in found.requests] == [7, 8]
  np.testing.assert_array_equal(found.requests[0].prompt, [0, 97, 98])
  for request in found.requests:
    assert (request.length, request.count) == (5, 2)
    assert request.sampling == generation.Sampling(
      temperature=0.5, top_k=3, min_length=2, stop=4
    )
  assert found.stop == ("\n",)
  assert found.logprobs
  assert not found.stream


def test_prompts_may_be_tokens():
  assert len(_parse(prompt=[1, 2]).requests) == 1
  assert len(_parse(prompt=[[1, 2], [3]]).requests) == 2
  assert _parse(prompt="a", regex="b+").requests[0].pattern == "b+"
  # Requests without a seed do not give the same.
  seeds = {_parse(prompt="a").requests[0].seed for _ in range(4)}
  assert len(seeds) == 4


def test_end_tokens_of_the_model_may_be_ignored():
  def stops(**options):
    body = {"prompt": "a", "stop_token_ids": [4]} | options
    found = _completions.parse(body, CODEC, stop_tokens=(9,))
    return found.requests[0].sampling.stop

  assert stops() == stops(ignore_eos=False) == (9, 4)
  assert stops(ignore_eos=True) == (4,)
  with pytest.raises(ValueError, match="ignore_eos: got 1, expected true or"):
    stops(ignore_eos=1)


def test_an_echo_alone_counts_no_tokens():
  found = _parse(prompt=["ab", [0, 99]], echo=True, max_tokens=0)
  assert found.echo == ("ab", "c")
  assert found.is_echo_alone
  assert _completions.usage(found, 2)["completion_tokens"] == 0
  with pytest.raises(
    ValueError, match="max_tokens: got 0, expected an integer"
  ):
    _parse(prompt="ab", max_tokens=0)


def test_a_stream_may_have_its_usage():
  def asked(**options):
    return _parse(prompt="a", stream=True, **options).include_usage

  assert asked(stream_options={"include_usage": True})
  assert not asked(stream_options={"include_usage": False})
  assert not asked(stream_options=None)


def test_a_name_is_that_of_the_model():
  for named in ({"model": "ours"}, {"model": ""}, {"model": None}, {}):
    _completions.parse({"prompt": "a"} | named, CODEC, model="ours")
  with pytest.raises(_completions.UnknownModel, match="model: got 'x', exp"):
    _completions.parse({"prompt": "a", "model": "x"}, CODEC, model="ours")


def test_a_name_may_be_that_of_an_adapter():
  served = {"model": "ours", "adapters": ("tuned", "other")}
  for name, adapter in (("tuned", "tuned"), ("ours", None), ("", None)):
    body = {"prompt": "a", "model": name}
    completion = _completions.parse(body, CODEC, **served)
    assert completion.requests[0].adapter == adapter
  with pytest.raises(_completions.UnknownModel, match="'tuned' or 'other'"):
    _completions.parse({"prompt": "a", "model": "x"}, CODEC, **served)


@pytest.mark.parametrize(
  ("body", "message"),
  [
    ([], "body: got 'list', expected a JSON object"),
    ({}, "prompt: got None, expected a text, a list of tokens"),
    ({"prompt": {"a": 1}}, "prompt: got 'dict', expected"),
    ({"prompt": []}, "prompt: got 'an empty list', expected a text"),
    ({"prompt": [65, "a"]}, r"prompt\[1\]: got 'a', expected a token"),
    ({"prompt": [[1], "a", 0.5]}, r"prompt\[2\]: got 0.5, expected a text"),
    ({"prompt": [[1], [2, [3]]]}, r"prompt\[1\]\[1\]: got \[3\], expected"),
    ({"prompt": [1, ["a"] * 99]}, r"prompt\[1\]: got 'list', expected a tok"),
    ({"prompt": [[]]}, "prompt: got '0 tokens', expected from 1 to"),
    ({"prompt": [2**40]}, r"prompt\[0\]: got 1099511627776, expected a tok"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens: got 0, expected"),
    ({"prompt": "a", "max_tokens": 10**9}, "expected an integer from 1 to"),
    ({"prompt": "a", "n": 65}, "n: got 65, expected an integer from 1 to 64"),
    ({"prompt": ["a"] * 9, "n": 8}, "rows: got 72, expected at most 64"),
    ({"prompt": "a", "temperature": "1"}, "temperature: got '1', expected a"),
    ({"prompt": "a", "tempature": 1}, "field: got 'tempature'.*did you mean"),
    ({"prompt": "a", "best_of": 2}, "best_of: got 2, expected 1, or none"),
    ({"prompt": "a", "stop": ["", "a"]}, "stop: got .* not empty"),
    ({"prompt": "a", "stop": [1]}, "stop: got .* a text, or a list of texts"),
    ({"prompt": "a", "stop_token_ids": 3}, "stop_token_ids: got 3, expected"),
    ({"prompt": "a", "stream": 1}, "stream: got 1, expected true or false"),
    ({"prompt": "a", "logprobs": 21}, "logprobs: got 21, expected an integer"),
    ({"prompt": "a", "regex": ["b"]}, "regex: got 'list', expected a text"),
    ({"prompt": "a", "seed": 0.5}, "seed: got 0.5, expected an integer"),
    (
      {"prompt": "a", "seed": -1},
      "^seed: got -1, expected an integer from 0 to 4294967295.$",
    ),
    ({"prompt": "a", "seed": 2**32}, "seed: got 4294967296, expected"),
    ({"prompt": "a", "min_tokens": -1}, "min_tokens: got -1, expected"),
    ({"prompt": "a", "stop_token_ids": ["b"]}, "^stop_token_ids: got "),
    ({"prompt": "a", "model": 5}, "model: got 5, expected a text"),
    (
      {"prompt": "a", "stream_options": {"include_usage": True}},
      "stream_options: got {'include_usage': True}, expected none, as stream",
    ),
    (
      {"prompt": "a", "stream": True, "stream_options": 5},
      "stream_options: got 5, expected an object with include_usage alone",
    ),
    (
      {"prompt": "a", "stream": True, "stream_options": {"usage": True}},
      "stream_options: got {'usage': True}, expected an object",
    ),
    (
      {"prompt": "a", "stream": True, "stream_options": {"include_usage": 1}},
      "stream_options.include_usage: got 1, expected true or false",
    ),
  ],
)
def test_bad_bodies(body, message):
  with pytest.raises(ValueError, match=message):
    _completions.parse(body, CODEC)
