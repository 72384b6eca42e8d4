"""Training on vectors against training on arrays."""

import functools

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from jaxseq.recurrence import kernels
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers
from jaxseq.training import supervised
from tests import jaxprs
from tests.training import supervised_test


def make_params():
  keys = iter(jax.random.split(jax.random.key(0), 4))
  return {
    "params": {
      "layer": {
        "kernel": jax.random.normal(next(keys), (3, 2)),
        "bias": jax.random.normal(next(keys), (2,)),
      },
      "log_step": jax.random.normal(next(keys), (2, 1)),
      "w": jax.random.normal(next(keys), (3,)),
    }
  }


def make_optimizer():
  return optimizers.make_optimizer(
    optimizers.Config(
      learning_rate=0.1,
      weight_decay=0.1,
      max_grad_norm=0.5,
      schedule="linear",
      total_steps=20,
      groups=(optimizers.Group("ssm", "log_step$", multiplier=0.1),),
    )
  )


def test_what_is_packed_comes_back():
  params, optimizer = make_params(), make_optimizer()
  state = optimizer.init(params)
  form = flat_parameters.make(params, state)
  held = form.pack(params)
  sizes = {name: vector.size for name, vector in held.items()}
  layer = "params/layer/"
  # The matrix decays and so does w; the bias does not, and the group is alone.
  assert sizes == {layer + "kernel": 9, layer + "bias": 2, "params/log_step": 2}
  chex.assert_trees_all_equal(form.unpack(held), params)
  packed = form.pack_state(state)
  chex.assert_trees_all_equal_shapes_and_dtypes(packed, optimizer.init(held))
  chex.assert_trees_all_equal(form.unpack_state(packed), state)


def test_large_arrays_stay_alone(monkeypatch):
  monkeypatch.setattr(flat_parameters, "_MOST", 5)
  params, optimizer = make_params(), make_optimizer()
  form = flat_parameters.make(params, optimizer.init(params))
  held = form.pack(params)
  sizes = {name.split("/")[-1]: vector.size for name, vector in held.items()}
  assert sizes == {"kernel": 6, "w": 3, "bias": 2, "log_step": 2}
  chex.assert_trees_all_equal(form.unpack(held), params)


def test_updates_are_those_of_the_arrays():
  params, optimizer = make_params(), make_optimizer()
  state = optimizer.init(params)
  form = flat_parameters.make(params, state)
  held, packed = form.pack(params), form.pack_state(state)

  @jax.jit
  def advance(gradients, state, params):
    updates, state = optimizer.update(gradients, state, params)
    return state, optax.apply_updates(params, updates)

  for i in range(3):
    gradients = jax.tree.map(lambda x, i=i: jnp.sin(3 * x + i), params)
    state, params = advance(gradients, state, params)
    packed, held = advance(form.pack(gradients), packed, held)
  # The norm of all gradients is summed up in another order.
  chex.assert_trees_all_close(
    (form.unpack(held), form.unpack_state(packed)),
    (params, state),
    rtol=1e-5,
    atol=1e-7,
  )


def make_problem():
  """The linear regression of the supervised tests, with a bias."""
  problem = supervised_test.make_problem(noise=0.1)
  init, loss = problem.init, problem.loss

  def biased(variables, *rest):
    w = variables["params"]["w"] + variables["params"]["bias"]
    return loss({"params": {"w": w}}, *rest)

  def start(key):
    variables = init(key)
    variables["params"]["bias"] = jnp.ones((1,))
    return variables

  problem.init, problem.loss = start, biased
  return problem


def train():
  problem = make_problem()
  config = optimizers.Config(max_grad_norm=0.5, no_decay=None)
  optimizer = optimizers.make_optimizer(config)
  state = supervised.init(problem, optimizer, jax.random.key(0))
  run = functools.partial(supervised.train, problem, optimizer)
  function = lambda state: run(state, problem.data, 4)  # noqa: E731
  return jax.make_jaxpr(function)(state), jax.jit(function)(state)


@pytest.mark.slow
def test_a_gpu_trains_vectors():
  plain, expected = train()
  with kernels.choosing_for("gpu"):
    jaxpr, found = train()
  state, metrics = (jax.tree.map(_numbers, tree) for tree in found)
  chex.assert_trees_all_close(
    (state, metrics),
    tuple(jax.tree.map(_numbers, tree) for tree in expected),
    rtol=1e-5,
    atol=1e-7,
  )
  assert not list(jaxprs.find(plain, "concatenate"))
  assert list(jaxprs.find(jaxpr, "concatenate"))


def _numbers(x):
  key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return jax.random.key_data(x) if key else x


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_only_elementwise_optimizers_and_only_on_gpus(platform):
  params = make_params()
  for optimizer in (make_optimizer(), optax.lamb(0.1)):
    with kernels.choosing_for(platform):
      form = flat_parameters.choose(optimizer, params, optimizer.init(params))
    packs = platform == "gpu" and isinstance(
      optimizer, flat_parameters.Elementwise
    )
    assert isinstance(form, flat_parameters.Packed) == packs
