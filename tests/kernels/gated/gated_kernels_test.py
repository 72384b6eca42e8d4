"""Kernels of gated networks, in the interpreter, beside plain steps."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.gated import elman
from jaxseq.mixers.gated import gru
from jaxseq.mixers.gated import lstm
from jaxseq.mixers.gated import slstm
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from jaxseq.recurrence.gated import _gated_chunk
from jaxseq.recurrence.platform import support


def _leaky_forward(inputs, recurrent, state):
  h, slow = state
  drive = jnp.tanh(inputs[0] + recurrent[0])
  slow = 0.9 * slow + drive
  return (jnp.tanh(slow) - 0.5 * h, slow), (drive, slow)


def _leaky_backward(saved, state, cotangent):
  del state
  drive, slow = saved
  d_h, d_slow = cotangent
  d_slow = d_slow + d_h * (1 - jnp.tanh(slow) ** 2)
  d_drive = d_slow * (1 - drive * drive)
  return (d_drive,), (d_drive,), (-0.5 * d_h, 0.9 * d_slow)


# The cell, gates of the inputs and of the state, and leaves of the state; the
# last is one that is in no module.
_CELLS = {
  "elman": (elman._CELL, 1, 1, 1),
  "gru": (gru._CELL, 3, 3, 1),
  "lstm": (lstm._CELL, 4, 4, 2),
  "slstm": (slstm._CELL, 4, 4, 4),
  "leaky": (recurrence.GatedCell(_leaky_forward, _leaky_backward), 1, 1, 2),
}


def _arguments(name, *, time=7, heads=2, rows=3, features=4, bias=True):
  """Float64 numbers that are exact in bfloat16."""
  _, input_gates, gates, states = _CELLS[name]
  rng = np.random.default_rng(0)
  width = heads * features

  def normal(*shape):
    x = jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
    return jnp.asarray(x, jnp.float64)

  params = recurrence.GatedParams(
    normal(5, input_gates, width),
    normal(input_gates, width),
    # As large as in trained networks: errors do not grow from step to step.
    normal(heads, features, gates, features) / 2,
    normal(gates, width) if bias else None,
  )
  state = tuple(jnp.abs(normal(heads, rows, features)) for _ in range(states))
  return params, state, normal(time, rows, 5)


def _reset(time, rows, share=0.2):
  return jnp.asarray(np.random.default_rng(1).random((time, rows)) < share)


def _everything(function, *arguments):
  """Outputs and gradients, with a weight of its own for each output."""

  def loss(*arguments):
    outputs = function(*arguments)
    rng = np.random.default_rng(2)
    total = sum(
      jnp.sum(leaf * rng.normal(size=leaf.shape).astype(leaf.dtype))
      for leaf in jax.tree.leaves(outputs)
    )
    return total, outputs

  grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
  return jax.device_get(jax.jit(grad)(*arguments))


def _errors(got, exact):
  """The largest of each array, in multiples of its largest number."""
  jax.tree.map(
    lambda a, b: np.testing.assert_equal(a.shape, b.shape), got, exact
  )
  pairs = zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True)
  return [
    np.abs(np.asarray(a, "d") - b).max() / np.abs(b).max() for a, b in pairs
  ]


def _kernel(name, **options):
  def function(*arguments):
    with kernels.interpret("gpu"):
      return recurrence.gated_scan(
        _CELLS[name][0], *arguments, method="pallas", **options
      )

  return function


def _check(name, *, chunk_size=3, **sizes):
  arguments = _arguments(name, **sizes)
  reset = _reset(*arguments[2].shape[:2]) if sizes.get("bias", True) else None
  plain = functools.partial(reference.gated_scan, _CELLS[name][0], reset=reset)
  exact = _everything(plain, *arguments)
  params, state, x = jax.tree.map(lambda a: a.astype(jnp.float32), arguments)
  kernel = _kernel(name, reset=reset, chunk_size=chunk_size)
  # Threads that interpret a GPU do not see that 64 bits are on here.
  with jax.enable_x64(False):
    got = _everything(kernel, params, state, x.astype(jnp.bfloat16))
  (hidden, final), d_x = got[1], got[0][2]
  assert hidden.dtype == d_x.dtype == jnp.bfloat16
  for leaf in jax.tree.leaves((final, got[0][:2])):
    assert leaf.dtype == jnp.float32
  assert max(_errors(got, exact)) < ON_HOPPER


# One rounding to bfloat16 is 4e-3 of a number at most, and a few follow each
# other, seldom to the same side. What gates are made of, numbers up to 8, is
# rounded as well.
ON_HOPPER = 2e-2
_on_hopper = pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="needs jax 0.11"
)


@_on_hopper
@pytest.mark.parametrize(
  ("name", "sizes"),
  [
    ("elman", {"time": 3, "bias": False}),
    # Two warpgroups, two blocks of rows, and weights of two heads.
    pytest.param(
      "gru", {"features": 40, "rows": 65, "time": 4}, marks=pytest.mark.slow
    ),
    pytest.param("lstm", {}, marks=pytest.mark.slow),
    pytest.param("slstm", {"time": 4}, marks=pytest.mark.slow),
    pytest.param("leaky", {"heads": 1, "time": 4}, marks=pytest.mark.slow),
  ],
)
def test_on_hopper(x64, name, sizes):
  _check(name, **sizes)


@_on_hopper
@pytest.mark.slow
def test_projected_inputs_on_hopper(x64):
  """As where each device has some of the heads: in float32."""
  from jaxseq.kernels.gated import scan as _gated_gpu_scan

  params, state, x = _arguments("gru", time=4)
  x = jnp.einsum("tbi,igo->tbgo", x, params.input_kernel)
  given = params._replace(input_kernel=None), state, x.reshape(4, 3, -1)
  loop = functools.partial(recurrence.gated_scan, gru._CELL)
  exact = _everything(loop, *given)
  params, state, x = jax.tree.map(lambda a: a.astype(jnp.float32), given)
  with jax.enable_x64(False), kernels.interpret("gpu"):
    form = _gated_chunk.Form(
      *(3, jnp.bfloat16, jnp.bfloat16, False),
      support.form("gated", jnp.dtype(jnp.float32)),
    )

    def scan(*arguments):
      return _gated_gpu_scan.scan(gru._CELL, form, *arguments, None)

    got = _everything(scan, params, state, x)
  assert got[0][2].dtype == jnp.float32
  assert max(_errors(got, exact)) < ON_HOPPER


@_on_hopper
@pytest.mark.slow
def test_second_derivatives_on_hopper(x64):
  """Those of the loop of bfloat16, by other kernels on the way there."""
  arguments = jax.tree.map(
    lambda a: a.astype(jnp.float32), _arguments("lstm", time=4, heads=1)
  )
  params, state, x = arguments
  reset = _reset(4, 3)

  def second(**how):
    def loss(*arguments):
      hidden, _ = recurrence.gated_scan(
        lstm._CELL, *arguments, reset=reset, **how
      )
      return jnp.sum(hidden.astype(jnp.float32) ** 2)

    def norm(*arguments):
      grads = jax.grad(loss, argnums=(0, 1, 2))(*arguments)
      return sum(
        jnp.sum(leaf.astype(jnp.float32) ** 2)
        for leaf in jax.tree.leaves(grads)
      )

    grad = jax.jit(jax.grad(norm, argnums=(0, 1, 2)))
    return jax.device_get(grad(params, state, x.astype(jnp.bfloat16)))

  with jax.enable_x64(False):
    expected = second(method="sequential")
    with kernels.interpret("gpu"):
      got = second(method="pallas")
  # Both are of bfloat16: twice what separates one of them from float64.
  assert max(_errors(got, jax.tree.map(np.float64, expected))) < 2 * ON_HOPPER


@_on_hopper
@pytest.mark.slow
# NumPy's, of the interpreter's products with inf.
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
def test_what_a_reset_forgets_may_be_undefined(x64):
  params, state, x = jax.tree.map(
    lambda a: a.astype(jnp.float32), _arguments("lstm", time=4, heads=1)
  )
  x, reset = x.astype(jnp.bfloat16), jnp.zeros(x.shape[:2], bool)
  run = _kernel("lstm", reset=reset.at[2].set(True))
  undefined = tuple(jnp.full_like(leaf, jnp.inf) for leaf in state)
  with jax.enable_x64(False):
    expected, _ = run(params, state, x)
    hidden, final = run(params, undefined, x.at[:2].set(jnp.nan))
  np.testing.assert_array_equal(hidden[2:], expected[2:])
  assert all(np.isfinite(leaf).all() for leaf in final)


_hopper = functools.partial(kernels.interpret, "gpu")


@pytest.mark.parametrize(
  ("context", "dtype", "features", "message"),
  [
    (contextlib.nullcontext, "f4", 4, "platform cpu"),
    (kernels.interpret, "f4", 4, "got platform tpu, expected gpu"),
    pytest.param(*(_hopper, "f8", 4, "dtype float64"), marks=_on_hopper),
    pytest.param(
      *(_hopper, "f4", 4, "got dtype float32 on a GPU"), marks=_on_hopper
    ),
    pytest.param(
      *(_hopper, jnp.bfloat16, 513, "got 1024 features a head in 3 gates"),
      marks=_on_hopper,
    ),
  ],
)
def test_says_why_no_kernel_runs(x64, context, dtype, features, message):
  def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.promote_types(dtype, jnp.float32))

  params = recurrence.GatedParams(
    shape(5, 3, features), shape(3, features), shape(1, features, 3, features)
  )
  state = (shape(1, 3, features),)
  x = jax.ShapeDtypeStruct((7, 3, 5), dtype)
  run = functools.partial(recurrence.gated_scan, gru._CELL, method="pallas")
  with context(), pytest.raises(NotImplementedError, match=message):
    jax.eval_shape(run, params, state, x)
