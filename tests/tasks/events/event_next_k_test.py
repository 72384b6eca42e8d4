"""Several events of one state: what is scored, and what is predicted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_next_k
from jaxseq.tasks.events import event_sequences
from tests import drawn


@pytest.fixture(scope="module")
def problem():
  splits = data.load("hawkes", train=6, valid=3, test=4, horizon=8.0)
  network = nn.NetworkConfig(nn.StackConfig("gru", d_model=4, num_layers=1))
  arm = event_arms.ArmConfig(network, batch_size=4, components=2)
  return event_next_k.Problem(arm, splits, 3)


def test_the_loss_is_that_of_next_events_where_so_many_follow(problem):
  variables, batch = drawn.variables(problem), problem.data["test"]
  outputs = jax.jit(problem.network.apply)(variables, batch)
  metrics, count = jax.jit(problem.score)(outputs, batch)
  gap, logits = jax.tree.map(np.asarray, tuple(outputs))
  scores = []
  for row, length in enumerate(batch.lengths):
    for place in np.ndindex(length - 2, 3):
      value = batch.gaps[row, sum(place)]
      weight, mean, log_scale = (x[row, *place] for x in gap)
      z = (np.log(value) - mean) / np.exp(log_scale)
      density = np.exp(weight - z**2 / 2 - log_scale).sum()
      marks = np.exp(logits[row, *place])
      mark = marks[batch.marks[row, sum(place)]] / marks.sum()
      scores.append(np.log(density * mark / value / np.sqrt(2 * np.pi)))
  assert count == len(scores)
  np.testing.assert_allclose(metrics["nll"], -np.mean(scores), rtol=1e-5)


@pytest.mark.slow
def test_predictions_see_nothing_of_what_comes(problem):
  variables, batch = drawn.variables(problem), problem.data["test"]
  event = np.asarray(batch.lengths) // 2
  found = event_next_k.predict(problem.network, variables, batch, event)
  later = np.arange(batch.gaps.shape[1]) > event[:, None]
  changed = batch._replace(
    gaps=np.where(later, 9.0, batch.gaps).astype(np.float32),
    times=np.where(later, 7.0, batch.times).astype(np.float32),
    marks=np.where(later, 0, batch.marks),
  )
  again = event_next_k.predict(problem.network, variables, changed, event)
  np.testing.assert_array_equal(found.times, again.times)
  np.testing.assert_array_equal(found.scores, again.scores)
  start = batch.times[np.arange(len(event)), event]
  assert (np.diff(found.times, prepend=start[:, None], axis=1) > 0).all()
  outputs = jax.jit(problem.network.apply)(variables, batch)
  state = jax.tree.map(lambda x: x[jnp.arange(len(event)), event + 1], outputs)
  half = jnp.exp(
    state.gap.log_survival(np.diff(found.times, prepend=start[:, None], axis=1))
  )
  # Times are sums of float32 gaps.
  np.testing.assert_allclose(half, 0.5, rtol=1e-3)


def test_sequences_that_are_too_short_are_refused(problem):
  splits = data.load("hawkes", train=6, valid=3, test=4, horizon=8.0)
  with pytest.raises(ValueError, match="count, of the part 'train': got 99"):
    event_next_k.Problem(problem.arm, splits, 99)
  assert event_sequences.statistics(splits) == problem.network.statistics
