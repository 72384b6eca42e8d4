import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.generation import tries


@pytest.mark.slow
@hypothesis.given(
  strategies.lists(
    strategies.lists(strategies.integers(1, 4), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
  )
)
@hypothesis.settings(max_examples=10, deadline=None)
def test_what_is_permitted_is_what_some_identifier_has_next(identifiers):
  trie = tries.build(identifiers, 5, end_token=0)
  # A row for each identifier, with the end behind it and after itself.
  padded = [(*identifier, *[0] * 6)[:6] for identifier in identifiers]
  state = trie.initial((len(padded),))
  with jax.disable_jit():
    for place in range(6):
      for row, allowed in zip(padded, np.asarray(trie.allowed(state))):
        expected = {x[place] for x in padded if x[:place] == row[:place]}
        assert set(np.flatnonzero(allowed).tolist()) == expected
      state = trie.advance(state, jnp.asarray([row[place] for row in padded]))


def test_batches_and_what_is_in_no_identifier():
  trie = tries.build([b"ab", b"ac", b"b"], 256)
  state = trie.initial((3,))
  state = jax.jit(trie.advance)(state, jnp.asarray([97, 98, 99]))
  found = [np.flatnonzero(row).tolist() for row in trie.allowed(state)]
  assert found == [[98, 99], [], []]


@pytest.mark.parametrize(
  ("identifiers", "message"),
  [
    ([], "identifiers: got .*, expected at least one"),
    ([[1], []], "identifier 1: got .*, expected"),
    ([[1], [5]], "expected tokens from 0 to 4 other than the end, 0"),
    ([[0]], "other than the end, 0"),
    (["ab"], "identifier 0: got 'ab'"),
  ],
)
def test_bad_identifiers(identifiers, message):
  with pytest.raises(ValueError, match=message):
    tries.build(identifiers, 5, end_token=0)


@pytest.mark.parametrize("identifiers", [[1, 2], ["ab"]])
def test_identifiers_that_are_no_tokens(identifiers):
  message = "identifier 0: got .*, expected tokens, as a list or bytes"
  with pytest.raises(ValueError, match=message):
    tries.build(identifiers, 256)
