"""One stream of events in windows: joined, carried, and scored as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import point_processes
from jaxseq.data import sources
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import event_windows
from jaxseq.training import supervised
from tests import drawn

WINDOW = 4.0


def _stream(until=48.0):
  """Windows of one stream of a Hawkes process, and the stream itself."""
  process = point_processes.Hawkes()
  whole = process.simulate(np.random.default_rng(3), 1, until)
  times, marks = whole.times[0], whole.marks[0]
  place = np.ceil(times / WINDOW).astype(int) - 1
  count = int(until / WINDOW)
  source = sources.EventSource(
    classes=("0", "1", "2"), horizon=WINDOW, length=8
  )
  parts = [
    source.prepare(
      [marks[place == i].astype(str).tolist() for i in numbers],
      times=[times[place == i] - i * WINDOW for i in numbers],
    )
    for numbers in np.split(np.arange(count), [8, 10])
  ]
  info = data.Info("windows", "made", "", num_classes=3, horizon=WINDOW)
  return data.Splits(*parts, info), whole


def _arm(mixer, **options):
  stack = nn.StackConfig(mixer, d_model=4, num_layers=1)
  return event_arms.ArmConfig(
    nn.NetworkConfig(stack),
    batch_size=2,
    components=2,
    mark_width=3,
    **options,
  )


def test_windows_are_joined():
  splits, whole = _stream()
  streams = event_windows.join(splits)
  rows = streams["test"].rows
  assert rows.marks[0, 0] == 3
  np.testing.assert_array_equal(rows.marks[0, 1:], whole.marks[0])
  gaps = np.diff(whole.times[0], prepend=0.0)
  np.testing.assert_allclose(rows.gaps[0, 1:], gaps, atol=1e-5)
  assert streams["train"].rows.gaps.shape[1] - 1 == streams["valid"].first
  assert streams["train"].tail == 0
  tail = 48 - whole.times[0, -1]
  np.testing.assert_allclose(streams["test"].tail, tail, rtol=1e-4)


def test_the_silence_ends_with_the_observation():
  splits, whole = _stream()
  last = float(np.ceil(whole.times[0, -1] * 8) / 8)
  until = np.minimum(WINDOW, last - WINDOW * np.arange(10, 12))
  extras = splits.test.extras._replace(until=until.astype(np.float32))
  splits = splits._replace(test=splits.test._replace(extras=extras))
  stream = event_windows.join(splits)["test"]
  tail = last - whole.times[0, -1]
  np.testing.assert_allclose(stream.tail, tail, atol=1e-5)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _totals(network, variables, stream, length):
  return event_windows.totals(network, variables, stream, length)


def test_pieces_add_up_to_the_whole():
  splits, _ = _stream()
  problem = event_windows.Problem(_arm("gru"), splits, length=5)
  variables = drawn.variables(problem)
  stream = event_windows.join(splits)["test"]
  one = _totals(problem.network, variables, stream, 10**6)
  many = _totals(problem.network, variables, stream, 5)
  assert one["events"] == stream.rows.gaps.shape[1] - 1 - stream.first
  for name, value in one.items():
    np.testing.assert_allclose(many[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("mixer", "head"),
  [
    *[(mixer, "density") for mixer in ("gru", "s5", "attention")],
    *[("gru", head) for head in ("intensity", "nhp", "attnhp", "s2p2")],
  ],
)
def test_parts_and_pieces_add_up_to_one_sequence(mixer, head):
  splits, _ = _stream()
  problem = event_windows.Problem(_arm(mixer, head=head), splits, length=5)
  variables = jax.jit(problem.init)(jax.random.key(0))
  streams = event_windows.join(splits)
  whole = streams["test"]._replace(first=np.int32(0))
  one = _totals(problem.network, variables, whole, 5)
  parts = [
    _totals(problem.network, variables, part, 7) for part in streams.values()
  ]
  for name, value in one.items():
    added = sum(part[name] for part in parts)
    np.testing.assert_allclose(added, value, rtol=1e-5, atol=1e-5)
  # As a sequence that is read at once, from the mark of the beginning on.
  rows = whole.rows
  sequence = event_sequences.Sequences(
    *(jnp.asarray(x[:, 1:]) for x in rows),
    jnp.array([rows.gaps.shape[1] - 1]),
  )
  gaps = jnp.append(rows.gaps[:, 1:], jnp.array([[whole.tail]]), axis=1)
  prediction = problem.network.apply(variables, sequence, gaps)
  log_gap = prediction.gap.log_density(gaps)[0, :-1]
  logs = jax.nn.log_softmax(prediction.mark_logits)[:, :-1]
  log_mark = np.take_along_axis(np.asarray(logs), rows.marks[:, 1:, None], -1)
  total = log_gap.sum() + log_mark.sum()
  np.testing.assert_allclose(one["log_density"], total, rtol=1e-5)
  silence = prediction.gap.log_survival(gaps)[0, -1]
  np.testing.assert_allclose(one["log_tail"], silence, rtol=1e-5)


def test_states_are_carried_and_stop_gradients():
  splits, _ = _stream()
  problem = event_windows.Problem(_arm("gru"), splits, length=3)
  variables = drawn.variables(problem)
  sample = jax.jit(problem.sample)
  carry, key = problem.carry, jax.random.key(1)
  loss = jax.jit(problem.loss)
  values = []
  for update in range(2):
    batch = sample(key, jnp.int32(update), problem.data)
    value, out = loss(variables, batch, carry, key)
    values.append(value)
    carry = out.carry
  # With another state the second piece has another loss; the first has not.
  batch = sample(key, jnp.int32(1), problem.data)
  assert abs(loss(variables, batch, problem.carry, key)[0] - values[1]) > 1e-4
  batch = sample(key, jnp.int32(0), problem.data)
  np.testing.assert_array_equal(
    loss(variables, batch, carry, key)[0], values[0]
  )
  # Streams begin anew after their last piece, and only the first at 0.
  assert sample(key, jnp.int32(problem.pieces), problem.data).reset[:, 0].all()
  assert (batch.rows.marks[:, 0] == 3).tolist() == [True, False]
  with pytest.raises(ValueError, match="batch_size \\* length"):
    event_windows.Problem(_arm("gru"), splits, length=1000)


def test_training_is_watched_by_a_metric_that_is_there():
  splits, _ = _stream()
  for valid in (splits.valid, None):
    problem = event_windows.Problem(
      _arm("gru"), splits._replace(valid=valid), length=5
    )
    variables = drawn.variables(problem)
    watched = problem.watched("nll")
    assert watched == ("nll" if valid is None else "valid_nll")
    value = jax.jit(problem.validate)(variables, problem.data)[watched]
    whole = jax.jit(problem.evaluate)(variables, problem.data)
    np.testing.assert_allclose(whole[watched], value, rtol=1e-6)


@pytest.mark.slow
def test_a_stream_is_trained_on():
  splits, _ = _stream(480.0)
  problem = event_windows.Problem(_arm("gru"), splits, length=8)
  optimizer = supervised.optax.adam(1e-2)
  state = supervised.init(problem, optimizer, jax.random.key(0))
  before = problem.evaluate(state.variables, problem.data)
  state, _ = supervised.train(problem, optimizer, state, problem.data, 60)
  after = problem.evaluate(state.variables, problem.data)
  assert after["nll"] < before["nll"] - 0.05
  assert np.isfinite(list(after.values())).all()
