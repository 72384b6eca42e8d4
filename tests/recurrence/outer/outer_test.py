"""outer_scan against a float64 loop over time, and the original SSD code."""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import methods
from tests.recurrence.outer import outer_cases

HEADS, DK, DV = outer_cases.HEADS, outer_cases.DK, outer_cases.DV
DECAYS = ("none", "scalar", "vector", "forget")
RESETS = ("none", "first", "last", "every", "random")


def make_reset(kind, shape):
  return methods.make_reset(np.random.default_rng(3), kind, shape, 0.2)


@pytest.mark.parametrize(
  ("method", "time", "chunk_size"),
  [
    pytest.param("sequential", 13, 6, marks=pytest.mark.slow),
    ("associative", 7, 7),
    pytest.param("chunked", 1, 6, marks=pytest.mark.slow),
    pytest.param("chunked", 2, 6, marks=pytest.mark.slow),
    pytest.param("chunked", 7, 7, marks=pytest.mark.slow),
    ("chunked", 13, 6),
  ],
)
def test_equals_the_loop(x64, method, time, chunk_size):
  """Below, at and beyond the length of a chunk, with a remainder."""
  del x64
  for kind in DECAYS:
    arguments = outer_cases.problem(time, kind)
    for name in RESETS:
      if name == "none" and (time, kind) != (13, "vector"):
        continue
      reset = make_reset(name, (2, time))
      # float64 rounding over at most 13 elements.
      chex.assert_trees_all_close(
        outer_cases.run(arguments, reset, method, chunk_size),
        reference.outer_scan_heads(*arguments, reset=reset),
        rtol=0,
        atol=1e-12,
      )


@pytest.mark.slow
@pytest.mark.parametrize(
  "kind",
  [
    "vector",
    *(
      pytest.param(x, marks=pytest.mark.slow)
      for x in ("forget", "none", "scalar")
    ),
  ],
)
def test_gradients_equal_those_of_single_steps(x64, kind):
  """Two chunks, and a remainder, against one element at a time."""
  del x64
  time = 13 if kind in ("scalar", "forget") else 12
  arguments = outer_cases.problem(time, kind)
  reset = make_reset("none" if kind == "scalar" else "random", (2, time))
  expected = outer_cases.evaluate(arguments, reset, "sequential", time)
  chex.assert_tree_all_finite(expected)
  for method in ("chunked", "associative")[: 2 if kind == "vector" else 1]:
    # float64 rounding over 13 elements.
    chex.assert_trees_all_close(
      outer_cases.evaluate(arguments, reset, method),
      expected,
      rtol=0,
      atol=1e-11,
    )


@pytest.mark.parametrize(
  ("method", "kind", "order"),
  [
    ("sequential", "vector", 1),
    pytest.param("chunked", "scalar", 2, marks=pytest.mark.slow),
    pytest.param("chunked", "vector", 2, marks=pytest.mark.slow),
  ],
)
def test_finite_differences(x64, method, kind, order):
  del x64
  arguments = outer_cases.problem(5, kind, rows=1)
  reset = np.zeros((1, 5), bool)
  reset[0, 3] = True
  function = functools.partial(
    outer_cases.run, reset=reset, method=method, chunk_size=3
  )
  check_grads(function, (arguments,), order=order, modes=["rev"])


def close(actual, expected, tolerance):
  """Within the golden set's tolerance, relative to the largest value."""
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
  )


@pytest.mark.parametrize("chunk_size", [5, 16])
def test_golden_ssd(x64, golden, chunk_size):
  """ssd_minimal of state-spaces/mamba, whatever the length of a chunk."""
  del x64
  data = golden("ssm/ssd")
  names = ("C", "B", "X", "A", "initial_states")

  def scan(C, B, X, A, init):
    # Its states are (heads, dv, dk).
    arguments = C, B, X, A[..., None], init.swapaxes(-1, -2)
    o, final = outer_cases.run(arguments, chunk_size=chunk_size)
    return o, final.swapaxes(-1, -2)

  def loss(arguments):
    o, final = scan(*arguments)
    value = jnp.sum(o * data["w"]) + jnp.sum(final * data["w_final"])
    return value, (o, final)

  arguments = [data[name] for name in names]
  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = compiled(arguments)
  close(o, data["Y"], 1e-9)
  close(final, data["final_state"], 1e-9)
  for name, grad in zip(names, grads):
    close(grad, data[f"grad_{name}"], 1e-8)


@pytest.mark.parametrize("chunk_size", [1, 4])
def test_golden_ssd_from_zeros(x64, golden, chunk_size):
  del x64
  data = golden("ssm/ssd")
  arguments = *(data[name] for name in ("C", "B", "X")), data["A"][..., None]
  o, final = outer_cases.run(arguments, chunk_size=chunk_size)
  close(o, data["Y_zero_init"], 1e-9)
  close(final.swapaxes(-1, -2), data["final_state_zero_init"], 1e-9)


