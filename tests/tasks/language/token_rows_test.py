"""Rows of tokens as a function of a seed and of their numbers."""

import numpy as np
import pytest

from jaxseq.tasks.language import token_rows

LENGTH = 16


def documents(count, seed=0):
  """Documents of 0 to 40 tokens, all of which differ; the first has some."""
  lengths = np.random.default_rng(seed).integers(0, 41, count)
  lengths[0] += 3
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  return token_rows.Documents(np.arange(1, offsets[-1] + 1), offsets)


def windows(texts):
  return token_rows.Windows(texts, LENGTH)


def in_blocks(texts):
  return token_rows.Windows(texts, LENGTH, block=64)


def packed(texts):
  return token_rows.Packed(texts, LENGTH)


KINDS = pytest.mark.parametrize("kind", [windows, in_blocks, packed])


@KINDS
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_every_token_is_a_target_once(kind, count):
  texts = documents(count)
  # Some more rows than an epoch has, and no second epoch.
  rows = kind(texts).rows(3, range(len(texts.tokens) // LENGTH + 12))
  targets = rows.targets[rows.weight > 0]
  first = targets[: len(texts.tokens)]
  np.testing.assert_array_equal(np.sort(first), texts.tokens)
  assert not rows.targets[rows.weight == 0].any()


@KINDS
def test_a_document_is_read_in_its_order_from_a_fresh_state(kind):
  texts = documents(300)
  rows = kind(texts).rows(0, range(40))
  begins = np.isin(rows.targets, texts.offsets[:-1] + 1)
  before = np.pad(rows.targets, [(0, 0), (1, 0)])[:, :-1]
  real = rows.weight > 0
  assert rows.reset[:, 0].all()
  assert rows.reset[real & begins].all()
  goes_on = real & ~rows.reset
  np.testing.assert_array_equal(rows.targets[goes_on], before[goes_on] + 1)
  np.testing.assert_array_equal(rows.tokens[goes_on], before[goes_on])
  assert not rows.tokens[rows.reset].any()
  # Padding begins afresh, too.
  padded = ~real & np.pad(real, [(0, 0), (1, 0)])[:, :-1]
  assert rows.reset[padded].all()
  # Windows go on in the middle of a document, whole ones begin where they do,
  # or where a long one was cut.
  inside = rows.targets[rows.reset & real & ~begins]
  if kind is packed:
    places = np.searchsorted(texts.offsets, inside - 1, side="right") - 1
    assert ((inside - 1 - texts.offsets[places]) % LENGTH == 0).all()
  else:
    assert len(inside)


@KINDS
def test_rows_do_not_depend_on_what_was_asked_before(kind):
  """Nor on how many processes share them, before and after a stop."""
  texts = documents(500)
  whole = kind(texts).rows(1, range(7 * 8, 11 * 8))
  for count in (1, 2, 4):
    each = 8 // count
    processes = [kind(texts) for _ in range(count)]
    for update in range(7, 11):
      parts = [
        read.rows(1, update * 8 + np.arange(p * each, (p + 1) * each))
        for p, read in enumerate(processes)
      ]
      for field, expected in zip(zip(*parts), whole):
        at = (update - 7) * 8
        np.testing.assert_array_equal(
          np.concatenate(field), expected[at : at + 8]
        )


@KINDS
def test_seeds_and_epochs_have_orders_of_their_own(kind):
  texts = documents(200)
  read = kind(texts)
  size = len(texts.tokens)
  numbers = np.arange(2 * size // LENGTH + 8)
  rows = read.rows(0, numbers)
  targets = rows.targets[rows.weight > 0]
  first, second = targets[:size], targets[size : size + size // 2]
  assert (first[: len(second)] != second).mean() > 0.9
  assert len(np.unique(second)) == len(second)
  other = read.rows(1, numbers[:8]).targets
  assert (rows.targets[:8] != other).mean() > 0.8


def test_a_token_that_a_network_has_not_is_refused():
  texts = documents(1)
  read = token_rows.Windows(texts, LENGTH, 20)
  with pytest.raises(ValueError, match="token 19: got 20, expected 0 to 19"):
    read.rows(0, range(read.rows_per_epoch))
  nothing = token_rows.Documents(np.zeros(0, int), np.zeros(3, int))
  with pytest.raises(ValueError, match="documents: got '0 tokens', expected"):
    token_rows.Packed(nothing, LENGTH)
