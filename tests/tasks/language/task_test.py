"""Language modeling: streams, documents, carried states, bits per token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import language

ARM = base.ArmConfig(
  nn.NetworkConfig(nn.StackConfig("gru", d_model=5, num_layers=1)), batch_size=2
)

KEY = jax.random.key(3)


def _text(count, starts, seed=0):
  tokens = np.random.default_rng(seed).integers(1, 7, count).astype(np.uint8)
  flags = np.zeros(count, bool)
  flags[starts] = True
  return language.Text(tokens, flags)


CORPUS = language.Corpus(
  _text(26, [0, 9, 17]), _text(12, [0, 5]), _text(11, [0, 4]), 7
)


def test_from_splits():
  def part(n):
    return data.ArrayDataset(
      np.ones((1, n), np.int32),
      np.arange(n, dtype=np.int32)[None],
      extras=data.Extras(document_starts=np.arange(n)[None] == 2),
    )

  info = data.Info("text", "here", "none", vocab_size=9)
  corpus = language.from_splits(data.Splits(part(5), part(4), part(3), info))
  np.testing.assert_array_equal(corpus.train.tokens, range(5))
  np.testing.assert_array_equal(corpus.train.starts, [1, 0, 1, 0, 0])
  assert corpus.vocab_size == 9
  many = part(4)._replace(targets=np.ones((2, 4), np.int32))
  with pytest.raises(ValueError, match=r"the data: got shape .2, 4"):
    language.from_splits(data.Splits(many, many, many, info))


def test_streams():
  cut = language.streams(CORPUS.test, 3)
  np.testing.assert_array_equal(
    cut.tokens, CORPUS.test.tokens[:9].reshape(3, 3)
  )
  with pytest.raises(ValueError, match="at most 11, the number of tokens"):
    language.streams(CORPUS.test, 12)


def test_batches_follow_each_other_and_tell_where_documents_start():
  problem = language.Problem(ARM, CORPUS, length=4, valid_tokens=10)
  # Two streams of three pieces; two tokens are left over.
  streams = CORPUS.train.tokens[:24].reshape(2, 12)
  starts = CORPUS.train.starts[:24].reshape(2, 12)
  for update in range(4):
    place = slice(update % 3 * 4, update % 3 * 4 + 4)
    inputs, targets, reset = problem.sample(None, update, problem.data)
    np.testing.assert_array_equal(targets, streams[:, place])
    before = np.pad(streams, ((0, 0), (1, 0)))[:, :-1]
    expected = starts.copy()
    expected[:, 0] = True
    np.testing.assert_array_equal(reset, expected[:, place])
    np.testing.assert_array_equal(
      inputs, np.where(expected, language.START, before)[:, place]
    )


def test_streams_jump_to_random_places():
  problem = language.Problem(
    ARM, CORPUS, length=4, jump_every=2, valid_tokens=10
  )
  streams = CORPUS.train.tokens[:24].reshape(2, 12)
  starts = CORPUS.train.starts[:24].reshape(2, 12)
  sample = jax.jit(lambda update: problem.sample(KEY, update, problem.data))
  places = []
  for turn in range(30):
    batches = [sample(2 * turn + i) for i in range(2)]
    inputs, targets, reset = (
      np.concatenate(parts, axis=1) for parts in zip(*batches)
    )
    for row in range(2):
      # A stream holds no piece of eight twice.
      (begin,) = (
        at
        for at in range(12)
        if (np.roll(streams[row], -at)[:8] == targets[row]).all()
      )
      expected = np.roll(starts[row], -begin)[:8]
      expected[0] = True
      expected[(12 - begin) % 12 :][:1] = True
      np.testing.assert_array_equal(reset[row], expected)
      before = np.roll(streams[row], 1 - begin)[:8]
      np.testing.assert_array_equal(
        inputs[row], np.where(expected, language.START, before)
      )
      places.append((row, begin))
  assert len(set(places)) > 15


@pytest.mark.slow
def test_the_loss_goes_on_from_the_states():
  problem = language.Problem(ARM, CORPUS, length=4, valid_tokens=10)
  variables = jax.jit(problem.init)(jax.random.key(0))
  loss = jax.jit(problem.loss)
  key = jax.random.key(1)
  carry, losses = problem.carry, []
  for update in range(3):
    batch = problem.sample(None, update, problem.data)
    value, extra = loss(variables, batch, carry, key)
    carry = extra.carry
    losses.append(value)
  whole = language.Problem(ARM, CORPUS, length=12, valid_tokens=10)
  batch = whole.sample(None, 0, whole.data)
  expected, extra = jax.jit(whole.loss)(variables, batch, whole.carry, key)
  # The same sums in pieces, in float32.
  np.testing.assert_allclose(np.mean(losses), expected, rtol=1e-5)
  np.testing.assert_allclose(
    extra.metrics["train_bits_per_token"], expected / np.log(2), rtol=1e-6
  )


def test_bits_do_not_depend_on_the_pieces():
  network = language.make_network(ARM, CORPUS)
  inputs = jnp.zeros((1, 1), jnp.int32)
  variables = jax.jit(network.init)(jax.random.key(0), inputs)
  text = language.streams(CORPUS.test, 1)
  bits = [
    float(
      jax.jit(language.bits_per_token, static_argnums=(0, 3))(
        network, variables, text, length
      )
    )
    for length in (4, 1024)
  ]
  # By hand: each document alone.
  nats = 0.0
  for start, end in ((0, 4), (4, 11)):
    document = np.asarray(CORPUS.test.tokens[start:end], np.int32)
    read = np.pad(document, (1, 0))[:-1]
    logits, _ = jax.jit(network.apply)(variables, read[None])
    log_p = jax.nn.log_softmax(logits[0])
    nats -= log_p[np.arange(end - start), document].sum()
  np.testing.assert_allclose(bits, nats / 11 / np.log(2), rtol=1e-5)


def test_wrong_options():
  with pytest.raises(ValueError, match=r"batch_size \* length: got 2 \* 14"):
    language.Problem(ARM, CORPUS, length=14)
  with pytest.raises(
    ValueError, match="jump_every: got 0, expected an integer of at least 1"
  ):
    language.Problem(ARM, CORPUS, length=4, jump_every=0)
  pooled = base.ArmConfig(
    nn.NetworkConfig(nn.StackConfig("gru"), pooling="last")
  )
  with pytest.raises(ValueError, match="pooling: got 'last', expected 'none'"):
    language.Problem(pooled, CORPUS, length=2)
