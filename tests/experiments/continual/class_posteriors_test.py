"""Posteriors of class means and of a regression, against the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.continual import class_posteriors

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture
def arrays(golden):
  return golden("continual/protocl_update")


def _start(arrays):
  names = "Q0", "precision0", "alpha0"
  return class_posteriors.Posterior(*(jnp.asarray(arrays[x]) for x in names))


def test_updates_and_predictions(arrays):
  posterior, variance = _start(arrays), float(arrays["sigma2"])
  for k in range(3):
    one = {
      name.partition("/")[2]: jnp.asarray(x)
      for name, x in arrays.items()
      if name.startswith(f"k{k}/")
    }
    joint = class_posteriors.log_joint(posterior, one["z"], variance)
    # The reference leaves out what all classes share.
    for x in (joint, one["log_joint"]):
      log_probs = jax.nn.log_softmax(x)
      np.testing.assert_allclose(
        log_probs, one["log_posterior"], rtol=1e-8, atol=1e-8
      )
    nll = -jnp.take_along_axis(log_probs, one["y"][:, None], 1).mean()
    np.testing.assert_allclose(nll, one["loss"], rtol=1e-8, atol=1e-9)
    posterior = class_posteriors.updated(
      posterior, one["z"], one["y"], variance
    )
    for name in posterior._fields:
      value = getattr(posterior, name)
      np.testing.assert_allclose(value, one[name], rtol=1e-10, err_msg=name)
    query = class_posteriors.log_joint(posterior, one["query"], variance)
    np.testing.assert_allclose(
      jax.nn.log_softmax(query),
      one["query_log_posterior"],
      rtol=1e-7,
      atol=1e-9,
    )


def test_neither_order_nor_batches_matter(arrays):
  z, y = (
    jnp.concatenate([jnp.asarray(arrays[f"k{k}/{name}"]) for k in range(3)])
    for name in "zy"
  )
  whole = class_posteriors.updated(_start(arrays), z, y, 0.05)
  order = np.random.default_rng(0).permutation(len(y))
  posterior = _start(arrays)
  for part in np.split(order, [1, 2, 9]):
    posterior = class_posteriors.updated(posterior, z[part], y[part], 0.05)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), posterior, whole
  )
  # What counts nothing changes nothing.
  same = class_posteriors.updated(whole, z, y, 0.05, jnp.zeros(len(y)))
  jax.tree.map(np.testing.assert_array_equal, same, whole)


def test_exact_bayes_forgets_where_tasks_have_different_truths(golden):
  arrays = golden("continual/sequential_regression")
  inputs, targets = (
    [jnp.asarray(arrays[f"t{t}/{name}"]) for t in range(3)] for name in "Xy"
  )
  noise = float(arrays["noise"])
  result = class_posteriors.regression(inputs, targets, noise)
  for t in range(3):
    for name, value in (("mean", result.mean), ("precision", result.precision)):
      expected = arrays[f"t{t}/posterior_{name}"]
      np.testing.assert_allclose(value[t], expected, rtol=1e-9)
  np.testing.assert_allclose(result.error, arrays["mse_after_task"], rtol=1e-9)
  # It is the posterior of all data at once, in any order.
  other = class_posteriors.regression(inputs[::-1], targets[::-1], noise)
  np.testing.assert_allclose(other.mean[-1], result.mean[-1], rtol=1e-9)
  # Yet the first task is lost: no error is near the noise.
  assert result.error[0, 0] < 1.5 * noise
  assert (result.error[2] > 5 * noise).all()
