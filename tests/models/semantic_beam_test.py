"""Beams over the codes of items, and scoring all of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import generation
from jaxseq.generation import tries
from jaxseq.models import model_file
from jaxseq.models import semantic_beam
from tests.models import cases


@dataclasses.dataclass(frozen=True)
class _Tables:
  """Logits of a token by its place and the token before it."""

  def apply(self, variables, token, states, method):
    assert method == "step"
    return variables[jnp.minimum(states, 2), token], states + 1


def test_beams_are_those_of_the_reference(golden):
  known = golden("recsys/semantic_beam")
  ids = known["ids"]
  with jax.enable_x64():
    first = jnp.asarray(known["first_logits"])[None]
    tables = jnp.asarray(known["next_logits"])
    prefix = generation.offline.Prefix(first, jnp.zeros(1, int), first > 0)
    for beams, names in ((3, ("free", "constrained")), (20, ("constrained",))):
      for name in names:
        constraint = None if name == "free" else tries.build(ids, 5)
        found = generation.beam_search(
          *(_Tables(), tables, prefix, 4),
          beams=beams,
          constraint=constraint,
          renormalize=False,
        )
        tokens, logs = found.tokens[0, 0], found.log_prob[0, 0]
        items = semantic_beam.places(ids, np.asarray(tokens))
        if beams == 20:
          # With as many beams as items all of them are scored.
          order = known["item_order"]
          np.testing.assert_array_equal(items, order)
          np.testing.assert_allclose(logs, known["item_log_prob"][order])
          continue
        case = f"beam{beams}_{name}"
        np.testing.assert_array_equal(tokens, known[f"{case}/tokens"])
        np.testing.assert_allclose(logs, known[f"{case}/log_prob"], rtol=1e-12)
        np.testing.assert_array_equal(items >= 0, known[f"{case}/valid"])


@pytest.mark.slow
def test_a_network_of_codes_lists_what_it_would_score_best():
  case = cases.items_by("semantic")
  network, variables = case.model.network, case.model.variables
  items = np.array([[3, 7, 0], [5, 2, 9]], np.int32)
  lengths = np.array([2, 3], np.int32)
  scores = np.array(jax.jit(network.apply)(variables, items, lengths))
  assert scores.shape == (2, 14)
  # All ids together have no more than all of the probability.
  assert np.exp(scores).sum(axis=1).max() < 1
  for row, history in zip(scores, ([3, 7], [5, 2, 9])):
    row[np.array(history) - 1] = -np.inf
  best, logs = semantic_beam.recommend(
    network, variables, items, lengths, k=5, beams=14
  )
  np.testing.assert_array_equal(best, np.argsort(-scores, axis=1)[:, :5])
  # Sums of float32 in another order.
  wanted = np.take_along_axis(scores, best, axis=1)
  np.testing.assert_allclose(logs, wanted, rtol=1e-4)


@pytest.mark.slow
def test_a_model_of_codes_is_saved_and_recommends(tmp_path):
  model = cases.items_by("semantic").model
  path = tmp_path / "model.safetensors"
  model_file.save(path, model)
  found = model_file.load(path).predict([["3", "7"]])
  wanted = model.predict([["3", "7"]])
  assert found["item"].tolist() == wanted["item"].tolist()
  assert len(set(wanted["item"]) - {"3", "7"}) == 10


@pytest.mark.slow
def test_training_looks_at_the_probability_that_items_are_scored_by():
  case = cases.items_by("semantic")
  network, variables = case.model.network, case.model.variables
  items = np.array([[3, 7, 0], [5, 2, 9]], np.int32)
  targets = np.array([[7, 1, 0], [2, 9, 4]], np.int32)
  lengths = np.array([2, 3], np.int32)
  nats, counted = jax.jit(
    lambda *arrays: network.apply(variables, *arrays, method="nats")
  )(items, lengths, targets)
  # All items but the first are predicted, by three tokens each.
  assert counted.sum(axis=1).tolist() == [6, 9]
  scores = jax.jit(network.apply)(variables, items, lengths)
  for row, target in enumerate((1, 4)):
    last = np.flatnonzero(counted[row])[-3:]
    # Sums of float32 in another order.
    np.testing.assert_allclose(
      -nats[row, last].sum(), scores[row, target - 1], rtol=1e-5
    )
  loss, _ = jax.jit(case.problem.loss)(
    variables,
    data.ArrayDataset(items, targets, lengths),
    None,
    jax.random.key(0),
  )
  assert float(loss) == pytest.approx(float((nats * counted).sum()) / 5, 1e-5)
