"""Losses against forgetting, against the released code and the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.continual import rehearsal
from jaxseq.tasks import losses

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def methods(golden):
  return golden("continual/methods")


COSINE = "classifier.L.weight"
NAMES = ("f.weight", "f.bias", "classifier.weight", "classifier.bias")


def _params(arrays, place, names=NAMES):
  return {name: jnp.asarray(arrays[f"{place}/{name}"]) for name in names}


def _logits(params, x):
  z = jnp.tanh(x @ params["f.weight"].T + params["f.bias"])
  if COSINE in params:
    w = params[COSINE]
    z /= jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-5
    w /= jnp.linalg.norm(w, axis=1, keepdims=True) + 1e-5
    return 10 * z @ w.T
  return z @ params["classifier.weight"].T + params["classifier.bias"]


def _arrays(methods, place, *names):
  return [jnp.asarray(methods[f"{place}/{name}"]) for name in names]


@pytest.mark.parametrize(
  "step",
  [
    pytest.param(0, marks=pytest.mark.slow),
    pytest.param(1, marks=pytest.mark.slow),
    2,
  ],
)
def test_derpp(methods, step):
  place = f"derpp/{step}"
  x, y = _arrays(methods, place, "x", "y")
  before = "derpp/init" if step == 0 else f"derpp/{step - 1}/after"
  drawn = (x[:1], y[:1], jnp.zeros((1, 6)))
  first = second = np.zeros(1, int)
  weight = jnp.zeros(1)
  if step:
    names = "buffer_x", "buffer_y", "buffer_logits"
    drawn = _arrays(methods, place, *names)
    first, second = (
      methods[f"{place}/draw_{name}"] for name in ("logits", "labels")
    )
    weight = jnp.ones(4)

  def loss(params):
    return rehearsal.derpp(
      (_logits(params, x), y),
      (_logits(params, drawn[0][first]), drawn[2][first]),
      (_logits(params, drawn[0][second]), drawn[1][second]),
      weight,
      methods["alpha"],
      methods["beta"],
    )

  params = _params(methods, before)
  value, slopes = jax.value_and_grad(loss)(params)
  np.testing.assert_allclose(value, methods[f"{place}/loss"], rtol=1e-10)
  after = _params(methods, f"{place}/after")
  for name, old in params.items():
    moved = old - methods["lr"] * slopes[name]
    np.testing.assert_allclose(moved, after[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize(
  "kind", ["er_ace", pytest.param("er_ace_cosine", marks=pytest.mark.slow)]
)
def test_er_ace(methods, kind):
  seen = jnp.zeros(6, bool)
  for step in (0, 1, 2):
    place = f"{kind}/{step}"
    x, y = _arrays(methods, place, "x", "y")
    before = f"{kind}/init" if step == 0 else f"{kind}/{step - 1}/after"
    names = NAMES if kind == "er_ace" else (*NAMES[:2], COSINE)
    params = _params(methods, before, names)
    logits = _logits(params, x)
    if methods[f"{place}/task"]:
      logits = rehearsal.absent_out(logits, y, seen)
    value = losses.cross_entropy(logits, y)[0]
    if methods[f"{place}/task"]:
      old_x, old_y = _arrays(methods, place, "buffer_x", "buffer_y")
      draw = methods[f"{place}/draw"]
      value += losses.cross_entropy(_logits(params, old_x[draw]), old_y[draw])[
        0
      ]
    seen = seen.at[y].set(True)
    expected = methods[f"{place}/loss_definition"]
    np.testing.assert_allclose(value, expected, rtol=1e-10)
  # The released code keeps the largest class seen in the last step.
  assert abs(methods[f"{place}/loss"] - expected) > 0.1


def test_ewc(methods):
  x, y = _arrays(methods, "ewc", "x", "y")
  params = _params(methods, "ewc/init")
  names = methods["ewc/parameter_order"]

  def flat(tree):
    return jnp.concatenate([tree[name].ravel() for name in names])

  def log_probs(params, x):
    return jax.nn.log_softmax(_logits(params, x))

  ones = jnp.ones(len(y))
  true = rehearsal.fisher(log_probs, params, x, ones)
  empirical = rehearsal.fisher(log_probs, params, x, ones, y)
  np.testing.assert_allclose(
    flat(true), methods["ewc/fisher_true"], rtol=1e-9, atol=1e-12
  )
  np.testing.assert_allclose(
    flat(empirical), methods["ewc/fisher_empirical"], rtol=1e-9, atol=1e-12
  )
  assert np.abs(methods["ewc/fisher_released"] - flat(empirical)).max() > 0.01
  value, slope = jax.value_and_grad(rehearsal.penalty)(
    methods["ewc/moved"], methods["ewc/theta"], flat(true)
  )
  strength = methods["ewc/lambda"]
  expected = methods["ewc/penalty_true"], methods["ewc/penalty_grad_true"]
  np.testing.assert_allclose(strength * value, expected[0], rtol=1e-9)
  np.testing.assert_allclose(strength * slope, expected[1], atol=1e-12)
