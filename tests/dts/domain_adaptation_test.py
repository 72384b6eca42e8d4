"""Supervision of the segments: which windows count, and what is reversed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.dts.domain_adaptation import Config
from jaxseq.dts.domain_adaptation import PerHead
from jaxseq.dts.domain_adaptation import inputs
from jaxseq.dts.domain_adaptation import losses
from jaxseq.dts.domain_adaptation import total

CONFIG = Config(class_size=3, domain_size=2)
ENTROPY = Config(class_size=3, domain_size=2, adversary="entropy")
ROWS, CLASSES, DOMAINS = 8, 4, 2
SOURCE = np.arange(ROWS) < 5
# Those of the target may be anything.
LABELS = np.array([0, 3, 2, 1, 2, 99, -1, 0])
DOMAIN = np.array([0, 0, 0, 0, 0, 1, 1, 1])


def make():
  rng = np.random.default_rng(0)
  mu = rng.normal(size=(ROWS, 5))
  weights = PerHead(
    *(
      rng.normal(size=shape)
      for shape in ((3, CLASSES), (3, DOMAINS), (2, DOMAINS), (2, CLASSES))
    )
  )
  return mu, weights


@pytest.fixture(scope="module")
def run():
  """Losses, and gradients of each by the means and by its classifier."""

  @jax.jit
  def compute(mu, weights, labels, domains, strength):
    def each(mu, weights):
      results = []
      for config in (CONFIG, ENTROPY):
        seen = inputs(config, mu, strength)
        logits = jax.tree.map(jnp.matmul, seen, weights)
        results.append(losses(config, logits, labels, domains, SOURCE))
      return (*results[0], results[1].dy)

    return each(mu, weights), jax.jacrev(each, argnums=(0, 1))(mu, weights)

  return compute


def test_losses_and_their_gradients_by_hand(x64, run):
  mu, weights = make()
  found, gradients = run(mu, weights, LABELS, DOMAIN, 0.5)

  def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

  segments = mu[:, :3], mu[:, :3], mu[:, 3:], mu[:, 3:], mu[:, 3:]
  heads = (*weights, weights.dy)
  targets = LABELS, DOMAIN, DOMAIN, LABELS, None
  source_only = True, False, False, True, False
  is_reversed = False, True, False, True, True
  for i, segment in enumerate(segments):
    rows = SOURCE if source_only[i] else np.ones(ROWS, bool)
    logits = log_softmax(segment[rows] @ heads[i])
    probs = np.exp(logits)
    if targets[i] is None:
      loss = -(probs * logits).sum(axis=-1)
      by_logits = -probs * (logits + loss[:, None])
    else:
      one_hot = np.eye(probs.shape[-1])[targets[i][rows]]
      loss = -(one_hot * logits).sum(axis=-1)
      by_logits = probs - one_hot
    np.testing.assert_allclose(found[i], loss.mean(), rtol=1e-12)
    by_mu, by_weights = gradients[i]
    by_logits /= rows.sum()
    # The classifier learns to minimize its loss, whatever is reversed.
    got = by_weights[min(i, 3)]
    np.testing.assert_allclose(got, segment[rows].T @ by_logits, atol=1e-12)
    expected = np.zeros((ROWS, 5))
    columns = slice(0, 3) if i < 2 else slice(3, 5)
    sign = -0.5 if is_reversed[i] else 1.0
    expected[rows, columns] = sign * by_logits @ heads[i].T
    np.testing.assert_allclose(by_mu, expected, atol=1e-12)


def test_labels_of_the_target_are_never_used(x64, run):
  mu, weights = make()
  first = run(mu, weights, LABELS, DOMAIN, 1.0)
  others = np.where(SOURCE, LABELS, (LABELS + 1) % CLASSES)
  second = run(mu, weights, others, DOMAIN, 1.0)
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
    np.testing.assert_array_equal(a, b)
  # Those of the source are.
  others = np.where(SOURCE, (LABELS + 1) % CLASSES, LABELS)
  third = run(mu, weights, others, DOMAIN, 1.0)
  assert third[0][0] != first[0][0]
  assert third[0][3] != first[0][3]


def test_the_total_is_weighted():
  config = Config(w_yy=1.0, w_yd=10.0, w_dd=100.0, w_dy=1000.0)
  assert total(config, PerHead(1.0, 2.0, 3.0, 4.0)) == 4321


def test_what_is_refused():
  with pytest.raises(ValueError, match=r"mu: got .* expected \(batch, 5\)"):
    inputs(CONFIG, jnp.zeros((8, 16)), 1.0)
  with pytest.raises(
    ValueError, match="adversary: got .* expected one of 'cross_entropy'"
  ):
    Config(adversary="kl")
  with pytest.raises(ValueError, match="w_dy: got .* expected a finite number"):
    Config(w_dy=-1.0)
  logits = PerHead(*(jnp.zeros((8, 2)),) * 4)
  labels = jnp.zeros(8, int)
  with pytest.raises(
    ValueError, match="labels: got .* expected integers of shape"
  ):
    losses(CONFIG, logits, labels * 1.0, labels, jnp.ones(8, bool))
  with pytest.raises(
    ValueError, match="source: got .* expected a bool array of shape"
  ):
    losses(CONFIG, logits, labels, labels, jnp.ones(8))
