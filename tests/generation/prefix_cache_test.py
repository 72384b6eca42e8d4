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


def test_what_was_not_used_for_longest_goes():
  cache = generation.PrefixCache(100)  # Two of 40 bytes.
  cache.put([1], _value(1))
  cache.put([2], _value(2))
  cache.get([1])
  cache.put([3], _value(3))
  assert cache.get([2]) is None
  assert cache.get([1])[0] == 1
  assert (len(cache), cache.nbytes) == (2, 80)
  # What is stored again takes the place of what was there.
  cache.put([3], _value(5, size=2))
  assert (len(cache), cache.nbytes) == (2, 48)
  assert cache.get([3])[1]["state"][0] == 5
  # What can have no place leaves the others where they are.
  cache.put([4], _value(4, size=26))
  assert (len(cache), cache.nbytes) == (2, 48)
  cache.put([5], _value(4, size=25))
  assert (len(cache), cache.nbytes) == (1, 100)
  assert cache.get([1]) is None


def test_common_beginnings_with_recent_prompts():
  cache = generation.PrefixCache(100, least=3, recent=2)
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
