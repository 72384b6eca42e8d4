"""Packed chats: golden rows and losses, and equality with unpacked ones."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.data import chats
from jaxseq.tasks import losses
from jaxseq.tasks.adaptation import instruction

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "golden/adapt/chats"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def examples():
  return [
    chats.Example(
      row["text"],
      np.array(row["ids"], np.int32),
      np.array(row["assistant_mask"], bool),
    )
    for row in EXPECTED["rows"]
  ]


def test_rows_are_those_of_trl():
  batch = instruction.pack(examples(), EXPECTED["row_length"])
  expected = EXPECTED["packed"]["bfd"]
  rows = zip(expected["input_ids"], expected["seq_lengths"])
  bins = {
    frozenset(map(tuple, np.split(ids, np.cumsum(lengths)[:-1])))
    for ids, lengths in rows
  }
  found = set()
  for tokens, segment, reset in zip(batch.tokens, batch.segment, batch.reset):
    chosen = np.unique(segment[segment >= 0])
    found.add(frozenset(tuple(tokens[segment == i]) for i in chosen))
    borders = np.flatnonzero(np.diff(segment, prepend=-2))
    np.testing.assert_array_equal(np.flatnonzero(reset), borders)
  assert found == bins


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("average", ["token", "example"])
@pytest.mark.parametrize("together", [True, False])
def test_losses_are_those_of_the_chats(golden, average, together):
  arrays = golden("adapt/chats/losses")
  batch = instruction.pack(
    examples(), EXPECTED["row_length"], average=average, together=together
  )
  assert np.count_nonzero(batch.weight) == arrays["scored"]
  logits = np.zeros((*batch.tokens.shape, 12))
  for number in range(9):
    logits[batch.segment == number] = arrays[f"logits/{number}"]
  loss = losses.weighted_cross_entropy(
    jnp.asarray(logits), batch.targets % 12, jnp.asarray(batch.weight)
  )
  np.testing.assert_allclose(loss, arrays[f"loss_per_{average}"], rtol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("adapted", [False, True], ids=["weights", "adapters"])
def test_packed_is_unpacked(adapted):
  stack = nn.StackConfig("gru", d_model=4, dtype="float64")
  if adapted:
    stack = nn.StackConfig("mingru", d_model=4, num_layers=2, dtype="float64")
  network = nn.SequenceNetwork(
    nn.NetworkConfig(stack), EXPECTED["vocab"], EXPECTED["vocab"]
  )
  variables = jax.jit(network.init)(
    jax.random.key(0), np.zeros((1, 1), np.int32)
  )
  variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)
  trained, attach = variables, lambda trained: trained
  if adapted:
    config = lora.Config(r"stack\..*", rank=2)
    trained = lora.init(jax.random.key(1), network, variables, config)
    trained = jax.tree.map(
      lambda x: x.astype(jnp.float64) + 0.1 * jnp.cos(jnp.arange(x.shape[-1])),
      trained,
    )

    def attach(trained):
      return lora.attach(variables, trained)

  @jax.jit
  def graded(batch, total):
    def objective(trained):
      logits, _ = network.apply(
        attach(trained), batch.tokens, None, batch.reset
      )
      return losses.weighted_cross_entropy(
        logits, batch.targets, batch.weight, total
      )

    return jax.value_and_grad(objective)(trained)

  def close(result, expected):
    # Sums in another order.
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12),
      result,
      expected,
    )

  every = examples()
  for average in ("token", "example"):
    alone = instruction.pack(every, 76, average=average, together=False)
    total = alone.weight.sum()
    expected = graded(alone, total)
    assert expected[0].dtype == jnp.float64
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(expected[1]))
    # Another order, and another length of rows, too.
    for chosen, length in ((every, 96), (every[::-1], 140)):
      batch = instruction.pack(chosen, length, average=average)
      close(graded(batch, batch.weight.sum()), expected)
    # Parts of a batch, such as those of two devices, with its whole weight.
    parts = [
      graded(instruction.pack(part, 96, average=average), total)
      for part in (every[:4], every[4:])
    ]
    close(jax.tree.map(jnp.add, *parts), expected)


def test_chats_that_are_too_long():
  with pytest.raises(
    ValueError, match="examples: got '76 tokens', expected at"
  ):
    instruction.pack(examples(), 60)
  batch = instruction.pack(examples(), 60, cut=True, average="example")
  assert batch.cut == 3
  # Cut or not, a chat counts as much as any other.
  sums = [batch.weight[batch.segment == i].sum() for i in range(9)]
  np.testing.assert_allclose(sums, 1)
  with pytest.raises(ValueError, match="at least one chat"):
    instruction.pack([], 60)
