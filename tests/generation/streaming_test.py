import jax
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.generation import streaming
from tests.generation import networks

BYTES = {"vocab_size": 256}


def test_rows_come_token_by_token():
  network, variables = networks.make("gru")
  prompts = [[1, 2, 3], [4], [5, 6]]
  expected, _ = generation.generate(
    network, variables, prompts, 9, jax.random.key(0), temperature=0.7, stop=2
  )
  rows = [[] for _ in prompts]
  for piece in generation.stream(
    network, variables, prompts, 9, temperature=0.7, stop=2
  ):
    rows[piece.row].append(piece)
  for pieces, whole in zip(rows, np.asarray(expected)):
    found = [piece.token for piece in pieces]
    np.testing.assert_array_equal(found, whole[: len(found)])
    assert [piece.reason for piece in pieces[:-1]] == [None] * (len(found) - 1)
    stops = found[-1] == 2
    assert pieces[-1].reason == ("stop" if stops else "length")
    assert stops or len(found) == 9


@pytest.mark.slow
def test_a_text_ends_its_row():
  network, variables = networks.make("gru", **BYTES)
  codec = generation.Codec()
  options = {"codec": codec, "seeds": [3, 4], "count": 2}
  prompts = ["In the", "And"]
  free = generation.complete(network, variables, prompts, 12, **options)
  seen = []
  stop = "".join(free[0][0].text[4:6])
  ended = generation.complete(
    network,
    variables,
    prompts,
    12,
    stop_texts=[stop],
    callback=seen.append,
    **options,
  )
  assert free[0][0].reason == "length"
  assert ended[0][0].reason == "stop"
  assert ended[0][0].text == free[0][0].text.split(stop)[0]
  for whole, cut in zip(sum(free, []), sum(ended, [])):
    count = len(cut.tokens)
    np.testing.assert_array_equal(cut.tokens, whole.tokens[:count])
    np.testing.assert_array_equal(cut.log_probs, whole.log_probs[:count])
    if stop not in whole.text:
      assert cut.text == whole.text
  assert len(seen) == sum(len(row.tokens) for row in sum(ended, []))


def test_a_stop_token_is_no_text():
  event = generation.requests.Event(
    1, 0, np.array([97, 0xE2, 10]), np.zeros(3), "stop"
  )
  text = generation.TextStream(generation.Codec())
  pieces = streaming.pieces_of(event, 0, text)
  assert [piece.text for piece in pieces] == ["a", "", "\ufffd"]
  assert [piece.reason for piece in pieces] == [None, None, "stop"]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"prompts": ["text"]}, "prompt: got 'text', expected tokens, for there"),
    ({"stop_texts": ["a"]}, "expected none without a codec"),
    ({"seeds": [1, 2]}, "seeds: got '2 of them', expected 1, one for each"),
    ({"length": [1, 2]}, "length: got '2 of them', expected 1, one for each"),
    ({"count": 0}, "count: got 0, expected an integer of at least 1"),
    (
      {"sampling": generation.Sampling(), "top_k": 2},
      r"None with other options \(top_k\)",
    ),
  ],
)
def test_bad_options(options, message):
  network, variables = networks.make("gru")
  options = {"prompts": [[1, 2]], "length": 3} | options
  with pytest.raises(ValueError, match=message):
    generation.stream(network, variables, **options)
