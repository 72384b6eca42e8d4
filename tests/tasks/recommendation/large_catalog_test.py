"""A catalog of a million items: what training on it takes of memory."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.training import recipes
from jaxseq.training import supervised

ITEMS, WIDTH, BATCH, TIME = 1_000_000, 16, 8, 20


def _step(loss):
  """The compiled update of a loss, and its arguments' shapes."""
  rng = np.random.default_rng(0)
  items = rng.integers(1, ITEMS + 1, (BATCH, TIME + 1)).astype(np.int32)
  lengths = np.full(BATCH, TIME, np.int32)
  part = data.ArrayDataset(items[:, :-1], items[:, 1:], lengths)
  small = data.load("item_chains", users=8, items=14, events=6).info
  info = dataclasses.replace(small, vocab_size=ITEMS + 1, num_classes=ITEMS + 1)
  stack = nn.StackConfig("gru", d_model=WIDTH, num_layers=1)
  arm = recommendation_arms.ArmConfig(
    *(nn.NetworkConfig(stack), recipes.Recipe(warmup_steps=0), BATCH),
    loss=loss,
  )
  problem = recommendation.make(arm, data.Splits(part, None, part, info))
  optimizer = base.make_optimizer(arm, 100)
  start = jax.jit(lambda key: supervised.init(problem, optimizer, key))
  step = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, 1),
    donate_argnums=0,
  )
  shapes = jax.eval_shape(start, jax.random.key(0))
  compiled = step.lower(shapes, problem.data).compile()
  return start, compiled, problem.data


@pytest.mark.slow
def test_a_sample_takes_no_memory_of_all_items_at_every_element():
  table = 4 * (ITEMS + 1) * WIDTH
  logits = 4 * BATCH * TIME * ITEMS
  temporary = {}
  for loss in ("full", "sampled", "gbce"):
    start, step, arrays = _step(loss)
    temporary[loss] = step.memory_analysis().temp_size_in_bytes
  # The gradient of the vectors is dense, and clipped: a few of their size.
  assert temporary["full"] > logits
  assert max(temporary["sampled"], temporary["gbce"]) < 4 * table < logits
  state, metrics = step(start(jax.random.key(0)), arrays)
  assert np.isfinite(metrics["loss"])
  assert int(state.update) == 1
