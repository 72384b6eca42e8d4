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
from tests.recurrence import matrix_lstm_test
from tests.recurrence import methods
from tests.recurrence.kernels import delta_test
from tests.recurrence.kernels import outer_test


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


def check(shape, reset_kind):
  """Values and gradients on a TPU."""
  arguments, reset = shape.problem(), shape.reset(reset_kind)
  with kernels.interpret("tpu"):
    got = evaluate(kernel(reset), arguments)
  # As of `outer_scan`, times what a small divisor makes of it.
  outer_test.assert_close(got, exact(arguments, reset), 2e-5)


def test_gates_of_any_size():
  check(Shape(3, 5, time=20), "none")


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["first", "last", "every", "random"])
def test_resets(reset):
  check(Shape(3, 5), reset)


@pytest.mark.slow
@pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="Mosaic GPU kernels need jax 0.11"
)
@pytest.mark.parametrize("reset", ["none", "random"])
def test_bfloat16_on_hopper(reset):
  *elements, i, f, init = Shape(16, 16, time=70).problem()
  narrow = *(jnp.asarray(x, jnp.bfloat16) for x in elements), i, f, init
  flags = Shape(16, 16, time=70).reset(reset)
  with kernels.interpret("gpu"):
    (h, final), grads = evaluate(kernel(flags), narrow)
  assert h.dtype == grads[2].dtype == jnp.bfloat16
  assert final.C.dtype == grads[3].dtype == jnp.float32
  # Where divisors nearly cancel gradients are large: 4.2e-2, without a kernel
  # up to 3.4e-2 of the same numbers.
  delta_test.assert_narrow((h, final, grads), exact(narrow, flags), 6e-2)


@pytest.mark.slow
def test_a_reset_forgets_inf_and_nan():
  shape = Shape(3, 5)
  q, k, v, i, f, init = (jax.tree.map(np.array, x) for x in shape.problem())
  alone = kernel(method="chunked")([x[:, 24:] for x in (q, k, v, i, f)])
  k[0, 22], v[0, 23, 1], init.C[:] = np.nan, np.inf, np.inf
  reset = np.zeros((1, shape.time), bool)
  reset[:, 24] = True
  with kernels.interpret("tpu"):
    h, final = jax.jit(kernel(reset))((q, k, v, i, f, init))
  # The same numbers in another order of sums.
  outer_test.assert_close((h[:, 24:], final), alone, 2e-5)


def test_what_there_is_no_kernel_for_is_said():
  arguments = Shape(3, 5, time=1).problem()
  with pytest.raises(NotImplementedError, match="mlstm_scan: got platform cpu"):
    kernel()(arguments)
