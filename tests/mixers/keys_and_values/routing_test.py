"""Routing attention beside golden values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import routing

# Pure arithmetic in float64.
_EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.slow
def test_online_form_whole_in_halves_and_by_steps(x64, golden):
  """Clusters, outputs and buffers, with resets."""
  del x64
  data = golden("routing/online")
  q, k, v = (jnp.asarray(data[name]) for name in "qkv")
  reset, window = jnp.asarray(data["reset"]), int(data["window"])
  params = {"centroids": jnp.asarray(data["centroids"])}
  cluster = routing.clusters(params, q)
  np.testing.assert_array_equal(cluster, data["cluster"])
  # Their length is of no consequence.
  long = {"centroids": params["centroids"] * np.array([1, 5, 0.1])[:, None]}
  np.testing.assert_array_equal(routing.clusters(long, q), cluster)
  batch, _, heads, width = q.shape
  shape = (batch,), heads, data["centroids"].shape[1], window, width
  fresh = recurrence.cluster_initial(*shape, dtype=jnp.float64)

  @jax.jit
  def run(elements, reset, state):
    return recurrence.cluster_attention(*elements, state, reset=reset)

  def check(state, name):
    for leaf, stored in zip(state, ("keys", "values", "count")):
      np.testing.assert_allclose(leaf, data[f"{name}_{stored}"], **_EXACT)

  elements = (q, k, v, cluster)
  o, state = run(elements, reset, fresh)
  np.testing.assert_allclose(o, data["output"], **_EXACT)
  check(state, "final")
  cut = int(data["split"])
  first, state = run([x[:, :cut] for x in elements], reset[:, :cut], fresh)
  check(state, "mid")
  last, state = run([x[:, cut:] for x in elements], reset[:, cut:], state)
  o = np.concatenate([first, last], axis=1)
  np.testing.assert_allclose(o, data["output"], **_EXACT)
  check(state, "final")
  step = jax.jit(
    lambda elements, reset, state: recurrence.cluster_step(
      *elements, state, reset=reset
    )
  )
  state = fresh
  for t in range(q.shape[1]):
    o, state = step([x[:, t] for x in elements], reset[:, t], state)
    np.testing.assert_allclose(o, data["output"][:, t], **_EXACT)
  check(state, "final")


@pytest.mark.parametrize("name", ["paper_plain", "paper_shared_causal"])
def test_running_means_of_the_authors_code(x64, golden, name):
  del x64
  data = golden(f"routing/{name}")
  # Of queries side by side, in a layer that hands them on as they are.
  _, heads, _, width = data["q"].shape
  inner = heads * width
  config = routing.Config(
    inner,
    heads=heads,
    local_heads=0,
    d_head=width,
    clusters=data["means"].shape[1],
  )
  params = {"W_q": np.eye(inner), "centroids": data["means"]}
  x = np.moveaxis(data["q"], 1, 2).reshape(len(data["q"]), -1, inner)
  counts, sums = routing.statistics(config, params, jnp.asarray(x))
  np.testing.assert_array_equal(counts, data["counts"])
  averages = routing.Averages(data["ema_count0"], data["ema_means0"])
  averages, centroids = routing.running_means(
    averages, counts, sums, float(data["decay"])
  )
  np.testing.assert_allclose(averages.counts, data["ema_count1"], **_EXACT)
  np.testing.assert_allclose(averages.sums, data["ema_means1"], **_EXACT)
  np.testing.assert_allclose(centroids, data["means1"], **_EXACT)


def problem(**options):
  config = routing.Config(6, heads=2, d_head=4, **options)
  params = routing.init(jax.random.key(0), config)
  params = {name: np.asarray(w, np.float64) for name, w in params.items()}
  return config, params, np.random.default_rng(0).normal(size=(2, 9, 6))


def test_one_wide_cluster_is_attention(x64):
  del x64
  config, params, x = problem(local_heads=0, clusters=1, window=9)
  y, _ = jax.jit(functools.partial(routing.apply, config))(params, x)
  dense = attention.Config(6, heads=2, d_head=4, positions="none", window=9)
  rest = {name: params[name] for name in ("W_q", "W_k", "W_v", "W_o")}
  expected, _ = jax.jit(functools.partial(attention.apply, dense))(rest, x)
  np.testing.assert_allclose(y, expected, **_EXACT)


def test_outputs_depend_on_members_of_the_cluster_alone(x64):
  """Values are changed where clusters stay what they are."""
  del x64
  config, params, x = problem(local_heads=1, clusters=3, window=9)
  # One local head that sees nothing that changes.
  params["W_v"][:, :4] = 0
  q = (x @ params["W_q"]).reshape(2, 9, 2, 4)[:, :, 1:]
  number = np.asarray(routing.clusters(params, jnp.asarray(q)))[..., 0]

  run = jax.jit(routing.apply, static_argnums=0)

  def values(params, x, changed):
    # A value of one element alone: by a further input that only it has.
    wide = dataclasses.replace(config, d_model=7)
    extra = {n: np.pad(params[n], ((0, 1), (0, 0))) for n in ("W_q", "W_k")}
    extra["W_v"] = np.pad(params["W_v"], ((0, 1), (0, 0)))
    extra["W_v"][6, 4:] = 1
    extra["W_o"] = np.pad(params["W_o"], ((0, 0), (0, 1)))
    extra["centroids"] = params["centroids"]
    flag = np.zeros((2, 9, 1))
    flag[:, changed] = 1
    return run(wide, extra, np.concatenate([x, flag], -1))[0]

  before = values(params, x, [])
  for t in (0, 4):
    moved = np.abs(values(params, x, [t]) - before).max(-1) > 1e-9
    members = (number == number[:, t, None]) & (np.arange(9) >= t)
    np.testing.assert_array_equal(moved, members)
  assert 1 < len(np.unique(number))


def test_running_means_begin_where_the_centroids_are():
  config, params, x = problem(clusters=2, window=4)
  mu = jnp.asarray(params["centroids"], jnp.float32)
  averages = routing.initial_averages(mu, 18)
  counts, sums = routing.statistics(config, params, jnp.asarray(x, jnp.float32))
  assert counts.sum() == 18
  _, same = routing.running_means(averages, counts, sums, 1.0)
  # float32 rounding, and the epsilon in the counts.
  np.testing.assert_allclose(same, mu, rtol=1e-5)
  _, moved = routing.running_means(averages, counts, sums, 0.9)
  assert np.abs(moved - mu).max() < 1


def test_a_cluster_without_elements_stays_where_it_is():
  mu = jnp.asarray([[[1.0, 0.0], [0.0, 1.0]]])
  counts, sums = jnp.asarray([[0.0, 2.0]]), jnp.asarray([[[0, 0], [3.0, 4.0]]])
  averages = routing.initial_averages(mu, 4)
  _, moved = routing.running_means(averages, counts, sums, 0.5)
  # Of half of what was; the epsilon in the counts moves it by a share of 1e-5.
  np.testing.assert_allclose(moved[0, 0], mu[0, 0], rtol=1e-4)


def test_the_loss_moves_centroids_and_queries():
  config, params, x = problem(clusters=2, window=4, commitment=0.5)
  params = {n: jnp.asarray(w, jnp.float32) for n, w in params.items()}
  x = jnp.asarray(x, jnp.float32)
  loss = functools.partial(routing.auxiliary_loss, config)
  value, grads = jax.jit(jax.value_and_grad(loss))(params, x)
  for name, grad in grads.items():
    assert (np.abs(grad).max() > 0) == (name in ("centroids", "W_q"))
  rate = 1e-2 / max(np.abs(grads["centroids"]).max(), 1e-6)
  nearer = params["centroids"] - rate * grads["centroids"]
  assert loss(params | {"centroids": nearer}, x) < value


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"window": 1}, "window: got 1, expected an integer of at least 2"),
    ({"local_heads": 4}, "local_heads: got 4, expected fewer than heads = 4"),
    ({"d_head": 3}, "d_head: got 3"),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    routing.Config(8, **options)
