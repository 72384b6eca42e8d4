"""The prefetching thread: order, errors, and its end."""

import gc
import threading
import time

import jax
import numpy as np
import pytest

from jaxseq import data


def alive():
  return [t for t in threading.enumerate() if t.name == "jaxseq-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
  yield
  gc.collect()
  assert alive() == []


def wait_for(condition):
  # Generous: other tests may hold both cores.
  deadline = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)


def test_the_same_items_in_the_same_order():
  items = [{"x": np.full(3, i)} for i in range(20)]
  found = list(data.prefetch(items))
  assert all(isinstance(item["x"], jax.Array) for item in found)
  assert [int(item["x"][0]) for item in found] == list(range(20))


def test_as_many_items_as_asked_for_are_made_ahead():
  made = []

  def source():
    for i in range(100):
      made.append(i)
      yield i

  with data.prefetch(source(), size=3, put=lambda item: item) as items:
    assert next(items) == 0
    # Three in the queue and one in the hand of the thread.
    wait_for(lambda: len(made) == 5)
    time.sleep(0.1)
    assert len(made) == 5
    assert next(items) == 1


@pytest.mark.parametrize("where", ["source", "put"])
def test_errors_are_raised_where_they_happened(where):
  def fail(i):
    if i == 2:
      raise KeyError("broken")
    return i

  source = map(fail, range(5)) if where == "source" else range(5)
  items = data.prefetch(source, put=fail if where == "put" else lambda i: i)
  assert [next(items), next(items)] == [0, 1]
  with pytest.raises(KeyError, match="broken"):
    next(items)
  with pytest.raises(StopIteration):
    next(items)


def test_closing_ends_the_thread_and_the_items():
  items = data.prefetch(iter(int, 1), put=lambda item: item)
  next(items)
  assert len(alive()) == 1
  items.close()
  assert alive() == []
  with pytest.raises(StopIteration):
    next(items)
  items.close()


def test_a_forgotten_iterator_ends_its_thread():
  items = data.prefetch(iter(int, 1), put=lambda item: item)
  next(items)
  del items
  gc.collect()
  wait_for(lambda: not alive())


def test_size_must_be_positive():
  with pytest.raises(ValueError, match="size must be at least 1; got 0"):
    data.prefetch([], size=0)
