"""Distributions of tokens against transformers' own processors of logits."""

import numpy as np
import pytest

from jaxseq.generation import token_sampling

pytestmark = [
  pytest.mark.interop,
  # The other library's own business.
  pytest.mark.filterwarnings("default"),
]

VOCAB = 50
OPTIONS = [
  {"temperature": 0.6},
  {"top_k": 7},
  {"top_p": 0.8},
  {"top_p": 0.05},
  {"min_p": 0.1},
  {"repetition_penalty": 1.3},
  {"repetition_penalty": 0.7},
  {"min_length": 3},
  {
    "repetition_penalty": 1.2,
    "min_length": 3,
    "temperature": 1.4,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.05,
  },
]


def _theirs(logits, prompt, generated, options, stop):
  """Logits after transformers' processors, in the order of its `generate`."""
  import torch
  import transformers

  kinds = [
    (
      "repetition_penalty",
      transformers.RepetitionPenaltyLogitsProcessor,
    ),
    (
      "min_length",
      lambda least: transformers.MinNewTokensLengthLogitsProcessor(
        prompt.shape[1], least, stop, device="cpu"
      ),
    ),
    ("temperature", transformers.TemperatureLogitsWarper),
    ("top_k", transformers.TopKLogitsWarper),
    ("top_p", transformers.TopPLogitsWarper),
    ("min_p", transformers.MinPLogitsWarper),
  ]
  held = torch.tensor(np.concatenate([prompt, generated], axis=1))
  scores = torch.tensor(logits)
  for name, make in kinds:
    if name in options:
      scores = make(options[name])(held, scores)
  return scores.numpy()


@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_processed_logits_are_those_of_transformers(options, length):
  rng = np.random.default_rng(0)
  logits = 3 * rng.normal(size=(8, VOCAB)).astype(np.float32)
  prompt = rng.integers(VOCAB, size=(8, 5))
  generated = rng.integers(VOCAB, size=(8, length))
  stop = [3, 11]
  history = token_sampling.make_history(prompt, VOCAB)
  for token in generated.T:
    history = token_sampling.extend_history(history, token)
  sampling = token_sampling.Sampling(stop=tuple(stop), **options)
  ours = token_sampling.process_logits(
    logits,
    token_sampling.make_controls(sampling, VOCAB),
    length=np.full(8, length),
    history=history,
  )
  theirs = _theirs(logits, prompt, generated, options, stop)
  np.testing.assert_array_equal(np.isinf(ours), np.isinf(theirs))
  # Two roundings of float32, of logits of up to 15.
  np.testing.assert_allclose(ours, theirs, rtol=3e-7)
