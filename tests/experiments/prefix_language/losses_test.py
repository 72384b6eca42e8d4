"""Losses of language models that read a prefix at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.prefix_language import losses
from jaxseq import nn


def test_hidden_tokens_are_of_the_prefix():
  tokens = jnp.arange(2 * 4000).reshape(2, 4000) + 1
  prefix = jnp.array([1000, 3000])
  inputs, hidden = losses.hide(jax.random.key(0), tokens, prefix, 0)
  np.testing.assert_array_equal(inputs == 0, hidden)
  np.testing.assert_array_equal(jnp.where(hidden, tokens, inputs), tokens)
  for row, length in enumerate([1000, 3000]):
    assert not hidden[row, length:].any()
    # Three standard deviations of a binomial share are below 0.034.
    assert abs(hidden[row, :length].mean() - 0.15) < 0.034


def test_loss_by_hand():
  """Two hidden tokens, and next tokens from the end of the prefix on."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(1, 5, 6)).astype("f")
  tokens = np.array([[1, 2, 3, 4, 5, 0]])
  hidden = np.array([[True, False, True, False, False]])
  nats = -np.asarray(jax.nn.log_softmax(logits))[0]
  following = (nats[3, 5] + nats[4, 0]) / 2
  of_hidden = (nats[0, 1] + nats[2, 3]) / 2
  loss, metrics = losses.prefix_loss(logits, tokens, hidden, 3)
  expected = following, of_hidden, following + 0.25 * of_hidden
  got = metrics["next_token_loss"], metrics["hidden_token_loss"], loss
  np.testing.assert_allclose(got, expected, rtol=1e-5)  # Sums in float32.
  mask = np.array([[False, True, True, True, False]])
  loss, _ = losses.prefix_loss(
    logits, tokens, hidden, jnp.array([3]), weight=2.0, mask=mask
  )
  np.testing.assert_allclose(loss, nats[3, 5] + 2 * nats[2, 3], rtol=1e-5)


@pytest.mark.slow
def test_a_network_learns_from_its_prefix():
  """A slope reaches what the prefix alone goes through."""
  config = nn.NetworkConfig(
    nn.StackConfig("jrt", {"d_feature": 3, "heads": 2}, d_model=8, num_layers=1)
  )
  network = nn.SequenceNetwork(config, 6, 6)
  tokens = jax.random.randint(jax.random.key(1), (2, 9), 0, 5)
  inputs, hidden = losses.hide(
    jax.random.key(2), tokens[:, :-1], 5, 5, share=0.5
  )
  variables = jax.jit(network.init)(jax.random.key(0), inputs)

  @jax.jit
  def slope(variables):
    def loss(variables):
      logits, _ = network.apply(variables, inputs, options={"prefix": 5})
      return losses.prefix_loss(logits, tokens, hidden, 5)[0]

    return jax.grad(loss)(variables)

  mixer = slope(variables)["params"]["stack"]["layers_0"]["mixer"]
  for name in ("W_k_prefix", "W_v_prefix"):
    assert np.abs(mixer[name]).max() > 0


def test_shapes_must_fit():
  logits = jnp.zeros((2, 5, 6))
  tokens, hidden = jnp.zeros((2, 5), int), jnp.zeros((2, 5), bool)
  with pytest.raises(ValueError, match=r"tokens: got shape \(2, 5\), expected"):
    losses.prefix_loss(logits, tokens, hidden, 3)
