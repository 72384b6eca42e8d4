"""Structural recursion against golden rows, and against plain recursion."""

import jax
import numpy as np
import pytest

from jaxseq.data import tokens
from jaxseq.data.tokens import recursion


def constructors(x):
  """Returns the constructors of a number, outermost first."""
  return [int(bit) for bit in reversed(bin(x)[3:])] + [recursion.ONE]


def value(row):
  """Returns the number of a term."""
  if row[0] == recursion.ONE:
    return 1
  return 2 * value(row[1:]) + row[0]


successor_rows = jax.jit(jax.vmap(recursion.successor_row))


def padded(rows):
  width = max(map(len, rows))
  return np.array([list(row) + [0] * (width - len(row)) for row in rows])


def test_golden_successors_and_reductions(golden):
  data = golden("recursion/tasks")
  terms = [constructors(x) for x in data["number"].tolist()]
  lengths = np.array([len(term) for term in terms])
  numbers = padded(terms)
  for term, row in zip(terms, data["successor_input"]):
    assert term == [int(token) for token in row if token >= 0]
  depths = jax.vmap(recursion.recursion_depth)(numbers, lengths)
  np.testing.assert_array_equal(depths, data["recursion_depth"])
  rows, counts = successor_rows(numbers, lengths, depths + 1)
  for row, count, want in zip(rows, counts, data["successor_output"]):
    assert row[:count].tolist() == want[want >= 0].tolist()
  of = data["reduction_of"]
  steps = np.array([(of[:i] == of[i]).sum() for i in range(len(of))])
  rows, counts = successor_rows(numbers[of], lengths[of], steps)
  for row, count, want in zip(rows, counts, data["reduction"]):
    assert row[:count].tolist() == want[want >= 0].tolist()


def test_successors_are_one_more():
  terms = [constructors(x) for x in range(1, 5000)]
  lengths = np.array([len(term) for term in terms])
  rows, counts = successor_rows(padded(terms), lengths, np.full(len(terms), 20))
  rows, counts = np.asarray(rows), np.asarray(counts)
  for x, (row, count) in enumerate(zip(rows, counts), 1):
    assert value(row[:count].tolist()) == x + 1


def test_golden_traversals(golden):
  data = golden("recursion/tasks")

  def ours(row):
    return np.where(row >= 3, row + 3, row)

  row_of = {
    order: jax.jit(
      jax.vmap(lambda t, k, o=order: recursion.traversal_row(t, o, k))
    )
    for order in ("preorder", "inorder", "postorder")
  }
  trees = ours(data["tree"])
  for order, row in row_of.items():
    rows, counts = row(trees, data["tree_depth"])
    np.testing.assert_array_equal(counts, data["nodes"])
    for got, count, want in zip(rows, counts, data[order]):
      assert got[:count].tolist() == (want[want >= 0] + 3).tolist()
  number, kind, step = data["unroll_tree_order_step"].T
  trees = ours(data["unroll_trees"])[number]
  for i, order in enumerate(("inorder", "preorder")):
    rows, counts = row_of[order](trees[kind == i], step[kind == i])
    for got, count, want in zip(rows, counts, data["unroll"][kind == i]):
      assert got[:count].tolist() == want[want >= 0].tolist()


def drawn(name, rows=64, **options):
  """Draws sequences, and returns (input, output) of each."""
  config = tokens.make_config(name, **options)
  sample = jax.jit(tokens.get(name).sample, static_argnums=(1, 2))
  batch = jax.device_get(sample(jax.random.key(0), config, rows))
  pairs = []
  for inputs, targets, mask in zip(*batch):
    first, *_ = places = np.flatnonzero(mask)
    answer = targets[places]
    assert answer[-1] == config.vocab_size - 1
    assert (np.diff(places) == 1).all()
    # The network reads what it should have written.
    np.testing.assert_array_equal(
      inputs[first + 1 : places[-1] + 1], answer[:-1]
    )
    assert (inputs[places[-1] + 1 :] == config.vocab_size - 1).all()
    pairs.append((inputs[:first].tolist(), answer[:-1].tolist()))
  return pairs


@pytest.mark.parametrize(
  "order", ["natural", pytest.param("reversed", marks=pytest.mark.slow)]
)
def test_sampled_numbers_have_their_successors(order):
  turn = -1 if order == "reversed" else 1
  depths = []
  for number, answer in drawn(
    "successor", max_length=9, order=order, sampling="balanced", rows=256
  ):
    assert 2 <= len(number) <= 9
    assert value(answer[::turn]) == value(number[::turn]) + 1
    ones = [*number[::turn], 0]
    depths.append(next(i for i, x in enumerate(ones) if x != recursion.X1))
  # An eighteenth of the sequences have the greatest depth: 14 of 256, with a
  # standard deviation of 4; of natural ones one in two thousand.
  assert 3 <= depths.count(8) <= 30


@pytest.mark.slow
def test_reductions_are_sampled_row_by_row():
  for number, answer in drawn("successor", rows=3, depth=3, steps=True):
    rows, row = [], []
    for token in [*answer, 4]:
      rows, row = ([*rows, row], []) if token == 4 else (rows, [*row, token])
    assert len(rows) == 4
    assert rows[0] == [recursion.X0, recursion.SUCCESSOR, *number[1:]]
    assert value(rows[-1]) == value(number) + 1


def parsed(row):
  """Returns (label, left, right) or None, and what is left of a row."""
  if row[0] == recursion.LEAF:
    return None, row[1:]
  assert row[0] == recursion.OPEN
  left, rest = parsed(row[2:])
  right, rest = parsed(rest)
  assert rest[0] == recursion.CLOSE
  return (row[1], left, right), rest[1:]


def labels(tree):
  """Returns the labels of a tree in order."""
  return [] if tree is None else [*labels(tree[1]), tree[0], *labels(tree[2])]


def height(tree):
  return 0 if tree is None else 1 + max(height(tree[1]), height(tree[2]))


@pytest.mark.slow
def test_sampled_trees_have_the_depth_asked_for():
  counts = set()
  for row, answer in drawn("traversal", depth=4):
    tree, rest = parsed(row)
    assert rest == []
    assert height(tree) == 4
    assert answer == labels(tree)
    counts.add(len(answer))
  assert counts == {4, 5, 6, 7, 8}


@pytest.mark.parametrize(
  ("name", "option", "value"),
  [("successor", "depth", 12), ("traversal", "depth", 9)]
  + [("successor", "max_length", 1), ("traversal", "labels", 0)]
  + [("traversal", "order", "level")],
)
def test_wrong_options_are_named(name, option, value):
  with pytest.raises(ValueError, match=option):
    tokens.make_config(name, **{option: value})