def test_two_halves_equal_the_whole(x64):
  del x64
  *arguments, init = outer_cases.problem(13, "vector")
  first, state = outer_cases.run((*(x[:, :6] for x in arguments), init))
  second, end = outer_cases.run((*(x[:, 6:] for x in arguments), state))
  # float64 rounding.
  chex.assert_trees_all_close(
    (np.concatenate([first, second], 1), end),
    outer_cases.run((*arguments, init)),
    rtol=0,
    atol=1e-13,
  )


def test_steps_equal_the_scan(x64):
  del x64
  arguments = outer_cases.problem(6, "vector", groups=HEADS)
  reset = make_reset("random", (2, 6))
  expected = outer_cases.run(arguments, reset)
  *elements, state = arguments
  step = jax.jit(recurrence.outer_step)
  o = []
  for t in range(6):
    flags = np.repeat(reset[:, t, None], HEADS, axis=1)
    o_t, state = step(*(x[:, t] for x in elements), state, reset=flags)
    o.append(o_t)
  # float64 rounding.
  chex.assert_trees_all_close(
    (np.stack(o, 1), state), expected, rtol=0, atol=1e-13
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("batch", "kind"),
  [
    pytest.param((), "none", marks=pytest.mark.slow),
    ((2, 3), "vector"),
  ],
)
def test_heads_as_batch_axes(x64, batch, kind):
  """outer_scan on any number of batch axes, and under vmap."""
  del x64
  rng = np.random.default_rng(1)
  q, k = rng.normal(size=(2, *batch, 7, DK))
  v = rng.normal(size=(*batch, 7, DV))
  decay = None
  if kind == "vector":
    decay = -rng.exponential(size=(*batch, 7, DK))
  init = rng.normal(size=(*batch, DK, DV))
  reset = rng.uniform(size=(*batch, 7)) < 0.2

  def one(q, k, v, decay, init, reset):
    return recurrence.outer_scan(
      q, k, v, decay, init, reset=reset, chunk_size=3, method="chunked"
    )

  mapped = one
  for _ in batch:
    mapped = jax.vmap(mapped)
  got = jax.jit(one)(q, k, v, decay, init, reset)
  # float64 rounding.
  chex.assert_trees_all_close(
    got, jax.jit(mapped)(q, k, v, decay, init, reset), rtol=0, atol=1e-13
  )

  want = reference.outer_scan(q, k, v, decay, init, reset=reset)
  chex.assert_trees_all_close(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"v": jnp.ones(DV)},
      r"v: got shape .*, expected \(\*batch, time, dv\)",
    ),
    ({"v": jnp.ones((2, 0, DV))}, "with at least one element"),
    (
      {"v": jnp.ones((2, 5, DV), int)},
      "v: got dtype .*, expected a floating",
    ),
    (
      {"k": jnp.ones((2, 4, DK))},
      r"k: got shape .*, expected \(2, 5, dk\)",
    ),
    (
      {"q": jnp.ones((2, 5, 4))},
      r"q: got shape .*, expected \(2, 5, 3\)",
    ),
    (
      {"decay": jnp.ones((2, 5))},
      r"decay: got shape \(2, 5\), expected .* or \(2, 5, 1\)",
    ),
    (
      {"decay": jnp.ones((2, 5, 1), int)},
      "decay: got dtype .*, expected a floating",
    ),
    (
      {"init": jnp.ones((2, DV, DK))},
      r"init: got shape .*, expected \(2, 3, 5\)",
    ),
    ({"reset": jnp.ones((2, 5))}, "reset: got dtype .*, expected bool"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {
    "q": jnp.ones((2, 5, DK)),
    "k": jnp.ones((2, 5, DK)),
    "v": jnp.ones((2, 5, DV)),
  } | kwargs
  with pytest.raises(ValueError, match=message):
    recurrence.outer_scan(**arguments)


def test_heads_and_steps_name_bad_arguments():
  with pytest.raises(
    ValueError, match="v: got shape .*, expected as many heads as a multiple"
  ):
    recurrence.outer_scan_heads(
      jnp.ones((2, 5, 3, DK)),
      jnp.ones((2, 5, 3, DK)),
      jnp.ones((2, 5, 4, DV)),
    )
  with pytest.raises(
    ValueError, match=r"state: got shape .*, expected \(2, 3, 5\)"
  ):
    recurrence.outer_step(
      jnp.ones((2, DK)),
      jnp.ones((2, DK)),
      jnp.ones((2, DV)),
      None,
      jnp.ones((DK, DV)),
    )
