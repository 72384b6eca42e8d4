"""What JAX makes of every registered mixer: `jit`, `vmap`, bfloat16, ...

Options change what is computed and not how it is transformed, so these run over
each mixer's defaults only.
"""

import functools

import chex
import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from tests.mixers import cases
from tests.mixers import checks


@pytest.fixture(params=cases.plain_cases())
def mixer(request):
  return cases.bind(request.param)


@pytest.fixture(
  scope="module", params=cases.plain_cases(marks=pytest.mark.slow)
)
def common_mixer(request):
  """The two quick tests of one share a compiled program."""
  return cases.bind(request.param)


@pytest.mark.slow
def test_compiled_equals_op_by_op(mixer):
  x = cases.sequence(2, 5, dtype=jnp.float32)
  with jax.disable_jit():
    expected = mixer.module.apply(mixer.config, mixer.params, x)
  chex.assert_trees_all_close(
    mixer.apply(mixer.params, x), expected, **cases.FLOAT32
  )


def test_numpy_arrays_and_no_state(common_mixer):
  mixer = common_mixer
  x = np.random.default_rng(0).normal(size=(2, 3, cases.D_MODEL))
  y, _ = jax.eval_shape(
    lambda: mixer.module.apply(mixer.config, mixer.params, x)
  )
  assert y.dtype == jnp.float32
  with pytest.raises(
    ValueError, match="state: got None, expected that of initial_state"
  ):
    mixer.module.step(mixer.config, mixer.params, x[:, 0], None)


def test_no_state_means_a_fresh_one(common_mixer):
  mixer = common_mixer
  x = cases.sequence(2, 37, dtype=jnp.float32)
  fresh = cases.fresh(mixer, (2,))
  chex.assert_trees_all_close(
    mixer.apply(mixer.params, x),
    mixer.apply(mixer.params, x, fresh),
    **cases.FLOAT32,
  )


def test_exported_for_any_batch(common_mixer):
  mixer = common_mixer
  (rows,) = export.symbolic_shape("rows")

  def shapes(tree, batch):
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(batch + leaf.shape[1:], leaf.dtype),
      tree,
    )

  x = cases.sequence(3, 37, dtype=jnp.float32)
  reset = jnp.zeros((3, 37), bool).at[1, 20].set(True)
  state = cases.fresh(mixer, (3,))
  arguments = mixer.params, x, state, reset
  exported = export.export(
    jax.jit(functools.partial(mixer.module.apply, mixer.config))
  )(mixer.params, *shapes((x, state, reset), (rows,)))
  # As another program would read it from a file.
  read = export.deserialize(exported.serialize())
  chex.assert_trees_all_close(
    read.call(*arguments), mixer.apply(*arguments), **cases.FLOAT32
  )


@pytest.mark.slow
def test_bfloat16(mixer):
  x = cases.sequence(2, 37, dtype=jnp.bfloat16)
  y, state = mixer.apply(mixer.params, x)
  expected, _ = mixer.apply(mixer.params, x.astype(jnp.float32))
  assert y.dtype == jnp.bfloat16
  for leaf in jax.tree.leaves(state):
    assert leaf.dtype in (jnp.float32, jnp.complex64)
  # bfloat16 has 8 bits: one rounding is 4e-3 of the value.
  difference = jnp.abs(y.astype(jnp.float32) - expected).max()
  own = checks.of(mixer.name)
  largest = own.bfloat16_largest * jnp.abs(expected).max()
  assert difference <= largest, own.remedy("bfloat16_largest")
  slope = jax.eval_shape(
    jax.grad(
      lambda x: mixer.apply(mixer.params, x)[0].astype(jnp.float32).sum()
    ),
    x,
  )
  assert slope.dtype == jnp.bfloat16


@pytest.mark.slow
def test_one_element_is_a_step(mixer):
  x = cases.sequence(2, 1, dtype=jnp.float32)
  state = cases.used_state(mixer, mixer.params, (2,), jnp.float32)
  y, after = mixer.step(mixer.params, x[:, 0], state)
  chex.assert_trees_all_close(
    mixer.apply(mixer.params, x, state), (y[:, None], after), **cases.FLOAT32
  )


@pytest.mark.slow
def test_vmap_over_batch(mixer):
  x = cases.sequence(2, 7, dtype=jnp.float32)
  reset = jnp.zeros((2, 7), bool).at[0, 3].set(True)
  state = cases.used_state(mixer, mixer.params, (2,), jnp.float32)
  chex.assert_trees_all_close(
    jax.vmap(mixer.apply, (None, 0, 0, 0))(mixer.params, x, state, reset),
    mixer.apply(mixer.params, x, state, reset),
    **cases.FLOAT32,
  )


@pytest.mark.slow
def test_vmap_over_params_gradients_and_checkpoint(mixer):
  """An ensemble trained in one program, as over seeds, with less memory."""
  many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 1.1]), mixer.params)
  x = cases.sequence(2, 7, dtype=jnp.float32)
  function = functools.partial(mixer.module.apply, mixer.config)

  def loss(params, function):
    y, _ = function(params, x)
    return jnp.sum(y * y)

  together = jax.jit(
    jax.vmap(
      lambda params: jax.value_and_grad(loss)(params, jax.checkpoint(function))
    )
  )(many)
  plain = jax.jit(lambda params: jax.value_and_grad(loss)(params, function))
  apart = [plain(jax.tree.map(lambda a: a[i], many)) for i in range(2)]  # noqa: B023
  chex.assert_trees_all_close(
    together,
    jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart),
    # Gradients of a sum of 84 squares.
    rtol=1e-3,
    atol=1e-4,
  )


@pytest.mark.slow
def test_second_call_does_not_trace_again(mixer):
  traces = []

  def counted(function):
    def run(*arguments):
      traces.append(function)
      return function(mixer.config, *arguments)

    return jax.jit(run)

  step, apply = counted(mixer.module.step), counted(mixer.module.apply)
  x = cases.sequence(2, 5, dtype=jnp.float32)
  state = cases.fresh(mixer, (2,))
  for _ in range(2):
    _, state = step(mixer.params, x[:, 0], state)
    _, state = apply(mixer.params, x, state)
  assert traces == [mixer.module.step, mixer.module.apply]
