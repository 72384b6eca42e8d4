"""Dynamic evaluation, against a loop that follows the paper's formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks import language
from jaxseq.tasks.language import dynamic_evaluation

NETWORK = nn.SequenceNetwork(
  nn.NetworkConfig(nn.StackConfig("gru", d_model=4, num_layers=1)), 5, 5
)
OPTIONS = {"length": 6, "pieces": 3, "epsilon": 0.01}


def _text(streams, n):
  # A text that repeats itself: learning from its beginning helps.
  tokens = np.tile(np.array([1, 2, 2, 4, 3], np.uint8), (streams, n // 5 + 1))
  return language.Text(tokens[:, :n], np.zeros((streams, n), bool))


TRAIN, TEXT = _text(2, 31), _text(1, 62)


@pytest.fixture(scope="module")
def variables():
  return NETWORK.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))


def _bits(variables, **options):
  config = dynamic_evaluation.Config(**OPTIONS, **options)
  run = jax.jit(dynamic_evaluation.bits_per_token, static_argnums=(0, 1))
  return run(config, NETWORK, variables, TRAIN, TEXT)


def _loop(variables, learning_rate, decay):
  """The same in plain steps; returns bits and the parameters at the end."""
  length, epsilon = OPTIONS["length"], OPTIONS["epsilon"]

  @jax.jit
  def gradient(params, states, inputs, targets, starts):
    def loss(params):
      logits, after = NETWORK.apply({"params": params}, inputs, states, starts)
      log_p = jax.nn.log_softmax(logits)
      picked = jnp.take_along_axis(log_p, targets[..., None], -1)
      return -picked.mean(), after

    return jax.value_and_grad(loss, has_aux=True)(params)

  def pieces(text):
    tokens = np.asarray(text.tokens, np.int32)
    inputs = np.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    for begin in range(0, tokens.shape[1], length):
      place = slice(begin, begin + length)
      starts = np.zeros_like(tokens[:, place], bool)
      starts[:, 0] = begin == 0
      yield inputs[:, place], tokens[:, place], starts

  def flat(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.ravel(leaf) for leaf in leaves])

  first = variables["params"]
  _, unflatten = jax.flatten_util.ravel_pytree(first)
  states, squares = NETWORK.initial_state((2,)), 0
  for piece in list(pieces(TRAIN))[: OPTIONS["pieces"]]:
    (_, states), g = gradient(first, states, *piece)
    squares = squares + flat(g) ** 2 / OPTIONS["pieces"]
  root = np.sqrt(squares)
  back = np.minimum(decay * root / root.mean(), 1)

  theta, states, nats = flat(first), NETWORK.initial_state((1,)), 0
  for piece in pieces(TEXT):
    (value, states), g = gradient(unflatten(theta), states, *piece)
    nats += float(value) * piece[1].shape[1]
    theta = (
      theta
      - learning_rate * flat(g) / (root + epsilon)
      + back * (flat(first) - theta)
    )
  return nats / TEXT.tokens.shape[1] / math.log(2)


@pytest.mark.slow
def test_follows_the_formula(variables):
  # float32, over eleven pieces.
  np.testing.assert_allclose(
    _bits(variables, learning_rate=0.01, decay=0.05),
    _loop(variables, 0.01, 0.05),
    rtol=1e-4,
  )


@pytest.mark.slow
def test_without_learning_it_is_the_static_score_and_with_it_better(variables):
  static = language.bits_per_token(NETWORK, variables, TEXT, 7)
  np.testing.assert_allclose(
    _bits(variables, learning_rate=0.0, decay=0.0), static, rtol=1e-5
  )
  # Half a bit is learned within 62 tokens; rounding moves it by 1e-4.
  assert _bits(variables, learning_rate=0.02, decay=0.0) < static - 0.1


def test_wrong_options_are_refused(variables):
  with pytest.raises(
    ValueError, match="decay: got -1, expected a finite number of at least 0"
  ):
    dynamic_evaluation.Config(decay=-1)
  with pytest.raises(
    ValueError, match="length: got 0, expected an integer of at least 1"
  ):
    dynamic_evaluation.Config(length=0)
  with pytest.raises(ValueError, match="stack.norm: got 'batch', expected"):
    dynamic_evaluation.check(
      dynamic_evaluation.Config(),
      nn.NetworkConfig(nn.StackConfig(norm="batch")),
      TRAIN,
    )
  with pytest.raises(
    ValueError,
    match="dynamic.length: got 40, expected at most [0-9]+, the tokens",
  ):
    dynamic_evaluation.bits_per_token(
      dynamic_evaluation.Config(length=40), NETWORK, variables, TRAIN, TEXT
    )
