"""The building blocks of a recurrence of one's own, as the page has them."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference

ROOT = pathlib.Path(__file__).resolve().parents[3]
P = jax.sharding.PartitionSpec


@functools.cache
def _own():
  """The names of the page's example."""
  page = (ROOT / "docs/recurrences.md").read_text()
  code, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
  names = {}
  exec(code, names)
  return names


def _problem(time, dtype=np.float64):
  rng = np.random.default_rng(0)
  q, k, v = rng.normal(size=(3, 2, time, 4))
  alpha, theta = rng.uniform(0.3, 1, (2, 2, time, 1))
  init = rng.normal(size=(2, 8, 4))
  return tuple(x.astype(dtype) for x in (q, k, v, alpha, theta, init))


def _plain(*arguments, reset):
  *x, init = arguments
  return reference.over_time(
    lambda state, *x: _own()["element"](state, x), init, tuple(x), reset, axis=1
  )


def _all(scan, arguments):
  """Values and gradients, with cotangents on both."""

  def loss(arguments):
    o, final = scan(*arguments)
    rng = np.random.default_rng(1)
    weights = (rng.normal(size=x.shape) for x in (o, final))
    o, final = (jnp.sum(x * w) for x, w in zip((o, final), weights))
    return o + final

  return jax.jit(jax.value_and_grad(loss))(arguments)


def _assert_equal(got, want):
  for x, y in zip(*map(jax.tree.leaves, (got, want)), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(
  "time",
  [
    pytest.param(1, marks=pytest.mark.slow),
    pytest.param(64, marks=pytest.mark.slow),
    70,
  ],
)
def test_chunks_are_plain_steps(x64, time):
  del x64
  arguments = _problem(time)
  reset = np.random.default_rng(2).random((2, time)) < 0.1
  scan = functools.partial(_own()["momentum_scan"], reset=reset)
  _assert_equal(
    _all(scan, arguments),
    _all(functools.partial(_plain, reset=reset), arguments),
  )


@pytest.mark.devices
def test_time_over_devices_is_the_whole(x64):
  del x64
  own, arguments = _own()["momentum_scan"], _problem(32)
  reset = np.zeros((2, 32), bool)
  reset[0, [3, 8, 21]] = True
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("time",))
  time = P(None, "time")

  def scan(*arguments):
    def run(*arguments):
      *arguments, reset = arguments
      return own(*arguments, reset=reset, axis="time")

    return jax.shard_map(
      run, mesh=mesh, in_specs=(*[time] * 5, P(), time), out_specs=(time, P())
    )(*arguments, reset)

  _assert_equal(
    _all(scan, arguments),
    _all(functools.partial(_plain, reset=reset), arguments),
  )


@pytest.mark.slow
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_numbers_stay_in_their_episode(bad):
  """A chunk of matrix products would hand them on; so would none unguarded."""

  def chunk(state, x, reset):
    q, k, v = x
    episode = jnp.cumsum(reset, axis=1)
    same = episode[:, :, None] == episode[:, None]
    pairs = jnp.where(same & np.tri(q.shape[1], dtype=bool), 1.0, 0.0)
    o = (pairs * (q @ k.swapaxes(1, 2))) @ v
    enter, leave = episode == 0, episode == episode[:, -1:]
    o += enter[..., None] * (q @ state)
    after = (leave[..., None] * k).swapaxes(1, 2) @ v
    return (episode[:, -1] == 0)[:, None, None] * state + after, o

  q, k, v, *_ = _problem(24, np.float32)
  reset = np.zeros((2, 24), bool)
  reset[:, [8, 13]] = True
  init = np.zeros((2, 4, 4), np.float32)
  scan = functools.partial(recurrence.chunked, chunk, init, size=16)
  o, final = scan((q, k, v), reset)
  broken = v.copy()
  broken[0, 9] = bad
  got, end = scan((q, k, broken), reset)
  where = (np.arange(24) >= 9) & (np.arange(24) < 13)
  assert np.isnan(got[0, where]).all()
  np.testing.assert_array_equal(got[0, ~where], o[0, ~where])
  np.testing.assert_array_equal(got[1], o[1])
  np.testing.assert_array_equal(end, final)
  # And of gradients, where a cotangent is undefined.
  d_o = np.zeros_like(o)
  d_o[0, 11] = bad

  def slopes():
    _, pull = jax.vjp(lambda *x: scan(x, reset)[0], q, k, v)
    return jax.device_get(pull(d_o))

  where = (np.arange(24) >= 8) & (np.arange(24) <= 11)
  for slope in slopes():
    assert np.isnan(slope[0, where]).all()
    np.testing.assert_array_equal(slope[0, ~where], 0)
    np.testing.assert_array_equal(slope[1], 0)
  with recurrence.guarded(False):
    unguarded, _ = scan((q, k, broken), reset)
    assert not np.isfinite(unguarded[0, 13:]).all()
    assert not all(np.isfinite(slope[0, ~where]).all() for slope in slopes())


def test_what_does_not_fit_is_said():
  x = jnp.ones((2, 5, 3))
  run = functools.partial(
    recurrence.chunked, lambda state, x, reset: (state, x)
  )
  with pytest.raises(
    ValueError, match=r"init: got shape \(3, 3\), expected one"
  ):
    run(jnp.ones((3, 3)), x)
  heads = jnp.ones((2, 4, 5, 3))
  with pytest.raises(
    ValueError, match=r"x: got .* with \(2, 5\), as reset \(2, 5\) has every"
  ):
    run(heads[:, :, 0], heads, jnp.ones((2, 5), bool))
  with pytest.raises(
    ValueError, match="reset: got dtype float32, expected bool"
  ):
    run(jnp.ones((2, 3)), x, jnp.ones((2, 5)))
  with pytest.raises(ValueError, match="size: got 0"):
    run(jnp.ones((2, 3)), x, size=0)


@pytest.mark.parametrize(
  "scan",
  [
    "outer_scan",
    pytest.param("delta_scan", marks=pytest.mark.slow),
    pytest.param("mlstm_scan_heads", marks=pytest.mark.slow),
  ],
)
def test_without_the_guard_finite_numbers_are_the_same(scan):
  q, k, v, alpha, *_ = _problem(40, np.float32)
  reset = np.random.default_rng(2).random((2, 40)) < 0.2
  inputs = {
    "outer_scan": (q, k, v, -alpha),
    "delta_scan": (q, k / 4, v, k / 4, -alpha),
    "mlstm_scan_heads": (
      *(x[:, :, None] for x in (q, k, v)),
      *(np.log(alpha), np.log(alpha)),
    ),
  }[scan]

  def value(*inputs):
    o, _ = getattr(recurrence, scan)(*inputs, reset=reset, method="chunked")
    return jnp.sum(o**2)

  def values():
    return jax.jit(jax.value_and_grad(lambda *x: value(*x), (0, 1, 2)))(*inputs)

  guarded = values()
  with recurrence.guarded(False):
    free = values()
  for x, y in zip(*map(jax.tree.leaves, (guarded, free)), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
