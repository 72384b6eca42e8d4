"""Masked language models: what they are asked for, and cannot know."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import experiments.masked_language  # noqa: F401
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import masked_language
from tests import drawn

STACK = nn.StackConfig("gru", d_model=8, num_layers=1, bidirectional=True)
ARM = masked_language.ArmConfig(nn.NetworkConfig(STACK), batch_size=4)
SPLITS = data.load("rna", examples=24, length=28)


def test_losses_are_of_hidden_letters_alone():
  problem = masked_language.Problem(ARM, SPLITS)
  batch = jax.tree.map(jnp.asarray, problem.data["test"])
  masked = problem._masked(jax.random.key(0), batch, hidden=1.0, random=0.0)

  @jax.jit
  def results(variables):
    logits = problem.network.apply(variables, masked.inputs, batch.lengths)
    scores = problem.scores(variables, batch)
    return logits, scores, problem.measure(variables, batch)

  logits, (metrics, count), measured = results(drawn.variables(problem))
  hidden = np.asarray(masked.scored)
  assert count == hidden.sum() > 0
  # Neither the tokens at the ends nor padding.
  assert not hidden[:, [0, -1]].any()
  nats = -np.asarray(jax.nn.log_softmax(logits))
  true = np.take_along_axis(nats, SPLITS.test.inputs[..., None], axis=-1)[
    ..., 0
  ]
  close = {"rtol": 1e-5}
  np.testing.assert_allclose(metrics["test_loss"], true[hidden].mean(), **close)
  paired = hidden & (SPLITS.test.extras.partners > 0)
  assert set(measured) == {"test_loss", "accuracy", "paired_loss"}
  np.testing.assert_allclose(
    metrics["paired_nats"] / metrics["paired_share"],
    true[paired].mean(),
    **close,
  )


def test_networks_that_read_one_way_are_refused():
  def refused(stack, **options):
    arm = dataclasses.replace(ARM, network=nn.NetworkConfig(stack), **options)
    return pytest.raises(ValueError), arm

  context, arm = refused(dataclasses.replace(STACK, bidirectional=False))
  with context as error:
    masked_language.Problem(arm, SPLITS)
  assert "bidirectional: got 'False in layer 0 of gru'" in str(error.value)
  # Attention may see both sides by itself.
  stack = nn.StackConfig("attention", {"bidirectional": True}, d_model=8)
  _, arm = refused(stack, positions=30)
  masked_language.make_network(arm, SPLITS)
  context, arm = refused(stack, positions=29)
  with context as error:
    masked_language.make_network(arm, SPLITS)
  assert "positions: got 29, expected 0, or at least 30" in str(error.value)
  hidden = data.Info("", "", "", vocab_size=25)
  with pytest.raises(ValueError, match="a token '<mask>'"):
    masked_language.Problem(ARM, SPLITS._replace(info=hidden))


@pytest.mark.parametrize("name", ["positions", "parser"])
def test_counts_are_integers(name):
  with pytest.raises(ValueError, match=f"{name}: got 1.5, expected an integer"):
    dataclasses.replace(ARM, **{name: 1.5})


def test_frequencies_are_the_entropy_of_even_letters():
  splits = data.load("rna", examples=400, planted=False)
  row = masked_language.entropy(splits, "test")["letters by frequency"]
  assert row["test_loss"] == pytest.approx(math.log(4), abs=0.003)


def test_recurrent_networks_have_no_longest_sequence():
  problem = masked_language.Problem(ARM, SPLITS)
  long = np.concatenate([SPLITS.train.inputs[0]] * 40)[None]
  read = jax.jit(problem.network.apply)(drawn.variables(problem), long)
  assert read.shape == (1, len(long[0]), 25)
  assert jnp.isfinite(read).all()


@pytest.mark.slow
def test_even_letters_cost_their_entropy_whatever_is_learnt():
  """A network that saw a hidden letter would fall below ln 4 at once."""
  splits = data.load("rna", examples=2000, length=20, planted=False)
  problem = masked_language.Problem(
    dataclasses.replace(ARM, batch_size=64), splits
  )
  variables = jax.jit(problem.init)(jax.random.key(0))
  optimizer = optax.adam(1e-2)

  @jax.jit
  def update(carry, key):
    variables, state = carry
    batch = problem.sample(key, jnp.int32(0), problem.data)

    def loss(variables):
      return problem.loss(variables, batch, None, key)[0]

    value, slope = jax.value_and_grad(loss)(variables)
    change, state = optimizer.update(slope, state)
    return (optax.apply_updates(variables, change), state), value

  keys = jax.random.split(jax.random.key(1), 300)
  (variables, _), _ = jax.lax.scan(
    update, (variables, optimizer.init(variables)), keys
  )
  loss = problem.measure(variables, problem.data["test"])["test_loss"]
  assert math.log(4) - 0.01 < loss < math.log(4) + 0.03
