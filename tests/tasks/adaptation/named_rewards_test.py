"""Rewards by a function of one's own."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.adaptation import named_rewards
from jaxseq.training import errors


@pytest.fixture
def module(monkeypatch):
  found = types.ModuleType("own_rewards")
  monkeypatch.setitem(sys.modules, "own_rewards", found)
  return found


def _bytes(*texts):
  return np.array([list(text.encode()) for text in texts], np.int32)


PROMPTS = _bytes("1+2=", "3+8=")
TOKENS = _bytes("3\n?", "11\n")
MASK = np.array([[True, True, False], [True, True, True]])


def test_texts_are_rewarded_in_compiled_code_and_side_by_side(module):
  calls = []

  def score(prompts, completions):
    calls.append((prompts, completions))
    return [len(text) for text in completions]

  module.score = score
  reward = named_rewards.load("own_rewards:score")

  def learned(scale, tokens):
    # Answers are drawn within the loss, and have no gradient.
    tokens = jnp.where(scale > 0, tokens, tokens)
    return scale * reward(PROMPTS, tokens, MASK).sum()

  several = np.stack([TOKENS, TOKENS])
  graded = jax.jit(jax.vmap(jax.value_and_grad(learned)))
  values, gradients = graded(np.ones(2, np.float32), several)
  np.testing.assert_array_equal(values, [5, 5])
  np.testing.assert_array_equal(gradients, [5, 5])
  answers = ["3\n", "11\n"]
  assert calls == [(["1+2=", "3+8="] * 2, answers * 2)]


@pytest.mark.parametrize(
  ("result", "message"),
  [
    ([1.0], r"got 1 results for 2 answers of own_rewards:score, expected a li"),
    (1.0, r"got 1\.0 for 2 answers of"),
    (None, r"got None for 2 answers of"),
    (["good", "bad"], r"got \['good', 'bad'\] of own_rewards:score, expected"),
    ([0.0, float("nan")], r"got nan for the answer '11\\n' of own_rewards:sc"),
    ([1e39, 0.0], r"got 1e.39 for the answer '3\\n' of"),
  ],
)
def test_other_results_are_refused(module, result, message):
  module.score = lambda prompts, completions: result
  reward = named_rewards.load("own_rewards:score")
  with pytest.raises(errors.UserError, match=f"^reward: {message}"):
    reward.score(PROMPTS, TOKENS, MASK)
  with pytest.raises(RuntimeError) as raised:
    jax.block_until_ready(jax.jit(reward)(PROMPTS, TOKENS, MASK))
  told = errors.of_callback(raised.value)
  assert str(told).startswith("reward: got ")
  assert errors.of_callback(RuntimeError("a bug\nValueError: of ours")) is None


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("absent_rewards:score", "of a function .No module named 'absent_rewards'"),
    ("own_rewards:missing", "of a function .*no attribute 'missing'"),
    ("own_rewards:LIMIT", "got 'own_rewards:LIMIT', expected the name of a f"),
    ("not a name", "expected .package.module:name. of a function"),
  ],
)
def test_names_of_no_function_are_refused(module, path, message):
  module.LIMIT = 3
  with pytest.raises(ValueError, match=f"^reward: .*{message}"):
    named_rewards.load(path)
