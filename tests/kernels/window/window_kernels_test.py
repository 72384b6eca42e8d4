"""Others' kernels of window_attention on a CPU, against float64.

JAX's splash attention is interpreted; tokamax and cuDNN are not: what runs here
are their libraries' forms without kernels, with the masks that they are given.
"""

import functools
import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from jaxseq.recurrence.platform import contexts
from tests.recurrence import narrow

needs_tokamax = pytest.mark.skipif(
  importlib.util.find_spec("tokamax") is None,
  reason="needs tokamax: pip install 'jaxseq[tokamax]'",
)
CHIPS = {"pallas": "tpu", "tokamax": "gpu", "cudnn": "gpu"}
METHODS = [
  "pallas",
  pytest.param("tokamax", marks=needs_tokamax),
]


def problem(time, window=3, *, groups=1, heads=2, width=8, rows=2, cached=True):
  """Arguments in bfloat16, and where each episode begins among all keys."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return narrow.rounded(rng.normal(size=shape))

  arguments = {
    "q": draw(rows, time, heads, width),
    "k": draw(rows, time, groups, width),
    "v": draw(rows, time, groups, width),
  }
  if not cached:
    return arguments, None, np.zeros((rows, time), int)
  held = np.minimum(window, [1, window + 5])[:rows]
  keys, values = draw(2, rows, window, groups, width).astype(jnp.float32)
  length = jnp.asarray([1.0, window + 5.0][:rows])
  arguments["init"] = recurrence.WindowState(keys, values, length)
  reset = rng.uniform(size=(rows, time)) < 0.2
  start = np.where(reset, window + np.arange(time), window - held[:, None])
  return arguments, reset, np.maximum.accumulate(start, axis=1)


def evaluate(arguments, run):
  """The result, and gradients by all arguments from random cotangents."""

  @jax.jit
  def both(arguments):
    o, pull = jax.vjp(run, arguments)
    cotangents = np.random.default_rng(1).normal(size=o.shape)
    return o, pull(narrow.rounded(cotangents).astype(o.dtype))[0]

  return both(arguments)


def attend(method, window, reset, arguments):
  o, _ = recurrence.window_attention(
    **arguments, window=window, reset=reset, method=method
  )
  return o


def plain(window, start, arguments):
  k, v = arguments["k"], arguments["v"]
  if "init" in arguments:
    init = arguments["init"]
    k = jnp.concatenate([init.keys, k], axis=1)
    v = jnp.concatenate([init.values, v], axis=1)
  return reference.window_attention(arguments["q"], k, v, start, window)


def check(method, time, window, dtype="bfloat16", **options):
  """Root mean square errors are those of numbers rounded to 8 bits.

  Queries, weights, results, and what else enters products, are; in float32
  nothing is, and the sums have some ten terms.
  """
  arguments, reset, start = problem(time, window, **options)
  arguments = {
    name: x if name == "init" else x.astype(dtype)
    for name, x in arguments.items()
  }
  with kernels.interpret(CHIPS[method]):
    run = functools.partial(attend, method, window, reset)
    o, grads = evaluate(arguments, run)
  assert o.dtype == arguments["q"].dtype
  with jax.enable_x64(True):
    run = functools.partial(plain, window, start)
    exact = evaluate(narrow.exact(arguments), run)
    got = jax.tree.leaves((o, grads))
    errors = [
      # Nothing depends on how long a state is, or on one that nobody sees.
      narrow.errors(x, y) if np.any(y) else np.max(np.abs(x))
      for x, y in zip(got, jax.tree.leaves(exact), strict=True)
    ]
  assert max(errors) < {"bfloat16": 2, "float32": 1e-4}[dtype]


@pytest.mark.parametrize("method", METHODS)
def test_values_and_gradients_with_a_state_and_resets(method):
  check(method, 5, 3)


def test_cudnn_without_resets():
  check("cudnn", 9, 3, cached=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("window", [1, 20, 300])
@pytest.mark.parametrize("time", [1, 150])
def test_sizes(method, time, window):
  """Of fewer and more elements than a block and a window."""
  check(method, time, window, groups=2, heads=4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_state_and_no_resets(method):
  check(method, 40, 7, cached=False)


@pytest.mark.slow
def test_float32_on_a_tpu():
  check("pallas", 20, 7, "float32")


@needs_tokamax
@pytest.mark.slow
@pytest.mark.parametrize("window", [3, 8, 30])
@pytest.mark.parametrize("time", [16, 37])
def test_segments_of_tokamax(monkeypatch, time, window):
  from jaxseq.kernels.window import _gpu_tokamax as _window_tokamax

  monkeypatch.setattr(_window_tokamax, "_SEGMENT", 8)
  check("tokamax", time, window)
  check("tokamax", time, window, cached=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_undefined_numbers_reach_those_that_see_them_and_no_other(method):
  arguments, _, _ = problem(12, cached=False, rows=1)
  reset = jnp.zeros((1, 12), bool).at[:, 8].set(True)
  arguments["v"] = arguments["v"].at[0, 4, 0, 1].set(jnp.nan)
  arguments["k"] = arguments["k"].at[0, 7, 0, 1].set(jnp.inf)

  def loss(arguments):
    o = attend(method, 2, reset, arguments)
    return jnp.sum(o[:, 8:].astype(jnp.float32) ** 2), o

  with kernels.interpret(CHIPS[method]):
    grads, o = jax.jit(jax.grad(loss, has_aux=True))(arguments)
  undefined = ~np.isfinite(o).all(axis=(0, 2, 3))
  np.testing.assert_array_equal(np.flatnonzero(undefined), [4, 5, 6, 7])
  assert all(
    jax.tree.leaves(jax.tree.map(lambda x: np.isfinite(x).all(), grads))
  )


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_gradients(method):
  arguments, reset, start = problem(6)

  def second(run, arguments):
    def norm(arguments):
      grads = jax.grad(lambda x: jnp.sum(run(x).astype(float) ** 2))(arguments)
      return sum(jnp.sum(jnp.sin(x.astype(float))) for x in grads.values())

    return jax.jit(jax.grad(norm))(arguments)

  inputs = {name: arguments[name] for name in "qkv"}

  def kernel(inputs):
    return attend(method, 3, reset, arguments | inputs)

  with kernels.interpret(CHIPS[method]):
    found = second(kernel, inputs)
  with jax.enable_x64(True):
    wide = narrow.exact(arguments)
    run = functools.partial(plain, 3, start)
    wanted = second(lambda x: run(wide | x), {n: wide[n] for n in "qkv"})
    errors = narrow.errors(found, wanted)
  # Products of rounded numbers follow each other, and cancel in part.
  assert max(errors.values()) < 8


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_vmap_and_no_batch_equal_rows(method):
  arguments, reset, _ = problem(5)
  run = functools.partial(attend, method, 3)
  with kernels.interpret(CHIPS[method]):
    found = jax.jit(jax.vmap(run))(reset, arguments)
    wanted = jax.jit(run)(reset, arguments)
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  ("method", "change", "message"),
  [
    (
      "pallas",
      {"axis": "t", "scheme": "ring"},
      "got scheme 'ring', expected scheme 'halo'",
    ),
    ("cudnn", {}, "got resets or a state, expected reset=None and init=None"),
    ("tokamax", {"q": jnp.ones((2, 5, 2, 8))}, "got dtype float32, expected b"),
    (
      "pallas",
      {"q": jnp.ones((2, 5, 2, 8), "float16")}
      | {name: jnp.ones((2, 5, 1, 8), "float16") for name in "kv"},
      "got dtype float16, expected bfloat16 or float32",
    ),
    (
      "pallas",
      {name: jnp.ones((2, 5, 2, 257)) for name in "qkv"} | {"init": None},
      "got heads of width 257, expected at most 256",
    ),
  ],
)
def test_what_has_no_kernel_says_so(method, change, message):
  arguments, reset, _ = problem(5)
  arguments |= {"window": 3, "reset": reset, "method": method} | change
  message = f"method='{method}' of window_attention: {message}"
  with (
    kernels.interpret(CHIPS[method]),
    pytest.raises(NotImplementedError, match=message),
  ):
    recurrence.window_attention(**arguments)


@pytest.mark.parametrize("method", CHIPS)
def test_a_cpu_has_no_kernel(method):
  arguments, reset, _ = problem(5)
  with pytest.raises(NotImplementedError, match="got platform cpu, expected a"):
    attend(method, 3, reset, arguments)


def test_a_gpu_is_told_what_is_for_it():
  arguments, reset, _ = problem(5)
  with (
    kernels.interpret("gpu"),
    pytest.raises(NotImplementedError, match="expected tpu; .*'tokamax' and"),
  ):
    attend("pallas", 3, reset, arguments)


def test_tokamax_that_is_not_there_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "tokamax", None)
  for name in list(sys.modules):
    if name.startswith("tokamax."):
      monkeypatch.setitem(sys.modules, name, None)
  arguments, reset, _ = problem(5)
  message = r"tokamax.*expected tokamax: pip install 'jaxseq\[tokamax\]'"
  with (
    kernels.interpret("gpu"),
    pytest.raises(NotImplementedError, match=message),
  ):
    attend("tokamax", 3, reset, arguments)


def test_checked_types_of_shard_map_are_refused():
  """What their kernels return says nothing of the devices it varies over."""
  arguments, _, _ = problem(5, cached=False)
  mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
  rows = jax.P("d")

  def run(method, **options):
    def attend_rows(q, k, v):
      return attend(method, 3, None, {"q": q, "k": k, "v": v})

    sharded = jax.shard_map(
      attend_rows, mesh=mesh, in_specs=rows, out_specs=rows, **options
    )
    return jax.jit(sharded)(*arguments.values())

  with kernels.interpret("tpu"):
    with pytest.raises(NotImplementedError, match="check_vma=False"):
      run("pallas")
    found = run("pallas", check_vma=False)
  wanted = run("chunked")
  assert narrow.errors(found, wanted) < 2


def test_auto_is_a_kernel_on_no_machine():
  arguments, reset, _ = problem(5)
  run = functools.partial(attend, "auto", 3, reset)
  for chip in (("gpu", "sm_90"), ("tpu", "TPU v5 lite")):
    with contexts.choosing_for(*chip):
      text = str(jax.make_jaxpr(run)(arguments))
    assert "pallas_call" not in text
