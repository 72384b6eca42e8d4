"""Sums as texts, and the check of answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.group_policy import digit_sums


@pytest.mark.parametrize("digits", [1, 2])
def test_answers_are_the_sums(digits):
  sums = digit_sums.Sums(digits)
  prompts = np.asarray(sums.every())
  assert len({bytes(row.astype("uint8")) for row in prompts}) == 100**digits
  tokens, mask = map(np.asarray, sums.answers(prompts))
  for prompt, row, counts in zip(prompts, tokens, mask):
    first, _, rest = bytes(prompt.astype("uint8")).decode().partition("+")
    total = int(first) + int(rest.removesuffix("="))
    assert bytes(row[counts].astype("uint8")).decode() == f"{total}\n"
  drawn = sums.sample(jax.random.key(0), 50)
  assert {tuple(row) for row in np.asarray(drawn)} <= set(map(tuple, prompts))


def test_only_the_sum_and_its_end_are_rewarded():
  sums = digit_sums.Sums()
  prompts = jnp.array([[*b"3+8="]] * 5)
  texts = b"11\n", b"12\n", b"1\n\n", b"111", b"\n\n\n"
  tokens = jnp.array([[*text] for text in texts])
  stops = tokens == digit_sums.END
  mask = jnp.cumsum(stops, axis=1) - stops == 0
  rewards = sums.reward(prompts, tokens, mask)
  np.testing.assert_array_equal(rewards, [1, 0, 0, 0, 0])
  # Of a shorter sum what follows its end is not looked at.
  short = jnp.array([[*b"3+4="]])
  tokens = jnp.array([[*b"7\n\n"]])
  mask = jnp.array([[True, True, False]])
  np.testing.assert_array_equal(sums.reward(short, tokens, mask), [1])
  np.testing.assert_array_equal(sums.reward(short, tokens, mask | True), [0])
