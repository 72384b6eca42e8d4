import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import supervised
from tests import jaxprs


def make_problem(noise=0.0):
  """Linear regression; the carry counts batches, the key adds noise."""
  x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
  data = {"x": x, "y": x @ np.array([1.0, -2.0, 0.5], np.float32)}

  def init(key):
    w = 0.1 * jax.random.normal(key, (3,))
    return {"params": {"w": w}, "statistics": {"last": jnp.zeros(4)}}

  def sample(key, update, data):
    index = supervised.draw(key, update, 10, 4)
    return jax.tree.map(lambda x: jnp.take(x, index, axis=0), data)

  def loss(variables, batch, carry, key):
    w = variables["params"]["w"]
    error = batch["x"] @ w - batch["y"]
    error = error + noise * jax.random.normal(key, error.shape)
    seen = {"statistics": {"last": error}}
    return jnp.mean(error**2), supervised.Loss(
      {"error": jnp.abs(error).mean()}, seen, carry + 1
    )

  def evaluate(variables, data):
    error = data["x"] @ variables["params"]["w"] - data["y"]
    return {"test_loss": jnp.mean(error**2)}

  return types.SimpleNamespace(
    init=init,
    sample=sample,
    loss=loss,
    validate=evaluate,
    evaluate=evaluate,
    data=data,
    carry=jnp.zeros(()),
  )


def test_training_goes_down_and_counts():
  problem, optimizer = make_problem(), optax.adam(0.1)
  state = supervised.init(problem, optimizer, jax.random.key(0))
  before = problem.evaluate(state.variables, problem.data)["test_loss"]
  state, metrics = jax.jit(
    lambda state: supervised.train(problem, optimizer, state, problem.data, 100)
  )(state)
  after = problem.evaluate(state.variables, problem.data)["test_loss"]
  assert after < 1e-3 * before
  assert set(metrics) == {"loss", "grad_norm", "error"}
  chex.assert_shape(list(metrics.values()), ())
  assert (state.update, state.carry) == (100, 100)
  assert state.variables["statistics"]["last"].shape == (4,)


def test_chunks_do_not_matter():
  problem, optimizer = make_problem(noise=0.1), optax.adam(0.1)
  state = supervised.init(problem, optimizer, jax.random.key(0))

  @functools.partial(jax.jit, static_argnums=1)
  def train(state, count):
    return supervised.train(problem, optimizer, state, problem.data, count)[0]

  state = train(state, 2)
  whole = train(state, 4)
  parts = train(train(state, 2), 2)
  chex.assert_trees_all_close(
    jax.tree.map(jax.random.key_data, whole.key), jax.random.key_data(parts.key)
  )
  # The same operations, perhaps fused differently.
  chex.assert_trees_all_close(whole.variables, parts.variables, rtol=1e-6)


@pytest.mark.parametrize(
  ("size", "batch"),
  [
    (10, 4),
    (1, 1),
    *(
      pytest.param(*sizes, marks=pytest.mark.slow)
      for sizes in ((7, 7), (9, 2), (5, 1))
    ),
  ],
)
def test_every_epoch_draws_every_example(size, batch):
  key = jax.random.key(3)
  draw = jax.vmap(lambda update: supervised.draw(key, update, size, batch))
  drawn = draw(jnp.arange(3 * size))
  # Any update is computed alone.
  np.testing.assert_array_equal(
    supervised.draw(key, 2 * size - 1, size, batch), drawn[2 * size - 1]
  )
  epochs = np.reshape(drawn, (-1, size))
  np.testing.assert_array_equal(
    np.sort(epochs, axis=1), np.broadcast_to(np.arange(size), epochs.shape)
  )
  if size > 1:
    assert (epochs[0] != epochs[1]).any()


@pytest.mark.parametrize("seeds", [None, 3])
def test_the_cost_of_a_batch_does_not_grow_with_the_set(seeds):
  def traced(size, batch=16):
    def draw(key, update):
      return supervised.draw(key, update, size, batch)

    key = jax.random.key(0)
    if seeds:
      draw, key = jax.vmap(draw, (0, None)), jax.random.split(key, seeds)
    return jaxprs.size(jax.make_jaxpr(draw)(key, jnp.int32(0)))

  # Without and with numbers that have to go through twice.
  assert traced(1_024) == traced(1_048_576)
  assert traced(997) == traced(1_000_003)
  # Sizes are seen: a batch that is twice as large is nearly twice as much.
  assert traced(1_024, 32) > 1.5 * traced(1_024)


def test_batch_beyond_the_examples():
  with pytest.raises(ValueError, match="batch: got 4, expected .* from 1 to 3"):
    supervised.draw(jax.random.key(0), 0, 3, 4)
