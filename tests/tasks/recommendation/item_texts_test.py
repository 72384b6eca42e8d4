"""Items by their words: vectors, permutations, and items that are new."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data.files import table_files
from jaxseq.data.sources import interactions
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import item_streams
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.tasks.recommendation import network as item_network
from tests.models import cases


def test_items_are_numbers_of_their_texts_alone():
  case = cases.items_by("text")
  network, variables = case.model.network, case.model.variables
  items = np.array([[3, 7, 1], [5, 2, 0]], np.int32)
  lengths = np.array([3, 2], np.int32)
  score = jax.jit(network.apply)
  scores = score(variables, items, lengths)
  # Item i of the first catalog is item place[i] of the second.
  place = 1 + np.random.default_rng(0).permutation(14)
  place = np.concatenate([[0], place])
  tokens = np.asarray(variables[item_network.ITEMS]["tokens"])
  other = np.zeros_like(tokens)
  other[place] = tokens
  permuted = {**variables, item_network.ITEMS: {"tokens": jnp.asarray(other)}}
  found = score(permuted, place[items].astype(np.int32), lengths)
  # No vector depends on where it stands.
  np.testing.assert_array_equal(found[..., place[1:] - 1], scores)


def test_vectors_that_are_frozen_are_those_of_the_texts():
  case = cases.items_by("text")
  network, variables = case.model.network, case.model.variables
  histories = [np.array([3, 7, 1]), np.array([5, 2])]
  # Serving reads no texts.
  users = item_streams.Users(network, variables)
  assert users.network.frozen
  assert "encoder" not in users.variables["params"]
  users.fill("ab", histories)
  users.update("b", 9)
  best, scores = users.recommend("ab", k=14, repeats=True)
  items = np.array([[3, 7, 1], [5, 2, 9]], np.int32)
  read = jax.jit(functools.partial(network.apply, last=True))
  wanted = jax.nn.log_softmax(read(variables, items, np.array([3, 3])))
  # Products of float32 in another order.
  np.testing.assert_allclose(
    scores, np.take_along_axis(np.asarray(wanted), best, 1), rtol=1e-5
  )


def test_the_second_stage_trains_all_but_the_vectors():
  case = cases.items_by("text")
  problem, variables = recommendation.second_stage(case.problem, case.variables)
  batch = jax.tree.map(lambda x: x[:2], problem.data["train"])

  def loss(params):
    return problem.loss(
      {**variables, "params": params}, batch, None, jax.random.key(0)
    )[0]

  gradient = jax.jit(jax.grad(loss))(problem.init(jax.random.key(1))["params"])
  assert set(gradient) == {"network"}


def test_cosines_are_those_of_the_reference(golden):
  known = golden("recsys/recformer_tiny")
  stack = nn.StackConfig("gru", d_model=8, num_layers=1)
  network = item_network.ItemNetwork(
    *(nn.NetworkConfig(stack), 5, 3),
    text_mixer="gru",
    frozen=True,
    temperature=float(known["temperature"]),
  )
  vectors = np.pad(known["item_embeddings"], ((1, 0), (0, 0)))
  variables = {item_network.ITEMS: {"vectors": jnp.asarray(vectors)}}
  scores = network.apply(variables, known["pooled"], method="score")
  np.testing.assert_allclose(scores, known["scores"], rtol=1e-5)
  logs = jax.nn.log_softmax(scores)[np.arange(3), known["labels"]]
  assert -logs.mean() == pytest.approx(float(known["loss"]), rel=1e-5)


def test_cold_items_are_in_no_training_history():
  users = np.repeat(np.arange(12), 6)
  words = [
    str(n)
    for n in np.random.default_rng(0)
    .permuted(np.tile(np.arange(10), (12, 1)), axis=1)[:, :6]
    .ravel()
  ]
  rows = list(np.arange(72).reshape(12, 6))
  splits = interactions.of_rows(
    rows,
    words,
    np.tile(np.arange(6.0), 12),
    interactions.InteractionSource(),
    "here",
    texts={"3": "three"},
    cold=0.3,
  )
  assert len(users) == len(words)
  texts = splits.info.preparation.texts
  assert texts == ("", "", "", "three", *[""] * 6)
  cold = item_metrics.cold_items(splits)
  assert cold.sum() == 3
  wanted = [int(words[row[-1]]) for row in rows]
  last = splits.test.lengths - 1
  found = splits.test.targets[np.arange(len(last)), last] - 1
  np.testing.assert_array_equal(found, wanted)
  # Ranked among cold items alone, of which the history may have some.
  logits = np.tile(np.arange(10.0), (len(found), 1))
  users = item_metrics.by_user(logits, splits.test, True, cold)
  assert np.isnan(users["cold_hit_rate_10"]).sum() == (~cold[found]).sum()
  assert np.nanmin(users["cold_hit_rate_10"]) == 1


def test_texts_are_asked_for_and_read_from_a_table(tmp_path):
  splits = data.load("item_chains", users=8, items=14, events=6)
  arm = dataclasses.replace(cases.items_by("text").problem.arm, batch_size=2)
  with pytest.raises(ValueError, match="items: got 'text', expected 'ids'"):
    recommendation.make(arm, splits)
  table = tmp_path / "films.csv"
  table.write_text("item,title,kind\n7,Heat,Crime\n3,Ran,War\n")
  found = table_files.texts(table, "item", ("title", "kind"))
  assert found == {"7": "Heat Crime", "3": "Ran War"}
