"""outer_scan of states before their elements: o_t = q_t S_{t-1}."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.mixers.golden_cases import close
from tests.recurrence import methods
from tests.recurrence.outer import outer_cases

run = functools.partial(outer_cases.run, inclusive=False)
evaluate = functools.partial(outer_cases.evaluate, inclusive=False)
loop = functools.partial(reference.outer_scan_heads, inclusive=False)


def make_reset(kind, time):
  return methods.make_reset(np.random.default_rng(3), kind, (2, time), 0.2)


@pytest.mark.parametrize(
  ("method", "time", "chunk_size"),
  [
    pytest.param("chunked", 13, 6, marks=pytest.mark.slow),
    pytest.param("chunked", 1, 6, marks=pytest.mark.slow),
    pytest.param("chunked", 7, 7, marks=pytest.mark.slow),
    pytest.param("sequential", 13, 6, marks=pytest.mark.slow),
    pytest.param("associative", 7, 7, marks=pytest.mark.slow),
  ],
)
def test_equals_the_loop(x64, method, time, chunk_size):
  """Below, at and beyond the length of a chunk, with a remainder."""
  del x64
  for kind in ("none", "vector", "forget"):
    arguments = outer_cases.problem(time, kind)
    for name in ("none", "first", "last", "every", "random"):
      if name == "none" and kind != "vector":
        continue
      reset = make_reset(name, time)
      # float64 rounding over at most 13 elements.
      chex.assert_trees_all_close(
        run(arguments, reset, method, chunk_size),
        loop(*arguments, reset=reset),
        rtol=0,
        atol=1e-12,
      )


@pytest.mark.slow
@pytest.mark.parametrize(
  "kind", ["vector", pytest.param("scalar", marks=pytest.mark.slow)]
)
def test_gradients_equal_those_of_the_loop(x64, kind):
  del x64
  arguments = outer_cases.problem(13, kind)
  reset = make_reset("random", 13)
  expected = outer_cases.gradients(lambda x: loop(*x, reset=reset), arguments)
  # float64 rounding over 13 elements.
  chex.assert_trees_all_close(
    evaluate(arguments, reset), expected, rtol=0, atol=1e-11
  )


def test_decays_are_not_divided_by(x64):
  """States that nearly vanish at an element are read before they do."""
  del x64
  q, k, v, decay, init = outer_cases.problem(13, "vector")
  arguments = q, k, v, 1000 * decay, init
  # float64 rounding.
  chex.assert_trees_all_close(
    run(arguments), loop(*arguments), rtol=0, atol=1e-12
  )


def test_steps_equal_the_scan(x64):
  del x64
  arguments = outer_cases.problem(6, "vector", groups=outer_cases.HEADS)
  reset = make_reset("random", 6)
  expected = run(arguments, reset)
  *elements, state = arguments
  step = jax.jit(functools.partial(recurrence.outer_step, inclusive=False))
  o = []
  for t in range(6):
    flags = np.repeat(reset[:, t, None], outer_cases.HEADS, axis=1)
    o_t, state = step(*(x[:, t] for x in elements), state, reset=flags)
    o.append(o_t)
  # float64 rounding.
  chex.assert_trees_all_close(
    (np.stack(o, 1), state), expected, rtol=0, atol=1e-13
  )


def test_an_undefined_state_does_not_reach_the_gradient():
  """Of a first element that is a reset, and of all after it."""
  *elements, init = outer_cases.problem(4, "vector")
  reset = np.broadcast_to(np.arange(4) == 0, (2, 4))
  bad, good = (
    evaluate((*elements, state), reset)
    for state in (np.full_like(init, np.nan), init)
  )
  chex.assert_trees_all_equal(bad, good)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["k", "v", "init"])
def test_undefined_numbers_do_not_pass_a_reset(when):
  arguments = list(outer_cases.problem(9, "vector"))
  place = {"k": 1, "v": 2, "init": 4}[when]
  arguments[place] = arguments[place].copy()
  arguments[place][:, 0] = np.nan
  reset = np.broadcast_to(np.arange(9) == 4, (2, 9))
  (_, (o, final)), grads = evaluate(arguments, reset, chunk_size=6)
  assert np.all(np.isfinite(o[:, 4:]))
  assert np.all(np.isfinite(final))
  for grad in grads[:4]:
    assert np.all(np.isfinite(grad[:, 4:]))


@pytest.mark.parametrize(
  "chunk_size", [16, pytest.param(5, marks=pytest.mark.slow)]
)
def test_golden_wkv6(x64, golden, chunk_size):
  """RWKV-6: what an element reads of itself has a weight u of its own."""
  del x64
  data = golden("rwkv/wkv6")
  names = "q", "k", "v", "decay", "init", "u"

  def loss(arguments):
    q, k, v, decay, init, u = arguments
    o, final = recurrence.outer_scan(
      q,
      k,
      v,
      decay,
      init,
      inclusive=False,
      chunk_size=chunk_size,
      method="chunked",
    )
    bonus = jnp.sum(q * u[:, None] * k, axis=-1, keepdims=True)
    o = o + bonus * v
    value = jnp.sum(o * data["w"]) + jnp.sum(final * data["w_final"])
    return value, (o, final)

  arguments = [data[name] for name in names]
  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, (o, final)), grads = compiled(arguments)
  close(value, data["loss"], 1e-10)
  close(o, data["o"], 1e-10)
  close(final, data["final"], 1e-10)
  for name, grad in zip(names, grads):
    close(grad, data[f"grad_{name}"], 1e-9)
