"""Log probabilities, echoes and biases of answers, by a public client."""

import jax
import numpy as np
import pytest

from jaxseq.generation import scoring
from tests.generation import chats_test
from tests.generation import networks
from tests.generation import server_test

openai = server_test.openai


def _logs(tokens):
  """(time - 1, vocab), what the network says behind each token."""
  network, variables = networks.make("gru", vocab_size=256)
  logits, _ = network.apply(variables, np.array([tokens]))
  return np.asarray(jax.nn.log_softmax(logits[0, :-1]))


def _joined(pieces):
  """The text and the log probabilities of a stream's only choice."""
  choices = [piece.choices[0] for piece in pieces]
  logs = [each.logprobs for each in choices if each.logprobs]
  return "".join(each.text for each in choices), [
    sum((getattr(each, name) for each in logs), [])
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")
  ]


@pytest.mark.parametrize("mixer", ["gru", "attention"])
def test_scores_are_those_of_the_network(mixer):
  """Of texts of any lengths, behind an end and in several pieces."""
  network, variables = networks.make(mixer)
  texts = [[1, 2, 3, 4, 5, 6, 1, 2, 3, 0], [3], [5, 5, 2]]
  sizes = {"rows": 2, "chunk": 4}
  found = scoring.score(network, variables, texts, tops=2, **sizes)
  assert found[1].log_probs.shape == (0,)
  for text, scores in zip(texts, found):
    logits, _ = network.apply(variables, np.array([text]))
    logs = np.asarray(jax.nn.log_softmax(logits[0, :-1]))
    want = np.take_along_axis(logs, np.array(text[1:], int)[:, None], -1)
    np.testing.assert_allclose(scores.log_probs, want[:, 0], atol=1e-5)
    best = np.argsort(-logs, axis=-1)[:, :2]
    np.testing.assert_array_equal(scores.tops.tokens, best)
  with pytest.raises(ValueError, match="prompt: got 7, expected tokens"):
    scoring.score(network, variables, [[7]])


def test_a_client_gets_log_probabilities_and_biases():
  template = chats_test._template()
  served = server_test.running(model="small", template=template)
  with served as (_, address), server_test._client(address) as client:
    _check_completions(client.completions.create)
    _check_chats(client.chat.completions.create)


def _check_completions(ask):
  options = {"model": "small", "max_tokens": 4, "seed": 5}
  prompt = list(b"\0Oslo")
  plain = ask(prompt=prompt, **options).choices[0].text
  whole = {"prompt": prompt, "logprobs": 3, "echo": True}
  found = ask(**whole, **options)
  (choice,) = found.choices
  assert choice.text == f"Oslo{plain}"
  assert found.usage.prompt_tokens == 5
  logs = choice.logprobs
  assert logs.token_logprobs[0] is logs.top_logprobs[0] is None
  assert logs.text_offset[:6] == [0, 0, 1, 2, 3, 4]
  expected = _logs(prompt)
  for i, token in enumerate(prompt[1:]):
    log_prob, best = logs.token_logprobs[i + 1], logs.top_logprobs[i + 1]
    assert log_prob == pytest.approx(expected[i, token], abs=1e-4)
    assert best[chr(token)] == log_prob
    assert max(best.values()) == pytest.approx(expected[i].max(), abs=1e-4)
  text, parts = _joined(ask(**whole, **options, stream=True))
  assert text == choice.text
  assert parts == [
    *(logs.tokens, logs.token_logprobs),
    *(logs.top_logprobs, logs.text_offset),
  ]
  none = ask(**whole, **options | {"max_tokens": 0})
  assert (none.choices[0].text, none.usage.completion_tokens) == ("Oslo", 0)
  scores = none.choices[0].logprobs.token_logprobs
  assert scores == logs.token_logprobs[:5]
  assert none.choices[0].finish_reason == "length"
  assert ask(prompt="a b", echo=True, **options).choices[0].text[:3] == "a b"
  forced = ask(prompt="a", logit_bias={"122": 100}, **options)
  assert forced.choices[0].text == "zzzz"
  for bias, message in (
    ({"300": 1}, "logit_bias: got 300, expected an integer from 0 to 255"),
    ({"1": 101}, "logit_bias of 1: got 101"),
    ({"z": 1}, "logit_bias: got 'z', expected numbers of tokens"),
  ):
    with pytest.raises(openai.BadRequestError, match=message):
      ask(prompt="a", logit_bias=bias, **options)


def _check_chats(ask):
  options = {"model": "small", "messages": chats_test.MESSAGES, "seed": 3}
  options |= {"max_tokens": 5, "logprobs": True, "top_logprobs": 20}
  logs = ask(**options).choices[0].logprobs.content
  assert len(logs) == 5
  for entry in logs:
    best = [each.logprob for each in entry.top_logprobs]
    assert len(best) == 20
    assert best == sorted(best, reverse=True)
    assert entry.logprob <= best[0]
  parts = [
    entry
    for piece in ask(**options, stream=True)
    for entry in getattr(piece.choices[0].logprobs, "content", ())
  ]
  assert [each.logprob for each in parts] == [each.logprob for each in logs]
