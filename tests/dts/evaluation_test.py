"""Tests of what is measured on test windows."""

import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import decoders
from jaxseq.dts import estimators
from jaxseq.dts import evaluation
from jaxseq.dts import series_encoders


def test_active_coordinates():
  # Unbiased variances of two values a and -a: 2 a^2.
  mu = np.outer([1.0, -1.0], [0.0705, 0.0709, 0.0, 3.0])
  assert evaluation.active(mu).tolist() == [False, True, False, True]
  assert evaluation.active(mu, 1.0).sum() == 1


@pytest.mark.parametrize("count", [2, 3, 10])
def test_no_window_keeps_its_own_code(count):
  for seed in range(20):
    order = evaluation.exchange(jax.random.key(seed), count)
    assert sorted(order.tolist()) == list(range(count))
    assert np.all(order != np.arange(count))


@pytest.mark.slow
def test_gap_and_kl_by_hand():
  config = autoencoder.ModelConfig(
    series_encoders.EncoderConfig(kind="mlp", widths=(4,)),
    decoders.DecoderConfig(kind="mlp", widths=(4,)),
    latent=2,
    scale=0.5,
  )
  vae = autoencoder.VAE(config, 3, 1)
  x = np.float32(np.random.default_rng(0).standard_normal((6, 3, 1)))
  variables = jax.jit(vae.init)(jax.random.key(0), x)
  windows = data.ArrayDataset(x, np.zeros(6, np.int32))
  found = jax.jit(
    lambda variables: evaluation.evaluate(vae, variables, windows, limit=5)
  )(variables)
  x = x[evaluation.chosen(6, 5)]
  apply = jax.jit(vae.apply, static_argnames="method")
  encoded = apply(variables, x, method="encode")
  mu, logvar = map(np.asarray, encoded)
  kl = 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).mean(axis=0)
  np.testing.assert_allclose(found["kl_d"]["1"], kl[1], rtol=1e-5)  # float32
  assert found["active"] == evaluation.active(mu).sum()
  key_z, key_other = jax.random.split(jax.random.key(0))
  z = autoencoder.sample(key_z, mu, logvar)
  own, foreign = (
    apply(variables, x, code, method="nll").mean()
    for code in (z, z[evaluation.exchange(key_other, 5)])
  )
  np.testing.assert_allclose(found["nll"], own, rtol=1e-5)
  np.testing.assert_allclose(found["gap"], foreign - own, atol=1e-4)
  expected = estimators.mi_agg(z, mu, logvar)
  np.testing.assert_allclose(found["mi_agg"], expected, rtol=1e-5)
  # The entropy of q(z|x) is exact, and not that of the samples.
  assert np.abs(found["mi_agg"] - found["mi"]) > 1e-3


def test_chosen_windows_lie_evenly():
  assert evaluation.chosen(3, 8).tolist() == [0, 1, 2]
  assert evaluation.chosen(9, 3).tolist() == [0, 3, 6]
  rows = evaluation.chosen(4677, 4096)
  assert len(set(rows)) == 4096
  # Of one class after the other each has its share.
  assert abs(np.mean(rows < 2338) - 0.5) < 1e-3
