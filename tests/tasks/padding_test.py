"""The tasks' networks hand the lengths of their rows to every layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks import regression
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import network as event_network

# Sums in another order, in float32.
_CLOSE = {"rtol": 1e-5, "atol": 1e-5}
_BOTH_WAYS = nn.StackConfig(
  "s5",
  {"ssm_size": 4, "blocks": 1},
  d_model=6,
  num_layers=2,
  bidirectional=True,
)


@pytest.mark.slow
@pytest.mark.parametrize(
  "pooling", [pytest.param("mean", marks=pytest.mark.slow), "last"]
)
def test_numbers_of_a_series_do_not_depend_on_longer_ones(pooling):
  network = nn.NetworkConfig(_BOTH_WAYS, pooling=pooling)
  model = regression.Regressor(regression.ArmConfig(network), 2)
  x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype(np.float32)
  lengths = jnp.array([5, 12])
  variables = jax.jit(model.init)(jax.random.key(0), x)
  run = jax.jit(model.apply)
  together = run(variables, x, None, lengths)
  alone = run(variables, x[:1, :5], None, lengths[:1])
  for found, expected in zip(together, alone):
    np.testing.assert_allclose(found[:1], expected, **_CLOSE)


@pytest.mark.slow
def test_statistics_of_batches_of_events_are_those_of_the_events():
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=6, num_layers=1, norm="batch")
  )
  statistics = event_sequences.Statistics(2, 10.0, 0.0, 1.0)
  arm = event_arms.ArmConfig(network)
  model = event_network.EventNetwork(arm, statistics)
  gaps = np.random.default_rng(0).uniform(0.1, 1.0, (2, 6)).astype(np.float32)
  events = event_sequences.Sequences(
    gaps, gaps.cumsum(-1), np.zeros((2, 6), np.int32), np.array([4, 6])
  )

  def padded(array):
    return jnp.pad(array, [(0, 0), (0, 3)], constant_values=1)

  longer = event_sequences.Sequences(
    *map(padded, events[:3]), jnp.asarray(events.lengths)
  )
  ones = jnp.ones((2, 10))
  variables = jax.jit(model.init)(jax.random.key(0), events, ones[:, :7])

  @jax.jit
  def run(events, gaps):
    found, _ = model.apply(
      variables, events, gaps, train=True, mutable=["batch_stats"]
    )
    return found.gap.mean

  short, long = run(events, ones[:, :7]), run(longer, ones)
  np.testing.assert_allclose(long[0, :5], short[0, :5], **_CLOSE)
