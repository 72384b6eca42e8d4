"""Items that a thread makes ahead."""

import threading
import time

import pytest

from jaxseq.training import prefetch


def test_items_come_in_order_and_not_too_far_ahead():
  made = []

  def function(key):
    made.append(key)
    return 2 * key

  with prefetch.Prefetch(function, range(6), size=2) as items:
    assert next(items) == 0
    deadline = time.monotonic() + 20
    while len(made) < 3 and time.monotonic() < deadline:
      time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert list(items) == [2, 4, 6, 8, 10]
    assert list(items) == []


def test_an_error_is_raised_where_its_item_would_have_come():
  def function(key):
    return 1 // (2 - key)

  items = prefetch.Prefetch(function, range(9))
  assert [next(items), next(items)] == [0, 1]
  with pytest.raises(ZeroDivisionError):
    next(items)
  assert list(items) == []


def test_closing_ends_the_thread():
  before = threading.active_count()
  items = prefetch.Prefetch(lambda key: key, iter(int, 1))
  assert next(items) == 0
  items.close()
  assert threading.active_count() == before
  items.close()
