"""Sentences of items as they are trained: what is read, kept and moved."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.recommend import ml100k
from configs.recommend import quickstart
from jaxseq import data
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import item_sentences
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.tasks.recommendation import sentence_network
from jaxseq.tasks.recommendation import sentence_stages
from jaxseq.training import configuration


@functools.cache
def _splits():
  options = quickstart.get_config("tiny_sentences").data_options
  return data.load("item_chains", **options)


def _arm(**fields):
  config = quickstart.get_config("tiny_sentences")
  config = dataclasses.replace(config, num_seeds=1, **fields)
  arms = recommendation.TASK.arms(config, _splits())
  return config, arms["recformer"]


def test_sentences_on_the_device_are_those_of_the_host():
  texts = [
    {"title": "Heat", "kind": "crime drama"},
    {"title": "Ran!"},
    {"title": "", "kind": "a b c d e"},
  ]
  options = item_sentences.Options(items=2, attribute=3, length=9, d_model=4)
  network = sentence_network.SentenceNetwork(options, 3)
  variables = {item_network.ITEMS: sentence_network.tables(texts, options)}
  items = np.array([[1, 2, 3, 1], [2, 1, 0, 0], [3, 0, 0, 0]], np.int32)
  lengths = np.array([4, 2, 1], np.int32)
  made = network.apply(variables, items, lengths, method="sentences")
  histories = [list(row[:n] - 1) for row, n in zip(items, lengths)]
  wanted = item_sentences.flatten(histories, texts, options)
  np.testing.assert_array_equal(made.lengths, wanted.lengths)
  width = wanted.tokens.shape[1]
  assert width == 9
  for array, known in zip(made[:3], wanted[:3]):
    np.testing.assert_array_equal(array[:, :width], known)


def test_stages_end_with_evaluations():
  config = quickstart.get_config("tiny_sentences")
  assert sentence_stages.ends(config, (0.25, 0.5, 0.25)) == (2, 6, 8)
  assert sentence_stages.ends(config, (0, 1, 1)) == (0, 4, 8)
  assert sentence_stages.ends(config, (0, 1, 0)) == (0, 8, 8)
  with pytest.raises(ValueError, match="num_updates: got 8, expected an eval"):
    sentence_stages.ends(config, (0, 20, 1))


def test_what_is_refused():
  config = quickstart.get_config("tiny_sentences")
  source, arm = _splits(), config.arms["recformer"]
  for fields, message in (
    ({"loss": "gbce"}, "items: got 'sentences', expected 'ids' or 'text'"),
    ({"stages": (1.0, 0.0, 0.0)}, "stages: got .*a share of the second one"),
    (
      {"network": {"stack": {"mixer": "gru"}}},
      "network.stack: got .mixer .gru",
    ),
  ):
    changed = configuration.updated(
      config, arms={"recformer": {**arm, **fields}}
    )
    with pytest.raises(ValueError, match=message):
      recommendation.TASK.arms(changed, source)
  assert "recformer" in ml100k.get_config("recformer").arms


@pytest.mark.slow
def test_items_are_read_in_the_first_stage_and_kept_in_the_second():
  config, arm = _arm(optimizer={"schedule": "linear", "warmup_steps": 0})
  program = arm.program(config)
  state, seen = program.init(), []
  for _ in range(4):
    before = jax.tree.map(jnp.copy, state.variables)
    state, metrics = program.chunk(state, 2)
    seen.append((before, jax.device_get(state), metrics))
    state = program.rule.keep(state, program.evaluate(state))

  def vectors(variables):
    return np.asarray(variables[item_network.ITEMS]["vectors"][0])

  def read(variables):
    one = jax.tree.map(lambda x: x[0], variables)
    network = arm.problem.network
    return network.read(one)[item_network.ITEMS]["vectors"]

  # Pretraining has two terms, and the other stages one.
  assert {"contrast", "masked"} <= set(seen[0][2])
  for before, after, metrics in seen[1:3]:
    # What a chunk is told by is what its first variables read.
    np.testing.assert_allclose(
      vectors(after.variables), read(before), atol=1e-5
    )
    assert "masked" not in metrics
  scores = [
    np.ravel(program.evaluate(one)["valid_ndcg_10"]) for _, one, _ in seen
  ]
  best = int(np.argmax(np.ravel(scores[1:3]))) + 1
  last = seen[3][1]
  np.testing.assert_array_equal(
    vectors(last.variables), vectors(seen[best][1].variables)
  )
  # The second stage has a rate of its own, and begins from the best.
  moved = jax.tree.map(
    lambda x, y: np.abs(x - y).max(),
    last.variables["params"]["encoder"]["attention_0"],
    seen[best][1].variables["params"]["encoder"]["attention_0"],
  )
  assert max(jax.tree.leaves(moved)) > 1e-4
  assert last.opt_state is not None
  assert int(last.update[0]) == 8
