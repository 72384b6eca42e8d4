"""Every registered mixer on bfloat16 inputs: products, errors, gradients.

The policy, and the table of errors, are in docs/precision.md.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from tests import jaxprs
from tests.mixers import checks

_D_MODEL, _ROWS, _TIME = 32, 2, 61
# One of each kind of state.
_QUICK = {"gated_deltanet", "gru", "s5"}


@functools.cache
def _problem(name):
  """A mixer's functions of parameters and x, with parameters and x."""
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=_D_MODEL)
  params = module.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  # What is zero at first would hide what it is multiplied with.
  params = jax.tree.map(
    lambda leaf: leaf + 0.01 * rng.normal(size=leaf.shape).astype("f"), params
  )
  x = rng.normal(size=(_ROWS, _TIME, _D_MODEL))
  reset = np.zeros((_ROWS, _TIME), bool)
  reset[0, 17] = True
  weights = rng.normal(size=x.shape)

  def forward(params, x, reset=reset):
    return module.apply(config, params, x, None, reset)[0]

  def loss(params, x, reset=reset):
    y = forward(params, x, reset)
    wide = jnp.promote_types(y.dtype, jnp.float32)
    return jnp.sum(y.astype(wide) * weights.astype(wide))

  gradient = jax.grad(loss, argnums=(0, 1))
  return forward, gradient, params, jnp.asarray(x, jnp.bfloat16)


def _products(function, params, x):
  """Products of weights and activations, and those that are weights' gradients.

  The first are those of one factor that is made of parameters alone and one
  that is made of x; the second those that sum over all elements. What comes out
  of these has no elements any more.
  """
  jaxpr = jax.make_jaxpr(function)(params, x)
  weights, elements = frozenset({"weights"}), frozenset({"elements"})
  marks = [weights] * len(jax.tree.leaves(params)) + [elements]
  found = {}

  def visit(equation, operands):
    kind, summed = equation.primitive.name, ()
    if kind == "dot_general":
      (summed, _), _ = equation.params["dimension_numbers"]
    elif kind == "reduce_sum":
      summed = equation.params["axes"]
    sizes = [equation.invars[0].aval.shape[i] for i in summed]
    over_all = np.prod(sizes) == _ROWS * _TIME
    if kind in ("dot_general", "conv_general_dilated"):
      if elements <= frozenset().union(*operands) and (
        weights in operands or over_all
      ):
        found[id(equation)] = equation
    result = frozenset().union(*operands)
    return result - elements if over_all else result

  jaxprs.follow(jaxpr, marks, visit)
  return list(found.values())


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
    for name in mixers.names()
  ],
)
def test_weights_meet_activations_in_bfloat16(name):
  """In the gradient, which has the products of the forward pass too."""
  _, gradient, params, x = _problem(name)
  products = _products(gradient, params, x)
  wide = checks.of(name).wide_products
  assert products or wide
  for product in products:
    dtypes = {operand.aval.dtype for operand in product.invars}
    if dtypes == {jnp.dtype(jnp.bfloat16)}:
      assert product.params["preferred_element_type"] == jnp.float32, product
    else:
      assert wide, (
        f"{product}: got a wide operand, expected bfloat16, or `wide_products` "
        f"with the reason in {checks.of(name).path}"
      )


def _relative(got, exact):
  """Root of the mean square of the error over that of the numbers."""
  got, exact = (
    np.concatenate([np.ravel(np.asarray(leaf, "d")) for leaf in leaves])
    for leaves in map(jax.tree.leaves, (got, exact))
  )
  return np.linalg.norm(got - exact) / np.linalg.norm(exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", mixers.names())
def test_errors_of_bfloat16_stay_within_what_is_declared(name):
  forward, gradient, params, x = _problem(name)

  def both(params, x):
    return forward(params, x), gradient(params, x)

  got = jax.device_get(jax.jit(both)(params, x))
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, "d"), (params, x))
    exact = jax.device_get(jax.jit(both)(*wide))
  errors = [_relative(*pair) for pair in zip(got, exact)]
  print(f"\n{name:>16}: {errors[0]:.4f} and {errors[1]:.4f} of the gradient")
  for error, bound in zip(errors, checks.of(name).bfloat16_error):
    assert error < bound, checks.of(name).remedy("bfloat16_error")
  for leaf, param in zip(got[1][0].values(), params.values()):
    assert leaf.dtype == param.dtype
