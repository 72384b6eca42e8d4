"""Draws of next events and of futures, against distributions that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import events
from jaxseq.tasks.events import answers as event_answers
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_calibration
from jaxseq.tasks.events import event_futures
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import network as event_network
from jaxseq.tasks.events.rate_models import nhp
from tests.tasks.events.rate_models import cases

HEADS = ("density", "intensity", "gompertz", *event_arms.MODELS)


def _network(head, **options):
  stack = nn.StackConfig("mingru", d_model=4, num_layers=1)
  arm = event_arms.ArmConfig(
    nn.NetworkConfig(stack), batch_size=4, components=2, head=head, **options
  )
  known = event_sequences.Statistics(2, 8.0, -0.5, 1.0)
  return event_network.EventNetwork(arm, known)


def _events():
  gaps = np.array([[0.5, 0.7, 0.0], [1.0, 0.2, 2.0]], np.float32)
  return event_sequences.Sequences(
    jnp.asarray(gaps),
    jnp.asarray(gaps.cumsum(-1)),
    jnp.array([[1, 0, 0], [0, 1, 1]]),
    jnp.array([2, 3]),
  )


def _initial(network):
  gaps = jnp.ones((2, 4))
  return jax.jit(network.init)(jax.random.key(0), _events(), gaps)


def test_thinned_gaps_of_an_excited_process():
  """Rescaled by the integral of the true intensity they are exponential."""
  excited = jnp.array([3.0, 1.0])

  def rates(elapsed):
    return 0.2 + excited * jnp.exp(-1.5 * elapsed)[..., None]

  def bound(elapsed):
    return rates(elapsed).sum(-1)

  count = 5000
  draw = jax.jit(
    lambda key: event_futures.thin(rates, bound, key, jnp.full(count, 60.0), 4)
  )(jax.random.key(1))
  assert jnp.isfinite(draw.gap).all()
  assert not draw.exceeded.any()
  total = 0.4 * draw.gap + 4 / 1.5 * -jnp.expm1(-1.5 * draw.gap)
  assert event_calibration.exponential_p(total) > 0.01
  # Marks come in proportion to their intensities at the gap.
  share = (rates(draw.gap)[:, 1] / bound(draw.gap)).mean()
  assert abs((draw.mark == 1).mean() - share) < 4 * (0.25 / count) ** 0.5


def test_proposals_above_a_bound_are_told():
  def rates(elapsed):
    return jnp.ones((*elapsed.shape, 1))

  def bound(elapsed):
    return jnp.full(elapsed.shape, 0.5)

  limit = jnp.array([9.0, -1.0, 0.0])
  draw = event_futures.thin(rates, bound, jax.random.key(0), limit)
  assert draw.exceeded[0] > 0
  # No event is looked for behind the end.
  assert jnp.isinf(draw.gap[1:]).all()
  assert not draw.exceeded[1:].any()


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["nhp_trapezoid", "nhp_mean"])
def test_thinning_against_quadrature(name, golden):
  data = golden(f"intensities/{name}")
  _, config, params = cases.model(name, data)
  states, _ = nhp.apply(
    config, params, jnp.asarray(data["marks"]), jnp.asarray(data["dt"])
  )
  last = data["mask"].sum(1) - 1
  state = jax.tree.map(lambda x: x[np.arange(len(last)), last], states)
  draws, longest = 20_000, float(data["next_dt_max"])
  state = jax.tree.map(lambda x: jnp.repeat(x, draws, axis=0), state)
  count = len(last) * draws
  draw = jax.jit(
    lambda key: event_futures.thin(
      lambda elapsed: nhp.intensity(config, params, state, elapsed),
      lambda elapsed: nhp.bound(config, params, state, elapsed),
      key,
      jnp.full(count, longest),
    )
  )(jax.random.key(0))
  assert not draw.exceeded.any()
  gaps = np.asarray(draw.gap).reshape(len(last), draws)
  clipped = np.minimum(gaps, longest)
  error = clipped.std(1) / draws**0.5
  np.testing.assert_array_less(
    abs(clipped.mean(1) - data["next_mean_clipped"]), 4 * error
  )
  for i, level in enumerate(data["quantile_levels"]):
    below = (gaps <= data["next_quantiles"][:, i : i + 1]).mean(1)
    bar = 4 * (level * (1 - level) / draws) ** 0.5
    np.testing.assert_array_less(abs(below - level), bar)
  tail = data["next_tail_prob"]
  beyond = np.isinf(gaps).mean(1)
  np.testing.assert_array_less(
    abs(beyond - tail), 4 * np.sqrt(tail / draws) + 1e-9
  )


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_futures_come_by_the_model(head):
  network = _network(head, time_frequencies=1)
  variables, batch = _initial(network), _events()
  # The state step by step is that of the whole sequence.
  memory = event_futures.after(network, variables, batch)
  whole = network.apply(variables, batch, method="read")

  def last(x):
    return x[jnp.arange(2), jnp.minimum(batch.lengths, x.shape[1] - 1)]

  elapsed = jnp.array([[0.1, 2.0]] * 2)
  rates = network.apply(variables, memory.state, elapsed, method="intensity")
  np.testing.assert_allclose(
    rates,
    network.apply(
      variables, jax.tree.map(last, whole), elapsed, method="intensity"
    ),
    1e-4,
    1e-6,
  )
  futures = event_futures.sample_futures(
    network,
    variables,
    batch,
    jax.random.key(2),
    until=jnp.array([6.0, 7.0]),
    draws=1500,
    max_events=3,
  )
  inside = futures.inside
  assert (jnp.isfinite(futures.times) == inside).all()
  assert (jnp.where(inside, futures.times, 0)[0] <= 6).all()
  rise = jnp.diff(futures.times)
  assert (rise[inside[..., 1:]] > 0).all()
  # The first gap has the distribution that the network predicts.
  start = jnp.array([1.2, 3.2])
  gap = futures.times[..., 0] - start[:, None]
  middle = jnp.array([[0.6], [0.6]])
  state = jax.tree.map(lambda x: x[:, None], memory.state)
  prediction = network.apply(variables, state, middle, method="predict")
  survival = jnp.exp(prediction.gap.log_survival(middle))[:, 0]
  share = (gap > 0.6).mean(axis=1)
  assert (abs(share - survival) < 4 * (0.25 / 1500) ** 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("head", [x for x in HEADS if x != "density"])
def test_intensities_are_trained_and_measured(head):
  splits = data.load("hawkes", seed=2, train=6, valid=3, test=5, horizon=8.0)
  network = _network(head).config
  problem = events.Problem(network, splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  batch = jax.tree.map(jnp.asarray, problem.data["train"])

  @jax.jit
  def loss(variables, key):
    return jax.value_and_grad(problem.loss, has_aux=True)(
      variables, batch, None, key
    )

  (first, _), gradient = loss(variables, jax.random.key(1))
  assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient))
  measured = jax.jit(problem.measure)(variables, batch)
  # Ten random points a gap, and 200 nodes.
  np.testing.assert_allclose(first, measured["nll"], 0.02)
  assert measured["rmse"] > 0
  outputs = event_answers.compute(
    problem.network,
    variables,
    {
      name: getattr(batch, name)
      for name in ("gaps", "times", "marks", "lengths")
    },
  )
  quantiles = outputs["quantiles"]
  assert (jnp.diff(quantiles) > 0).all()
  tested = event_likelihood.calibration(
    problem.network, variables, event_sequences.sequences(splits.test), 8.0
  )
  assert 0 <= tested["ks_p"] <= 1
  assert tested["standard_error"] > 0


def test_models_have_no_parameters_of_the_mixer_in_their_place():
  # The mixer of a stack that names none has a learning rate of its own.
  arm = event_arms.ArmConfig(
    nn.NetworkConfig(nn.StackConfig(d_model=4)), head="nhp"
  )
  network = event_network.EventNetwork(arm, _network("nhp").statistics)
  variables = jax.eval_shape(
    network.init, jax.random.key(0), _events(), jnp.ones((2, 4))
  )
  optimizer = base.make_optimizer(arm, 10_000)
  state = jax.eval_shape(optimizer.init, {"params": variables["params"]})
  assert len(jax.tree.leaves(state)) > len(jax.tree.leaves(variables))


def test_wrong_heads():
  with pytest.raises(ValueError, match="head_options: got 'width', expected"):
    _network("s2p2", head_options={"width": 3})
  with pytest.raises(ValueError, match="head_options: got .* expected none"):
    _network("gompertz", head_options={"form": "forward"})
  with pytest.raises(ValueError, match="form: got 'back', expected one of"):
    _network("s2p2", head_options={"form": "back"})
  network = _network("s2p2", head_options={"norm": "pre"})
  with pytest.raises(ValueError, match="norm: got 'pre', expected 'post'"):
    network.init(jax.random.key(0), _events(), jnp.ones((2, 4)), method="bound")
