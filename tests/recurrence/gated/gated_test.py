import functools

import chex
import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.gated import gru
from jaxseq.mixers.gated import lstm
from jaxseq.recurrence import reference
from tests import jaxprs

# The cells of the package serve as the cells of these tests; a cell whose two
# sides share no cotangents (gru) and one whose sides share all (lstm).
_CELLS = {"gru": (gru._CELL, 3, 3, 1), "lstm": (lstm._CELL, 4, 4, 2)}
# float64 sums over 20 steps in another order.
_TOLERANCE = {"rtol": 1e-11, "atol": 1e-11}


def _arguments(name, *, time=7, heads=2, batch=3, features=2, bias=True):
  _, input_gates, gates, states = _CELLS[name]
  width = heads * features
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape))

  params = recurrence.GatedParams(
    normal(5, input_gates, width),
    normal(input_gates, width),
    normal(heads, features, gates, features),
    normal(gates, width) if bias else None,
  )
  state = tuple(normal(heads, batch, features) for _ in range(states))
  reset = jnp.asarray(rng.random((time, batch)) < 0.3)
  return params, state, normal(time, batch, 5), reset


def _check_equals_fold(name, heads, bias, with_reset, chunk_size, method):
  params, state, x, reset = _arguments(name, heads=heads, bias=bias)
  reset = reset if with_reset else None
  fast = functools.partial(
    recurrence.gated_scan,
    _CELLS[name][0],
    reset=reset,
    chunk_size=chunk_size,
    method=method,
  )
  slow = functools.partial(reference.gated_scan, _CELLS[name][0], reset=reset)

  def everything(function):
    rng = np.random.default_rng(2)

    def loss(*arguments):
      outputs = function(*arguments)
      total = sum(
        jnp.sum(leaf * rng.normal(size=leaf.shape))
        for leaf in jax.tree.leaves(outputs)
      )
      return total, outputs

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(
      params, state, x
    )

  chex.assert_trees_all_close(everything(fast), everything(slow), **_TOLERANCE)


@pytest.mark.parametrize("name", list(_CELLS))
@pytest.mark.parametrize(
  ("heads", "bias", "with_reset", "chunk_size"),
  [
    pytest.param(1, True, True, None, marks=pytest.mark.slow),
    pytest.param(1, False, False, 3, marks=pytest.mark.slow),
    (2, True, True, 3),
    pytest.param(2, True, False, 1, marks=pytest.mark.slow),
    pytest.param(2, False, True, 7, marks=pytest.mark.slow),
  ],
)
def test_equals_fold(x64, name, heads, bias, with_reset, chunk_size):
  _check_equals_fold(name, heads, bias, with_reset, chunk_size, "sequential")


@pytest.mark.parametrize(
  ("name", "heads", "bias", "with_reset", "chunk_size"),
  [
    ("gru", 2, True, True, 4),
    pytest.param("gru", 1, False, True, None, marks=pytest.mark.slow),
    pytest.param("lstm", 1, True, False, 3, marks=pytest.mark.slow),
    pytest.param("lstm", 2, False, True, None, marks=pytest.mark.slow),
  ],
)
def test_unrolled_equals_fold(x64, name, heads, bias, with_reset, chunk_size):
  _check_equals_fold(name, heads, bias, with_reset, chunk_size, "unrolled")


@pytest.mark.parametrize("method", ["sequential", "unrolled"])
def test_narrow_inputs(method):
  """Outputs and their cotangents are narrow, states and weights are not."""
  with jax.enable_x64(True):
    params, state, x, reset = _arguments("gru")
  params, state = jax.tree.map(
    lambda leaf: leaf.astype(jnp.float32), (params, state)
  )

  def loss(params, state, x):
    hidden, final = recurrence.gated_scan(
      gru._CELL, params, state, x, reset=reset, method=method
    )
    total = sum(jnp.sum(leaf.astype(jnp.float32) ** 2) for leaf in final)
    return total + jnp.sum(hidden.astype(jnp.float32) ** 2), (hidden, final)

  grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
  arguments = params, state, x.astype(jnp.bfloat16)
  gradients, (hidden, final) = jax.eval_shape(grad, *arguments)
  chex.assert_trees_all_equal_dtypes(gradients, arguments)
  assert hidden.dtype == jnp.bfloat16
  chex.assert_trees_all_equal_dtypes(final, state)
  for product in jaxprs.find(jax.make_jaxpr(grad)(*arguments), "dot_general"):
    assert {v.aval.dtype for v in product.invars} == {jnp.dtype(jnp.bfloat16)}
    assert product.outvars[0].aval.dtype == jnp.float32


