"""softmax_scan against softmaxes over every prefix, and a loop over time."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import methods
from tests.recurrence.averages import softmax_cases

# float64, relative to the largest value: outputs and gradients.
FORWARD, GRADIENT = 1e-9, 1e-8


def close(actual, expected, tolerance):
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
  )


def evaluate(function, scores, values, init, reset, mask):
  """Results, and gradients from cotangents on the outputs and the state."""

  def loss(scores, values, init):
    results = function(scores, values, init, reset, mask)
    rng = np.random.default_rng(5)
    return sum(
      jnp.sum(x * rng.normal(size=x.shape)) for x in jax.tree.leaves(results)
    ), results

  gradient = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
  (_, results), grads = gradient(scores, values, init)
  return results, grads


def loop(scores, values, init, reset, mask):
  return reference.softmax_scan(scores, values, init, reset=reset, mask=mask)


# Compiled once for all methods.
looped = jax.jit(functools.partial(evaluate, loop))


@pytest.mark.parametrize("name", ["prefix_attention", "prefix_attention_sharp"])
def test_golden_prefixes(x64, golden, name):
  """Values, states and gradients of q, k and v, with and without resets."""
  del x64
  data = golden(f"aaren/{name}")

  @jax.jit
  def gradient(q, k, v, reset):
    def loss(q, k, v):
      scores = data["scale"] * jnp.einsum("hd,bhtd->bht", q, k)
      flags = jnp.broadcast_to(reset[:, None], scores.shape)
      o, final = recurrence.softmax_scan(scores, v, reset=flags, chunk_size=5)
      return jnp.sum(o * data["cot"]), (o, final)

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(q, k, v)

  for suffix in ("", "_reset"):
    reset = data["reset"] if suffix else np.zeros_like(data["reset"])
    (_, (o, final)), grads = gradient(data["q"], data["k"], data["v"], reset)
    close(o, data["o" + suffix], FORWARD)
    for part, expected in zip(final, "muw"):
      close(part, data[expected + suffix][:, :, -1], FORWARD)
    for grad, expected in zip(grads, ("dq", "dk", "dv")):
      close(grad, data[expected + suffix], GRADIENT)


@pytest.mark.parametrize(("method", "dtype"), softmax_cases.FORMS)
def test_golden_extreme_scores(golden, method, dtype):
  """Ramps of 2000, offsets of 700, spikes, and masked elements first."""
  data = golden("aaren/prefix_attention_extreme")

  @jax.jit
  def gradient(scores, values, cotangent):
    def loss(scores, values):
      o, final = recurrence.softmax_scan(scores, values, method=method)
      return jnp.sum(o * cotangent), (o, final)

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(scores, values)

  with jax.enable_x64(dtype == np.float64):
    (_, (o, final)), (d_scores, d_values) = gradient(
      *(data[name].astype(dtype) for name in ("s", "v", "cot"))
    )
  assert o.dtype == dtype
  forward, backward = FORWARD, GRADIENT
  if dtype == np.float32:
    # Rounding scores of 700 moves their exponentials by 3e-5 ...
    forward, backward = 3e-5, 3e-5
    # ... and this is what the computation adds.
    rounded = data["s"].astype(dtype).astype(np.float64)
    with jax.enable_x64(True):
      want, _ = reference.softmax_scan(rounded, data["v"])
    np.testing.assert_allclose(o, want, rtol=0, atol=2e-6)
  np.testing.assert_allclose(o, data["o"], rtol=0, atol=forward)
  np.testing.assert_allclose(final.u, data["u"][..., -1], rtol=10 * forward)
  close(d_scores, data["ds"], backward)
  close(d_values, data["dv"], backward)
  # The sixth row starts with three masked elements.
  assert not np.any(o[:, 5, :3])
  assert not np.any(d_scores[:, 5, :3])


def test_golden_operator(golden):
  """Associative for averages of very different magnitude; and its identity."""
  data = golden("aaren/operator")
  # Differences of scores of hundreds, in float32.
  for dtype, tolerance in ((np.float64, FORWARD), (np.float32, 1e-4)):
    with jax.enable_x64(dtype == np.float64):
      a, b, c, ab, abc = (
        recurrence.SoftmaxState(
          *(jnp.asarray(data[f"{x}_{y}"], dtype) for y in "muw")
        )
        for x in ("A", "B", "C", "AB", "ABC")
      )
      combine = recurrence.softmax_combine
      options = {"rtol": tolerance, "atol": tolerance}
      chex.assert_trees_all_close(combine(a, b), ab, **options)
      chex.assert_trees_all_close(combine(b, a), ab, **options)
      chex.assert_trees_all_close(combine(combine(a, b), c), abc, **options)
      chex.assert_trees_all_close(combine(a, combine(b, c)), abc, **options)
      nothing = recurrence.softmax_initial(a.m.shape, 4, dtype)
      minus_inf = nothing._replace(m=jnp.full_like(a.m, -jnp.inf))
      for empty in (nothing, minus_inf):
        chex.assert_trees_all_close(combine(a, empty), a)
        chex.assert_trees_all_close(combine(empty, a), a)
        chex.assert_trees_all_close(combine(empty, nothing), nothing)


def flags(time):
  """Kinds of resets, and of masks, (2, time) each."""
  rng = np.random.default_rng(1)
  none = np.zeros((2, time), bool)
  resets = softmax_cases.resets(time, rng)
  masks = {
    "none": ~none,
    "leading": np.arange(time) >= np.array([[3], [22]]),
    "random": rng.random((2, time)) < 0.7,
    "all": none,
  }
  cases = [(name, reset, masks["none"]) for name, reset in resets.items()]
  cases += [(name, resets["none"], mask) for name, mask in masks.items()]
  return [*cases, ("both", resets["random"], masks["random"])]


@pytest.mark.parametrize("method", methods.quick("associative", "chunked"))
def test_values_and_gradients_equal_the_loop(x64, method):
  """Two chunks and a remainder of one; close and distant scores."""
  del x64

  def scan(scores, values, init, reset, mask):
    return recurrence.softmax_scan(
      scores,
      values,
      init,
      reset=reset,
      mask=mask,
      chunk_size=18,
      method=method,
    )

  compiled = jax.jit(functools.partial(evaluate, scan))
  for scale in (1.0, 300.0):
    arguments = softmax_cases.problem(37, scale=scale)
    for name, reset, mask in flags(37):
      got = compiled(*arguments, reset, mask)
      want = looped(*arguments, reset, mask)
      softmax_cases.check_equal(got, want, f"{name}, scale {scale}")


@pytest.mark.parametrize(
  "time", [1, pytest.param(2, marks=pytest.mark.slow), 41]
)
def test_any_length_equals_the_definition(x64, time):
  """No options at all; 41 is prime and longer than the chunk on CPUs."""
  del x64
  scores, values, _ = softmax_cases.problem(time)
  o, final = jax.jit(recurrence.softmax_scan)(scores, values)
  want, state = reference.softmax_scan(scores, values)
  np.testing.assert_allclose(o, want, rtol=1e-12, atol=1e-13)
  np.testing.assert_allclose(final.m, state.m)
  np.testing.assert_allclose(final.u, state.u, rtol=1e-12)
  np.testing.assert_allclose(final.w, state.w, rtol=1e-12, atol=1e-13)


def test_steps_and_pieces_equal_the_whole(x64):
  """Carried over borders with a reset before, at and after them, or none."""
  del x64
  scores, values, init = softmax_cases.problem(11)
  mask = np.ones((2, 11), bool)
  mask[1, 2:4] = False
  scan = jax.jit(recurrence.softmax_scan)
  step = jax.jit(recurrence.softmax_step)
  for at in (None, 4, 5, 6):
    reset = np.zeros((2, 11), bool)
    if at is not None:
      reset[0, at] = True
    whole = scan(scores, values, init, reset=reset, mask=mask)
    outputs, state = [], init
    for piece in (slice(0, 5), slice(5, 11)):
      flags = {"reset": reset[:, piece], "mask": mask[:, piece]}
      o, state = scan(scores[:, piece], values[:, piece], state, **flags)
      outputs.append(o)
    # float64 rounding, here and below.
    chex.assert_trees_all_close(
      (jnp.concatenate(outputs, 1), state), whole, rtol=1e-12
    )
    outputs, state = [], init
    for t in range(11):
      flags = {"reset": reset[:, t], "mask": mask[:, t]}
      o, state = step(scores[:, t], values[:, t], state, **flags)
      outputs.append(o)
    chex.assert_trees_all_close(
      (jnp.stack(outputs, 1), state), whole, rtol=1e-12
    )


@pytest.mark.slow
def test_gradients_of_gradients(x64):
  """Against those of the loop, for one direction."""
  del x64
  *arguments, init = softmax_cases.problem(5, dv=2)
  none = np.zeros((2, 5), bool)
  rng = np.random.default_rng(3)
  direction = [rng.normal(size=x.shape) for x in arguments]

  def twice(function):
    def loss(scores, values):
      o, final = function(scores, values, init, none, ~none)
      return jnp.sum(o**2) + jnp.sum(final.w)

    def slope(*x):
      grads = jax.grad(loss, (0, 1))(*x)
      return sum(jnp.sum(g * d) for g, d in zip(grads, direction))

    return jax.jit(jax.grad(slope, (0, 1)))(*arguments)

  def scan(scores, values, init, reset, mask):
    return recurrence.softmax_scan(
      scores, values, init, reset=reset, mask=mask, chunk_size=3
    )

  # float64 rounding.
  chex.assert_trees_all_close(twice(scan), twice(loop), rtol=1e-10, atol=1e-12)


def test_batch_axes_equal_vmap():
  batch = (2, 3)
  rng = np.random.default_rng(1)
  draw = lambda *shape: rng.normal(size=(*batch, *shape)).astype("f")  # noqa: E731
  arguments = draw(7), draw(7, 2), draw(7) > 1, draw(7) < 1

  def one(scores, values, reset, mask):
    return recurrence.softmax_scan(scores, values, reset=reset, mask=mask)

  mapped = jax.vmap(jax.vmap(one))
  got = jax.jit(one)(*arguments)
  # The same operations in another layout.
  chex.assert_trees_all_close(
    got, jax.jit(mapped)(*arguments), rtol=1e-5, atol=1e-6
  )
  shapes = [x.shape for x in jax.tree.leaves(got)]
  assert shapes == [(*batch, 7, 2), batch, batch, (*batch, 2)]


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"scores": jnp.ones(())},
      r"scores: got shape .*, expected \(\*batch, time\)",
    ),
    (
      {"scores": jnp.ones((2, 5), int)},
      "scores: got dtype .*, expected a floating",
    ),
    (
      {"values": jnp.ones((2, 4, 3))},
      r"values: got shape .*, expected \(2, 5, dv\)",
    ),
    (
      {"scores": jnp.ones((2, 0)), "values": jnp.ones((2, 0, 3))},
      "at least one element",
    ),
    (
      {"init": jnp.ones((3, 2))},
      r"init: got .*, expected \(m, u, w\) of shapes",
    ),
    ({"mask": jnp.ones((5,), bool)}, r"mask: got shape .*, expected \(2, 5\)"),
    ({"mask": jnp.ones((2, 5))}, "mask: got dtype float32, expected bool"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {"scores": jnp.ones((2, 5)), "values": jnp.ones((2, 5, 3))}
  with pytest.raises(ValueError, match=message):
    recurrence.softmax_scan(**arguments | kwargs)
