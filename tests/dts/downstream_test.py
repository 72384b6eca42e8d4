"""Tests of forecasts, anomaly scores and probes of a trained model's codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import domains
from jaxseq.dts import _forecasts
from jaxseq.dts import autoencoder
from jaxseq.dts import decoders
from jaxseq.dts import downstream
from jaxseq.dts import evaluation
from jaxseq.dts import problem
from jaxseq.dts import series_encoders

pytest.importorskip("sklearn")

_LENGTH = 6


def _arm(form):
  kind = {"kind": "conv" if form == "ar" else "mlp", "widths": (4,)}
  return problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(kind="mlp", widths=(8,)),
      decoders.DecoderConfig(form=form, **kind),
      latent=3,
    ),
    batch_size=8,
  )


def _windows(count, seed, targets):
  rng = np.random.default_rng(seed)
  x = rng.standard_normal((count, _LENGTH, 1)).astype(np.float32)
  return data.ArrayDataset(x, np.int32(targets))


def _splits(targets, targets_test):
  return data.Splits(
    _windows(len(targets), 0, targets),
    None,
    _windows(len(targets_test), 1, targets_test),
    data.Info("noise", "the test", "none"),
  )


def _model(form):
  vae = autoencoder.VAE(_arm(form).model, _LENGTH, 1)
  return vae, jax.jit(vae.init)(jax.random.key(0), jnp.zeros((1, _LENGTH, 1)))


def test_first_halves():
  x = jnp.arange(10.0).reshape(2, 5, 1) + 1
  half = _forecasts.first_half(x, jnp.array([True, False]))
  assert half[..., 0].tolist() == [[1, 2, 0, 0, 0], [6, 7, 8, 9, 10]]
  np.testing.assert_array_equal(
    _forecasts.first_half(x)[1, :, 0], [6, 7, 0, 0, 0]
  )


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nonar", "ar"])
def test_forecasts_do_not_see_the_second_half(form):
  vae, variables = _model(form)
  x = jax.random.normal(jax.random.key(1), (3, _LENGTH, 1))

  @jax.jit
  def of(x):
    z = _forecasts.encode(vae, variables, x)
    return z, _forecasts.forecast(vae, variables, x, z)

  z, got = of(x)
  assert got.shape == (3, 3, 1)
  np.testing.assert_array_equal(of(x.at[:, 3:].add(1))[1], got)
  assert np.any(of(x.at[:, 2].add(1))[1] != got)
  if form == "nonar":
    expected = vae.apply(variables, z, method="decode")[:, 3:]
  else:
    # Its own means are its inputs: each is what teacher forcing gives there.
    filled = jnp.concatenate([x[:, :3], got], axis=1)
    expected = vae.apply(variables, z, filled, method="decode")[:, 3:]
  np.testing.assert_allclose(got, expected, atol=1e-6)  # float32


def test_forecasts_without_a_model():
  time = np.arange(_LENGTH)[:, None]
  x = np.random.default_rng(0).normal(size=(40, 1, 1)) * time + 1
  half = _forecasts.last_value(x)
  np.testing.assert_array_equal(half, np.repeat(x[:, 2:3], 3, axis=1))
  assert _forecasts.mse(half, x) == pytest.approx(
    np.square(x[:, 3:] - x[:, 2:3]).mean()
  )
  # Lines are continued by a linear map without error.
  np.testing.assert_allclose(_forecasts.linear(x[:30], x), x[:, 3:], atol=1e-9)


def test_anomaly_scores_are_the_mean_of_bounds():
  vae, variables = _model("nonar")
  windows = _windows(3, 0, [0, 0, 0])
  score = jax.jit(lambda w: downstream.anomaly_scores(vae, variables, w))
  got = score(windows)
  mu, logvar = evaluation.encode(vae, variables, windows)
  kl = 0.5 * (mu**2 + jnp.exp(logvar) - logvar - 1).sum(axis=-1)
  nll = []
  for key in jax.random.split(jax.random.key(0), downstream.SAMPLES):
    z = autoencoder.sample(key, mu, logvar)
    nll.append(evaluation.nll(vae, variables, windows, z))
  np.testing.assert_allclose(got, np.mean(nll, axis=0) + kl, rtol=1e-5)
  far = windows._replace(inputs=windows.inputs + np.float32(20))
  assert (score(far) > got + 100).all()


@pytest.mark.slow
def test_scores_of_all_seeds(tmp_path):
  arm = _arm("nonar")
  splits = _splits([0] * 32, [0, 1] * 8)
  made = problem.Problem(arm, splits, 1)
  keys = jax.random.split(jax.random.key(0))
  variables = jax.jit(jax.vmap(made.init))(keys)
  tasks = ("forecast", "anomaly")
  downstream.check(tasks, splits)
  scores = downstream.scores(tasks, arm, splits, variables, tmp_path)
  assert {name: len(values) for name, values in scores.items()} == {
    "forecast mse": 2,
    "forecast other": 2,
    "anomaly auc": 2,
  }
  assert scores["forecast mse"][0] != scores["forecast mse"][1]
  for name in ("forecasts.png", "anomaly.png"):
    assert (tmp_path / name).stat().st_size
  known = downstream.baselines(tasks, splits)
  assert set(known) == {"last value", "linear map", "Gaussian"}
  assert 0 <= known["Gaussian"]["anomaly auc"] <= 1
  # Squares of two independent standard normals; 48 of them.
  assert known["last value"]["forecast mse"] == pytest.approx(2, abs=1.2)


def test_probes_of_raw_windows_and_of_several_factors():
  splits = _splits(np.arange(64) % 2, np.arange(32) % 2)
  # Two factors: one is in every element, the other nowhere.
  rng = np.random.default_rng(2)
  parts = []
  for part in (splits.train, splits.test):
    noise = rng.integers(0, 2, len(part.targets))
    targets = np.stack([part.targets, noise], axis=1).astype(np.int32)
    inputs = part.inputs + 20 * part.targets[:, None, None]
    parts.append(part._replace(inputs=inputs, targets=targets))
  splits = splits._replace(train=parts[0], test=parts[1])
  downstream.check(["classify"], splits)
  (scores,) = downstream.baselines(["classify"], splits).values()
  assert set(scores) == {"class linear", "class mlp"}
  assert 0.6 < scores["class linear"] < 0.95


def test_windows_without_a_label_train_no_probe():
  splits = _splits(np.arange(64) % 2, np.arange(32) % 2)
  train, test = (
    part._replace(inputs=part.inputs + 20 * part.targets[:, None, None])
    for part in (splits.train, splits.test)
  )
  # The target domain's windows, of the same two classes.
  unknown = np.full_like(train.targets, domains.UNLABELED)
  hidden = train._replace(targets=unknown)
  both = domains.joined([train, hidden, hidden])
  splits = splits._replace(train=both, test=test)
  downstream.check(["classify"], splits)
  (scores,) = downstream.baselines(["classify"], splits, labeled=48).values()
  assert scores == {"class linear": 1, "class mlp": 1}


@pytest.mark.parametrize(
  ("tasks", "targets", "message"),
  [
    (("guess",), [0, 1], "got .'guess',., expected some of classify"),
    (("forecast", "forecast"), [0, 1], "each once"),
    (("anomaly",), [0, 0], r"got shape \(2,\) with \[0\]"),
  ],
)
def test_wrong_tasks(tasks, targets, message):
  with pytest.raises(ValueError, match=message):
    downstream.check(tasks, _splits([0, 0], targets))
