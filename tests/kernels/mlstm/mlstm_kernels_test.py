"""mlstm_scan by the kernels of outer_scan, against a float64 loop over time."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.kernels.delta import delta_kernels_test
from tests.recurrence import methods
from tests.recurrence.mlstm import matrix_lstm_test

hopper = pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="Mosaic GPU kernels need jax 0.11"
)


def evaluate(scan, arguments):
  """Results, and gradients with cotangents on outputs and the last state."""
  value = functools.partial(matrix_lstm_test.value, scan)
  loss = jax.jit(jax.value_and_grad(value, has_aux=True))
  (_, results), grads = loss(arguments)
  return results, grads


class Shape(NamedTuple):
  """Sizes of a problem."""

  dk: int
  dv: int
  time: int = 35
  heads: int = 2

  def problem(self):
    """Arguments of `mlstm_scan_heads` in float32, with gates of any size."""
    rng = np.random.default_rng(0)
    lead = 1, self.time, self.heads
    q, k = rng.normal(size=(2, *lead, self.dk)) / np.sqrt(self.dk)
    v = rng.normal(size=(*lead, self.dv))
    i = 3 * rng.normal(size=lead)
    f = -rng.exponential(0.2, lead)
    state = 1, self.heads, self.dk, self.dv
    init = (
      *(rng.normal(size=state[:n]) for n in (4, 3)),
      rng.normal(size=(1, 2)),
    )
    arguments = q, k, v, i, f, recurrence.MLSTMState(*init)
    return jax.tree.map(np.float32, arguments)

  def reset(self, kind):
    rng = np.random.default_rng(3)
    return methods.make_reset(rng, kind, (1, self.time), 0.1)


def kernel(reset=None, method="pallas"):
  options = {"reset": reset, "method": method, "chunk_size": 16}
  return lambda arguments: recurrence.mlstm_scan_heads(*arguments, **options)


def exact(arguments, reset):
  """Values and gradients of the loop in float64, heads among the batch."""

  def loop(arguments):
    *elements, init = arguments
    first = (jnp.moveaxis(x, 2, 1) for x in elements)
    flags = None
    if reset is not None:
      heads = elements[0].shape[2]
      flags = jnp.broadcast_to(reset[:, None], (1, heads, reset.shape[1]))
    h, final = reference.mlstm_scan(*first, init, reset=flags)
    return jnp.moveaxis(h, 1, 2), final

  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    return jax.tree.map(np.asarray, evaluate(loop, wide))


@pytest.mark.slow
@hopper
@pytest.mark.parametrize(
  "reset", [pytest.param("none", marks=pytest.mark.slow), "random"]
)
def test_bfloat16_on_hopper(reset):
  arguments = narrow(Shape(16, 16, time=70).problem())
  flags = Shape(16, 16, time=70).reset(reset)
  with kernels.interpret("gpu"):
    (h, final), grads = evaluate(kernel(flags), arguments)
  assert h.dtype == grads[2].dtype == jnp.bfloat16
  assert final.C.dtype == grads[3].dtype == jnp.float32
  # Sums of weights are float32, as divisors nearly cancel: up to 3.9e-3, where
  # without a kernel they are rounded, up to 3.4e-2 of the same numbers.
  delta_kernels_test.assert_narrow(
    (h, final, grads), exact(arguments, flags), 6e-3
  )


def narrow(arguments):
  """Queries, keys and values in bfloat16, the others in float32."""
  q, k, v, *others = arguments
  return *(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), *others


@pytest.mark.slow
@hopper
def test_second_derivatives_on_hopper_are_those_without_kernels():
  shape = Shape(3, 5, time=20)
  arguments, flags = narrow(shape.problem()), shape.reset("random")

  def along(method):
    def slope(arguments):
      value = functools.partial(matrix_lstm_test.value, kernel(flags, method))
      grads = jax.grad(lambda x: value(x)[0])(arguments)
      squares = (jnp.sum(g.astype("f4") ** 2) for g in jax.tree.leaves(grads))
      return sum(squares)

    return jax.jit(jax.grad(slope))(arguments)

  with kernels.interpret("gpu"):
    got = along("pallas")
  wide = jax.tree.map(lambda x: np.asarray(x, np.float64), along("chunked"))
  delta_kernels_test.assert_narrow(got, wide, 1e-1)


@pytest.mark.slow
@hopper
def test_a_reset_forgets_inf_and_nan_on_hopper():
  shape = Shape(3, 5, time=70)
  q, k, v, i, f, init = (jax.tree.map(np.array, x) for x in shape.problem())
  alone = narrow([x[:, 24:] for x in (q, k, v, i, f)])
  fresh = jax.tree.map(np.zeros_like, init)
  expected, _ = exact((*alone, fresh), None)
  k[0, 22], v[0, 23, 1], init.C[:] = np.nan, np.inf, np.inf
  reset = np.zeros((1, shape.time), bool)
  reset[:, 24] = True

  def loss(arguments):
    h, final = kernel(reset)(arguments)
    return jnp.sum(h[:, 24:].astype("f4") ** 2), (h[:, 24:], final)

  with kernels.interpret("gpu"):
    grad = jax.jit(jax.grad(loss, has_aux=True))
    grads, got = grad(narrow((q, k, v, i, f, init)))
  delta_kernels_test.assert_narrow(got, expected, 6e-3)
  for leaf in grads[:5]:
    assert np.isfinite(np.asarray(leaf[:, 24:], "f4")).all()


def test_what_there_is_no_kernel_for_is_said():
  arguments = Shape(3, 5, time=1).problem()
  with pytest.raises(NotImplementedError, match="mlstm_scan: got platform cpu"):
    kernel()(arguments)
  with (
    kernels.interpret("tpu"),
    pytest.raises(NotImplementedError, match="got platform tpu, expected gpu"),
  ):
    kernel()(arguments)
