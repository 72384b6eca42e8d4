"""When the posterior collapses: the sign of w_mi - 1 decides.

Discrete observations x = 0 .. N - 1, free tables of mu and logvar, a decoder
that can model anything, and the exact q(z). The best decoder leaves the
objective (1 - w_mi) I(x; z) - w_tc TC - w_dw DWKL up to a constant.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.dts import estimators
from jaxseq.dts import methods
from jaxseq.dts import regularization
from jaxseq.nn import heads
from jaxseq.training import tables

_TOLD = ("mi", "fit", "tc", "dwkl")


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def train(config, number, width, samples, steps, mu, logvar, seed=1):
  """Returns the metrics of all steps, and log p(x | z) as "fit".

  The seed is that of the decoder's parameters and of the noise.
  """
  key_decoder, key_noise = jax.random.split(jax.random.key(seed))
  decoder = heads.MLP((width, width, number), activation="tanh")
  optimizer = optax.adam(5e-3)
  params = {
    "mu": mu,
    "logvar": logvar,
    "decoder": decoder.init(key_decoder, mu),
  }

  def loss(params, key):
    mu, logvar = params["mu"], jnp.clip(params["logvar"], -8, 3)
    noise = jax.random.normal(key, (samples, *mu.shape))
    z = mu + jnp.exp(logvar / 2) * noise
    log_probs = jax.nn.log_softmax(decoder.apply(params["decoder"], z))
    fit = jnp.diagonal(log_probs, axis1=1, axis2=2).mean()

    def regularizer(z):
      return regularization.regularizer(
        config,
        regularization.Codes(mu, logvar, z),
        size=number,
        progress=0.0,
      )

    value, metrics = jax.vmap(regularizer)(z)
    metrics = jax.tree.map(jnp.mean, metrics)
    return value.mean() - fit, metrics | {"fit": fit}

  def step(carry, key):
    params, state = carry
    grads, metrics = jax.grad(loss, has_aux=True)(params, key)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), metrics

  keys = jax.random.split(key_noise, steps)
  return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]


def starts(number, seed=0):
  """Returns tables that start collapsed, and spread out."""
  normal = np.random.default_rng(seed).normal(size=(number, 2))
  normal = normal.astype(np.float32)
  return {
    "small": (0.1 * normal, np.zeros_like(normal)),
    "spread": (normal, np.full_like(normal, -3.0)),
  }


def config(alpha, beta, **options):
  return methods.Config(
    alpha=alpha, beta=beta, estimator="exact", anneal="none", **options
  )


@functools.partial(jax.jit, static_argnums=(0, 1))
def ideal(config, steps, mu, logvar):
  """Trains with the best of all decoders, and returns I(x; z) of all steps."""

  def loss(params, key):
    mu, logvar = params
    z = mu + jnp.exp(logvar / 2) * jax.random.normal(key, mu.shape)
    value, _ = regularization.regularizer(
      config,
      regularization.Codes(mu, logvar, z),
      size=len(mu),
      progress=0.0,
    )
    # The best decoder has E log p(x | z) = I(x; z) - H(x).
    information = estimators.decompose(
      estimators.log_densities(z, mu, logvar, kind="exact", rows=256)
    ).mi
    return value - information, information

  optimizer = optax.adam(2e-2)

  def step(carry, key):
    params, state = carry
    grads, information = jax.grad(loss, has_aux=True)(params, key)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), information

  keys = jax.random.split(jax.random.key(1), steps)
  params = (mu, logvar)
  return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]


@pytest.mark.slow
def test_information_is_lost_or_kept_whatever_the_start():
  table = starts(16)
  lost = ideal(config(0.0, 4.0), 300, *table["spread"])
  assert lost[0] > 1.5
  assert lost[-50:].mean() < 0.1
  kept = ideal(config(0.5, 1.0), 300, *table["small"])
  assert kept[0] < 0.2
  # It goes on towards log 16 = 2.77 nats.
  assert kept[-50:].mean() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("start", ["small", "spread"])
@pytest.mark.parametrize(
  ("alpha", "beta"),
  [
    (0.0, 4.0),
    (2.0, 4.0),
    (0.5, 1.0),
    (1.0, 1.0),
    (3.5, 4.0),
    (4.0, 4.0),
    (5.0, 4.0),
  ],
)
def test_phases(alpha, beta, start):
  # The mean over seeds, of codes, decoder and noise: one ends up to a tenth of
  # its dwkl above it.
  runs = [
    train(config(alpha, beta), 64, 128, 4, 3000, *starts(64, seed)[start], seed)
    for seed in (1, 2, 3)
  ]
  ends = {
    key: [float(np.mean(run[key][-300:])) for run in runs] for key in runs[0]
  }
  end = {key: np.mean(values) for key, values in ends.items()}
  # Shown by pytest's option -rP.
  told = (f"{key} {tables.mean_std(ends[key])}" for key in _TOLD)
  print(f"beta {beta:g}, alpha {alpha:g}, {start}:", ", ".join(told))
  if alpha <= beta - 2:
    assert end["mi"] < 0.05, end
  else:
    # Of log 64 = 4.16 nats.
    assert end["mi"] > 3.2, end
    assert end["fit"] > -1.0, end
    assert end["tc"] < 0.25, end
    assert end["dwkl"] < 0.05, end


@pytest.mark.slow
def test_at_the_border_the_start_decides():
  ends = [
    train(config(0.0, 1.0), 64, 128, 4, 3000, *start)["mi"][-300:].mean()
    for start in starts(64).values()
  ]
  assert ends[0] < 0.05
  assert ends[1] > 1.0


@pytest.mark.slow
def test_a_cap_ends_the_reward():
  # Without it 3.7 nats are kept.
  capped = config(4.0, 4.0, mi_cap=2.0)
  metrics = train(capped, 64, 128, 4, 3000, *starts(64)["spread"])
  np.testing.assert_allclose(metrics["mi"][-300:].mean(), 2.0, atol=0.25)