@pytest.mark.parametrize("name", list(_CELLS))
def test_steps_equal_scan(x64, name):
  params, state, x, reset = _arguments(name)
  cell = _CELLS[name][0]
  hidden, final = recurrence.gated_scan(cell, params, state, x, reset=reset)
  step = jax.jit(functools.partial(recurrence.gated_step, cell))
  for t in range(x.shape[0]):
    state = step(params, state, x[t], reset=reset[t])
    chex.assert_trees_all_close(state[0], hidden[t], **_TOLERANCE)
  chex.assert_trees_all_close(state, final, **_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sequential", "unrolled"])
@pytest.mark.parametrize("name", list(_CELLS))
def test_finite_differences_of_second_order(x64, name, method):
  params, state, x, reset = _arguments(name, time=4, batch=2)

  @jax.jit
  def function(params, state, x):
    return recurrence.gated_scan(
      *(_CELLS[name][0], params, state, x),
      reset=reset,
      chunk_size=3,
      method=method,
    )

  test_util.check_grads(function, (params, state, x), order=2, modes=["rev"])


@pytest.mark.parametrize("name", list(_CELLS))
def test_memory_of_the_gradient_does_not_grow_with_the_gates(name):
  """Beyond inputs and outputs, only what stands between chunks is kept."""
  cell, _, _, states = _CELLS[name]
  heads, batch, features, time, chunk = 1, 4, 64, 512, 16
  with jax.enable_x64(True):
    params, state, x, _ = _arguments(
      name, heads=heads, batch=batch, features=features, time=time
    )

  def loss(params, state, x):
    hidden, _ = recurrence.gated_scan(cell, params, state, x, chunk_size=chunk)
    return jnp.sum(hidden**2)

  arguments = jax.tree.map(
    lambda leaf: leaf.astype(jnp.float32), (params, state, x)
  )
  compiled = jax.jit(jax.grad(loss)).lower(*arguments).compile()
  sequence = time * batch * features * 4
  between = time // chunk * states * batch * features * 4
  # The states, their cotangent and one copy of each; a chunk's own values, its
  # gates and theirs, and the weights with their gradients are small beside it.
  inside = 40 * chunk * batch * features * 4
  weights = 4 * sum(leaf.nbytes for leaf in jax.tree.leaves(arguments[0]))
  limit = 4 * sequence + between + inside + weights
  assert compiled.memory_analysis().temp_size_in_bytes < limit


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"x": jnp.ones((3, 5))}, "x: got shape .*, expected"),
    ({"x": jnp.ones((0, 3, 5))}, "at least one element"),
    ({"x": jnp.ones((7, 3, 4))}, "input_kernel: got shape .*, expected"),
    (
      {"state": (jnp.ones((3, 2, 2)),)},
      r"state: got shape .*, expected \(2, 3, 2\)",
    ),
    (
      {"reset": jnp.ones((3, 7), bool)},
      r"reset: got shape .*, expected \(7, 3\)",
    ),
    ({"chunk_size": 0}, "chunk_size: got 0, expected an integer of at least 1"),
    ({"method": "fft"}, "method: got 'fft', expected one of .*'unrolled'"),
  ],
)
def test_bad_arguments(change, message):
  params, state, x, reset = _arguments("gru")
  arguments = {"state": state, "x": x, "reset": reset} | change
  with pytest.raises(ValueError, match=message):
    recurrence.gated_scan(gru._CELL, params, **arguments)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"kernel": jnp.ones((2, 2, 3))},
      "params.kernel: got shape .*, expected",
    ),
    (
      {"input_kernel": jnp.ones((5, 12))},
      "input_kernel: got shape .*, expected",
    ),
    (
      {"input_bias": jnp.ones((3, 5))},
      "input_bias: got shape .*, expected",
    ),
    ({"bias": jnp.ones((2, 4))}, "params.bias: got shape .*, expected"),
  ],
)
def test_bad_params(change, message):
  params, state, x, _ = _arguments("gru")
  with pytest.raises(ValueError, match=message):
    recurrence.gated_scan(gru._CELL, params._replace(**change), state, x)
