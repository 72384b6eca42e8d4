"""Event prediction: the densities, the terms of the likelihood, the network."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import point_processes
from jaxseq.tasks import events
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import gap_mixture
from jaxseq.tasks.events import network as event_network

PARTS = {"train": 6, "valid": 3, "test": 5, "horizon": 8.0}


def _arm(**options):
  network = nn.NetworkConfig(nn.StackConfig("gru", d_model=6, num_layers=1))
  return event_arms.ArmConfig(
    network, batch_size=4, components=3, mark_width=4, **options
  )


def _mixture(shape=()):
  key_weight, key_mean, key_scale = jax.random.split(jax.random.key(0), 3)
  return gap_mixture.Mixture(
    jax.nn.log_softmax(jax.random.normal(key_weight, (*shape, 3))),
    jax.random.normal(key_mean, (*shape, 3)),
    0.5 * jax.random.normal(key_scale, (*shape, 3)) - 0.5,
  )


@pytest.fixture(scope="module")
def splits():
  return data.load("hawkes", seed=2, **PARTS)


@pytest.mark.usefixtures("x64")
def test_the_mixture_is_a_distribution():
  mixture = _mixture()
  gap = np.exp(np.linspace(-12, 12, 20_001))
  density = np.exp(jax.jit(jax.vmap(mixture.log_density))(gap))
  integral = np.trapezoid(density, gap)
  # The trapezoids are 0.0012 wide in log gap: their error is below 1e-6.
  np.testing.assert_allclose(integral, 1, rtol=1e-6)
  np.testing.assert_allclose(
    mixture.expectation(), np.trapezoid(density * gap, gap), rtol=1e-6
  )
  middle = 10_000
  tail = np.trapezoid(density[middle:], gap[middle:])
  np.testing.assert_allclose(
    np.exp(jax.jit(mixture.log_survival)(gap[middle])), tail, rtol=1e-6
  )


@pytest.mark.usefixtures("x64")
def test_the_mixture_against_scipy():
  stats = pytest.importorskip("scipy.stats")
  mixture = _mixture((4,))
  gap = np.array([0.01, 0.5, 2.0, 40.0])
  scale = np.exp(np.asarray(mixture.log_scale))
  parts = stats.lognorm(s=scale, scale=np.exp(np.asarray(mixture.mean)))
  weight = np.exp(np.asarray(mixture.log_weight))
  np.testing.assert_allclose(
    jax.jit(mixture.log_density)(gap),
    np.log((weight * parts.pdf(gap[:, None])).sum(-1)),
    rtol=1e-9,
  )
  np.testing.assert_allclose(
    jax.jit(mixture.log_survival)(gap),
    np.log((weight * parts.sf(gap[:, None])).sum(-1)),
    rtol=1e-9,
  )


@pytest.mark.usefixtures("x64")
def test_the_mean_gap_ends_at_the_horizon_and_where_tails_are_too_heavy():
  mixture = _mixture()
  gap = np.exp(np.linspace(-12, 12, 20_001))
  density = np.exp(jax.jit(jax.vmap(mixture.log_density))(gap))
  np.testing.assert_allclose(
    mixture.bounded_expectation(4.0),
    np.trapezoid(density * np.minimum(gap, 4.0), gap),
    rtol=1e-6,
  )
  # One gap in a hundred is said to take a thousand times the others.
  weight, mean = jnp.log(jnp.array([0.99, 0.01])), jnp.array([4.5, 14.0])
  heavy = gap_mixture.Mixture(weight, mean, jnp.zeros(2))
  assert heavy.expectation() > 1e4
  assert np.isnan(heavy.bounded_expectation(1e7))
  # Nobody has seen more than 200: there the mean is one of usual gaps.
  assert 80 < heavy.bounded_expectation(200.0) < 200
  # The evaluation scores the mean that predictions have.
  error = event_likelihood.of_times(heavy, jnp.array(100.0), 200.0)
  mean = heavy.bounded_expectation(200.0)
  np.testing.assert_allclose(error["squared_error"], (mean - 100) ** 2)


def test_survival_is_finite_far_out():
  mixture = gap_mixture.Mixture(jnp.zeros(1), jnp.zeros(1), jnp.full(1, -3.0))
  value, slope = jax.value_and_grad(mixture.log_survival)(jnp.float32(1e4))
  assert np.isfinite([value, slope]).all()
  assert value < -1e3


def test_the_terms_of_a_hawkes_process_by_hand():
  # One mark, events at 1 and 3, observed until 4.
  process = point_processes.Hawkes(mu=(0.5,), a=((0.4,),), b=2.0)
  happened = point_processes.Events(
    np.array([[1.0, 3.0, 0.0]]),
    np.zeros((1, 3), np.int32),
    np.array([2], np.int32),
    4.0,
  )
  terms = event_likelihood.Terms(*process.log_density(happened))
  first = math.log(0.5) - 0.5
  second = math.log(0.5 + 0.8 * math.exp(-4)) - 1.0 - 0.4 * -math.expm1(-4)
  # Of the excitation at 3, exp(-4) is left from the event at 1.
  tail = -0.5 - 0.4 * (1 + math.exp(-4)) * -math.expm1(-2)
  nll, event_nll = event_likelihood.per_event(terms, jnp.array([2]))
  # The terms come in float64 and are averaged in float32.
  np.testing.assert_allclose(nll, -(first + second + tail) / 2, rtol=1e-6)
  np.testing.assert_allclose(event_nll, -(first + second) / 2, rtol=1e-6)


@pytest.mark.slow
def test_the_model_counts_the_terms_of_the_process():
  """A renewal process with log-normal gaps, said by hand and by the model."""
  lengths = np.array([2, 0], np.int32)
  times = np.array([[0.5, 2.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
  gaps = np.array([[0.5, 1.5, 0.0], [0.0, 0.0, 0.0]], np.float32)
  marks = np.array([[1, 0, 0], [0, 0, 0]], np.int32)
  happened = event_sequences.Sequences(gaps, times, marks, lengths)
  shape = (2, 4, 1)
  prediction = event_network.Prediction(
    gap_mixture.Mixture(
      jnp.zeros(shape), jnp.full(shape, 0.3), jnp.full(shape, -0.7)
    ),
    jnp.broadcast_to(jnp.log(jnp.array([0.25, 0.75])), (2, 4, 2)),
  )
  terms = event_likelihood.log_likelihood(prediction, happened, horizon=3.0)

  def density(gap):
    z = (math.log(gap) - 0.3) / math.exp(-0.7)
    return -0.5 * z * z + 0.7 - 0.5 * math.log(2 * math.pi) - math.log(gap)

  def survival(gap):
    z = (math.log(gap) - 0.3) / math.exp(-0.7)
    return math.log(0.5 * math.erfc(z / math.sqrt(2)))

  expected = [
    [density(0.5) + math.log(0.75), density(1.5) + math.log(0.25), 0],
    [0, 0, 0],
  ]
  np.testing.assert_allclose(terms.events, expected, rtol=1e-5)
  np.testing.assert_allclose(
    terms.tail, [survival(1.0), survival(3.0)], rtol=1e-5
  )


def test_statistics_and_baselines(splits):
  known = event_sequences.statistics(splits)
  part = splits.train
  logs = np.concatenate(
    [np.log(g[:n, 0]) for g, n in zip(part.inputs, part.lengths)]
  )
  np.testing.assert_allclose(known.log_mean, logs.mean(), rtol=1e-6)
  np.testing.assert_allclose(known.log_deviation, logs.std(), rtol=1e-6)
  assert (known.num_marks, known.horizon) == (3, 8.0)
  truth = event_likelihood.baselines(splits)["true process"]
  # The loader averages in float64, from densities that are stored in float32.
  np.testing.assert_allclose(
    truth["event_nll"], splits.info.nats_per_event["test"], rtol=1e-5
  )
  tail = splits.test.extras.tail.sum() / splits.test.lengths.sum()
  np.testing.assert_allclose(truth["nll"], truth["event_nll"] - tail, rtol=1e-5)


@pytest.mark.slow
def test_evaluation_and_what_the_network_sees(splits):
  arm = _arm(time_frequencies=2)
  problem = events.Problem(arm, splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  truth = event_likelihood.baselines(splits)["true process"]
  np.testing.assert_allclose(
    metrics["nll"] - truth["nll"], metrics["nll_gap"], rtol=1e-3, atol=1e-5
  )
  network = events.make_network(arm, event_sequences.statistics(splits))
  test = problem.data["test"]
  apply = jax.jit(network.apply)
  ones = jnp.ones((5, test.gaps.shape[1] + 1))
  before = apply(variables, test, ones)
  # Event 2 changes what is said from event 3 on, and nothing before.
  changed = test._replace(
    gaps=test.gaps + 0.5 * (np.arange(test.gaps.shape[1]) == 2),
    marks=np.where(np.arange(test.marks.shape[1]) == 2, 1, test.marks),
  )
  after = apply(variables, changed, ones)
  np.testing.assert_array_equal(before.gap.mean[:, :3], after.gap.mean[:, :3])
  assert jnp.abs(before.gap.mean[:, 3:] - after.gap.mean[:, 3:]).max() > 1e-4
  # The gap that leads to an event tells of its mark, and of nothing else.
  later = apply(variables, test, 3 * ones)
  np.testing.assert_array_equal(later.gap.mean, before.gap.mean)
  assert jnp.abs(later.mark_logits - before.mark_logits).max() > 1e-4
  loss, _ = jax.jit(problem.loss)(variables, test, None, jax.random.key(1))
  np.testing.assert_allclose(loss, metrics["nll"], rtol=1e-5)


def test_one_mark_is_certain():
  poisson = data.load("poisson", seed=0, **PARTS)
  problem = events.Problem(_arm(mark_sees_gap=False), poisson)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  assert metrics["accuracy"] == 1
  assert "gap_in" not in variables["params"]


def test_wrong_options(splits):
  with pytest.raises(
    ValueError, match="components: got 0, expected an integer of at least 1"
  ):
    event_arms.ArmConfig(components=0)
  with pytest.raises(
    ValueError,
    match="time_frequencies: got -1, expected an integer of at least 0",
  ):
    event_arms.ArmConfig(time_frequencies=-1)
  both = nn.NetworkConfig(nn.StackConfig("gru", bidirectional=True))
  with pytest.raises(ValueError, match="bidirectional: got True"):
    event_arms.ArmConfig(both)
  pooling = nn.NetworkConfig(nn.StackConfig("gru"), pooling="last")
  with pytest.raises(ValueError, match="pooling: got 'last', expected 'none'"):
    events.Problem(event_arms.ArmConfig(pooling, batch_size=2), splits)
  with pytest.raises(
    ValueError,
    match="batch_size: got 32, expected at most [0-9]+, the number of",
  ):
    events.Problem(event_arms.ArmConfig(_arm().network), splits)
  with pytest.raises(ValueError, match="extras.times: got None, expected when"):
    event_sequences.sequences(splits.train._replace(extras=data.Extras()))


def _streams(*times):
  source = data.sources.EventSource.of_arrays(times, ("a",))
  part = source.prepare([["a"] * len(row) for row in times], times=times)
  info = data.Info(
    "", "", "", num_classes=1, horizon=source.horizon, preparation=source
  )
  return data.Splits(part, part, part, info)


@pytest.mark.parametrize(
  "first", [0.0, pytest.param(0.5, marks=pytest.mark.slow)]
)
def test_regular_gaps_and_events_at_the_start_can_be_learnt(first):
  regular = _streams(*[first + 0.5 * np.arange(6)] * 4)
  known = event_sequences.statistics(regular)
  assert known.log_deviation == 1
  assert known.log_mean == pytest.approx(math.log(0.5))
  problem = events.Problem(_arm(), regular)
  variables = jax.jit(problem.init)(jax.random.key(0))
  batch = jax.tree.map(jnp.asarray, problem.data["train"])

  def loss(variables):
    outputs = problem.network.apply(variables, *problem.inputs(batch))
    return problem.score(outputs, batch)[0]["nll"]

  value, gradient = jax.jit(jax.value_and_grad(loss))(variables)
  assert np.isfinite(value)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_the_time_of_an_event_at_the_start_is_not_scored():
  splits = _streams([0.0, 1.0, 3.0], [0.5, 1.5, 2.5])
  batch = event_sequences.sequences(splits.train)
  mixture = jax.tree.map(lambda x: x[:2], _mixture((2, 4)))
  prediction = event_network.Prediction(mixture, jnp.zeros((2, 4, 1)))
  terms = event_likelihood.log_likelihood(prediction, batch, 3.0)
  assert terms.events[0, 0] == 0
  assert np.all(np.asarray(terms.events)[0, 1:] != 0)


def test_the_error_of_gaps_is_the_same_in_batches_of_any_size():
  # All begin with an event without a gap, of which short streams have more.
  short, long = [0.0, 0.5], [0.0, *np.cumsum([4.0, 0.25, 1.0, 3.0, 0.5])]
  problem = events.Problem(_arm(), _streams(*[short] * 4, *[long] * 4))
  variables = jax.jit(problem.init)(jax.random.key(0))
  errors = []
  for problem.at_least in (4, 8):
    metrics = problem.evaluate(variables, problem.data)
    errors.append(metrics["rmse"])
  np.testing.assert_allclose(*errors, rtol=1e-5)


def test_a_stream_longer_than_the_windows_of_training_is_read_in_windows():
  network = event_network.EventNetwork(
    _arm(time_frequencies=2), event_sequences.Statistics(1, 4.0, 0.0, 1.0)
  )
  times = jnp.array([[0.0, 1.0, 4.0, 5.0, 8.0, 401.0]])
  one = event_sequences.Sequences(
    jnp.diff(times, prepend=0.0),
    times,
    jnp.zeros((1, 6), jnp.int32),
    jnp.full(1, 6),
  )
  features = network.apply({}, one, method="_features")
  np.testing.assert_allclose(
    features[0, 1:, 2], [0, 0.25, 1, 0.25, 1, 0.25], atol=1e-6
  )


def test_the_gap_up_to_the_horizon_stands_behind_the_last_event():
  gaps = jnp.array([[1.0, 2.0, 0.5], [3.0, 0.0, 0.0]])
  batch = event_sequences.Sequences(
    gaps, jnp.cumsum(gaps, 1), jnp.zeros((2, 3), int), jnp.array([3, 1])
  )
  _, following = event_likelihood.network_inputs(batch, 5.0)
  np.testing.assert_array_equal(
    following, [[1.0, 2.0, 0.5, 1.5], [3.0, 2.0, 1.0, 1.0]]
  )


def test_several_columns_have_heads_of_their_own():
  columns = event_sequences.Statistics(6, 8.0, 0.0, 1.0, (3, 2))
  words = columns.words()
  assert words.sum(axis=0).tolist() == [2] * 6
  network = event_network.EventNetwork(_arm(), columns)
  none = jnp.zeros((1, 4))
  one = event_sequences.Sequences(
    none, none, none.astype(jnp.int32), jnp.array([4])
  )
  variables = jax.eval_shape(
    network.init, jax.random.key(0), one, jnp.ones((1, 5))
  )
  params = variables["params"]
  assert params["marks"]["kernel"].shape[1] == 5
  # 3 + 2 words, the gap, the time, and whether a sequence begins.
  assert params["network"]["encoder"]["kernel"].shape[0] == 8
  # The softmax over combinations is the product of those of the columns.
  logits = np.random.default_rng(0).normal(size=5)
  joint = np.exp(logits @ words).reshape(3, 2)
  first, second = np.exp(logits[:3]), np.exp(logits[3:])
  np.testing.assert_allclose(joint, first[:, None] * second, rtol=1e-12)
