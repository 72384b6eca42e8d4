"""The groups of words: tables, series, generators."""

import jax
import numpy as np
import pytest

from jaxseq.data import tokens
from jaxseq.data.tokens import group_words


@pytest.mark.parametrize("name", group_words.GROUPS)
def test_groups_are_groups(name):
  table, identity = group_words.group(name)
  order = len(table)
  assert order == {"S3": 6, "S5": 120}.get(name, 60)
  numbers = np.arange(order)
  np.testing.assert_array_equal(table[identity], numbers)
  np.testing.assert_array_equal(table[:, identity], numbers)
  # Every row and column holds every element: inverses exist.
  for lines in (table, table.T):
    np.testing.assert_array_equal(
      np.sort(lines, axis=1), np.tile(numbers, (order, 1))
    )
  # Associativity, for all triples: (a b) c = a (b c).
  np.testing.assert_array_equal(table[table], table[:, table])
  commutes = np.array_equal(table, table.T)
  assert commutes == (name == "Z60")


def test_solvability_of_the_groups():
  """The derived series ends in the identity, except for A5 and S5."""
  for name in group_words.GROUPS:
    table, identity = group_words.group(name)
    inverse = np.argmin(table != identity, axis=1)
    members = np.arange(len(table))
    while True:
      a, b = np.meshgrid(members, members)
      back = table[inverse[a], inverse[b]]
      found = np.unique(table[table[a, b], back])
      while len(closure := np.unique(table[np.ix_(found, found)])) > len(found):
        found = closure
      if len(found) == len(members):
        break
      members = found
    assert (len(members) == 1) == (name not in ("A5", "S5")), name


@pytest.mark.parametrize("name", group_words.GROUPS)
def test_generators_generate(name):
  table, identity = group_words.group(name)
  letters = np.array(group_words.generators(name))
  reached = np.array([identity])
  while len(new := np.union1d(reached, table[np.ix_(reached, letters)])) > len(
    reached
  ):
    reached = new
  assert len(reached) == len(table)
  config = tokens.make_config("group_words", group=name, alphabet="generators")
  batch = tokens.get("group_words").sample(jax.random.key(0), config, 8)
  assert set(np.unique(batch.inputs[batch.mask])) == set(letters.tolist())


def test_permutations_compose_from_the_right():
  # In lexicographic order: 1 swaps the last two, 2 swaps the first two.
  table, _ = group_words.group("S3")
  # (swap last two) after (swap first two) sends 0, 1, 2 to 2, 0, 1.
  order = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
  assert order[table[1, 2]] == (2, 0, 1)
