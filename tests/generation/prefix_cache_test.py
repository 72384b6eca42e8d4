import time

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation


def _value(number, size=10):
  return {"state": np.full(size, number, np.float32)}


def test_the_longest_beginning_is_found():
  cache = generation.PrefixCache(1000)
  cache.put([1, 2], _value(2))
  cache.put([1, 2, 3, 4], _value(4))
  assert cache.get([2, 1]) is None
  assert cache.get([1]) is None
  assert cache.get([1, 2, 3])[0] == 2
  length, value = cache.get([1, 2, 3, 4, 5])
  assert length == 4
  assert value["state"][0] == 4
  assert (cache.hits, cache.misses) == (2, 2)


def test_what_was_not_used_for_longest_goes(caplog):
  # Two of 400 bytes, with 4 of their tokens and 256 of their places.
  cache = generation.PrefixCache(1400)
  cache.put([1], _value(1, size=100))
  cache.put([2], _value(2, size=100))
  cache.get([1])
  cache.put([3], _value(3, size=100))
  assert cache.get([2]) is None
  assert cache.get([1])[0] == 1
  assert (len(cache), cache.nbytes) == (2, 1320)
  # What is stored again takes the place of what was there.
  cache.put([3], _value(5, size=20))
  assert (len(cache), cache.nbytes) == (2, 1000)
  assert cache.get([3])[1]["state"][0] == 5
  # What can have no place leaves the others where they are, and is counted.
  cache.put([4], _value(4, size=286))
  cache.put([4], _value(4, size=286))
  assert (len(cache), cache.nbytes, cache.refused) == (2, 1000, 2)
  assert caplog.text.count("has no room in a PrefixCache of 1400.") == 1
  cache.put([5], _value(4, size=285))
  assert (len(cache), cache.nbytes) == (1, 1400)
  assert cache.get([1]) is None


def test_tokens_count_as_well():
  cache = generation.PrefixCache(10**6)
  rng = np.random.default_rng(0)
  for _ in range(300):
    tokens = rng.integers(100, size=5000)
    cache.shared(tokens)
    cache.put(tokens, _value(1))
    assert cache.nbytes <= 10**6
  # A quarter of the room is for those that are compared with: 20 kB each.
  assert len(cache) == 37
  # They make room for what fits alone.
  cache.put([0], _value(1, size=240_000))
  assert len(cache) == 1
  cache.clear()
  assert (len(cache), cache.nbytes) == (0, 0)


@hypothesis.given(
  st.lists(
    st.tuples(st.lists(st.integers(0, 1), max_size=7), st.booleans()),
    max_size=40,
  ),
  st.integers(700, 4000),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_what_is_kept_is_a_list_of_prompts(steps, room):
  """Against all prompts in the order of their use, by their lengths."""
  cache = generation.PrefixCache(room)
  kept = {}
  for i, (tokens, puts) in enumerate(steps):
    tokens = tuple(tokens)
    if puts:
      cache.put(tokens, _value(i))
      kept[tokens] = kept.pop(tokens, None) or 0
      kept[tokens] = i
      for old in list(kept)[: len(kept) - len(cache)]:
        del kept[old]
    else:
      beginnings = [key for key in kept if key == tokens[: len(key)]]
      longest = max(beginnings, key=len, default=None)
      found = cache.get(tokens)
      assert (found is None) == (longest is None)
      if found:
        assert found[0] == len(longest)
        assert found[1]["state"][0] == kept[longest]
        kept[longest] = kept.pop(longest)
    assert len(cache) == len(kept)
    # Bytes are those of these and nothing else.
    fresh = generation.PrefixCache(10**6)
    for tokens in kept:
      fresh.put(tokens, _value(0))
    assert cache.nbytes == fresh.nbytes <= room


def test_many_prompts_are_looked_up_at_once():
  cache = generation.PrefixCache(10**8)
  rng = np.random.default_rng(0)
  prompt = rng.integers(100, size=16_000)
  for length in range(1, 16_000, 16):
    cache.put(prompt[:length], _value(length))
  start = time.process_time()
  for _ in range(20):
    assert cache.get(prompt)[0] == 15_985
  # A millisecond each; 17 for one that looks by the length.
  assert (time.process_time() - start) / 20 < 0.006


def test_unused_parts_are_not_stored():
  rng = np.random.default_rng(0)
  window = np.zeros((1, 2, 128, 8), np.float32)
  window[:, :, -5:] = rng.normal(size=(1, 2, 5, 8))
  window[0, 0, -6, 0] = -0.0
  ring = np.zeros((1, 256, 8), np.int32)
  ring[:, :3] = 7
  full = rng.normal(size=(1, 64, 64))
  value = jax.tree.map(jnp.asarray, [window, ring, full, np.zeros((1, 40, 40))])
  cache = generation.PrefixCache(10**6)
  cache.put([1], value)
  assert cache.nbytes == 4 * (2 * 8 * 8 + 4 * 8 + 64 * 64 + 40) + 256 + 4
  _, found = cache.get([1])
  for leaf, expected in zip(found, value, strict=True):
    assert leaf.dtype == expected.dtype
    assert np.asarray(leaf).tobytes() == np.asarray(expected).tobytes()


def test_common_beginnings_with_recent_prompts():
  cache = generation.PrefixCache(1000, least=3, recent=2)
  assert cache.shared([1, 2, 3, 4]) == 0
  assert cache.shared([1, 2, 3, 5, 6]) == 3
  assert cache.shared([1, 2]) == 0
  assert cache.shared([1, 2, 3, 5]) == 4
  assert cache.shared([7]) == 0
  assert cache.shared([8]) == 0
  assert cache.shared([1, 2, 3]) == 0


def test_bad_sizes():
  with pytest.raises(ValueError, match="max_bytes: got 0, expected an integer"):
    generation.PrefixCache(0)
