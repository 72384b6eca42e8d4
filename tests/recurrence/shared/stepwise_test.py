import chex
import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence

# Two programs for the same float64 sums differ by a few roundings.
_TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def _step(carry, x):
  """A step with a structured carry and output."""
  total = jnp.tanh(carry["total"] * 0.5 + x["a"]) + x["b"][..., :1]
  count = carry["count"] + 1
  return {"total": total, "count": count}, (total, total * count[..., None])


def _inputs(batch, time, seed=0):
  rng = np.random.default_rng(seed)
  xs = {
    "a": jnp.asarray(rng.normal(size=(*batch, time, 3))),
    "b": jnp.asarray(rng.normal(size=(*batch, time, 2))),
  }
  init = {
    "total": jnp.asarray(rng.normal(size=(*batch, 3))),
    "count": jnp.asarray(rng.integers(0, 5, size=batch), jnp.float64),
  }
  return init, xs


def _loop(init, xs, reset=None, fresh=None):
  """The definition: a Python loop over time and over the batch, one at once."""
  batch = xs["a"].shape[:-2]
  outputs, finals = [], []
  for index in np.ndindex(*batch):
    carry = jax.tree.map(lambda leaf: leaf[index], init)  # noqa: B023
    rows = []
    for t in range(xs["a"].shape[-2]):
      if reset is not None and bool(reset[(*index, t)]):
        carry = fresh or jax.tree.map(jnp.zeros_like, carry)
      carry, y = _step(carry, jax.tree.map(lambda a: a[(*index, t)], xs))  # noqa: B023
      rows.append(y)
    outputs.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))
    finals.append(carry)

  def join(*leaves):
    return jnp.stack(leaves).reshape(*batch, *leaves[0].shape)

  return jax.tree.map(join, *outputs), jax.tree.map(join, *finals)


@pytest.mark.parametrize(("batch", "time"), [((), 5), ((2,), 1), ((2, 3), 4)])
def test_equals_python_loop(x64, batch, time):
  init, xs = _inputs(batch, time)
  got = recurrence.fold(_step, init, xs)
  chex.assert_trees_all_close(got, _loop(init, xs), **_TOLERANCE)


@pytest.mark.parametrize("unroll", [1, 3, 8])
def test_unroll_changes_nothing(x64, unroll):
  init, xs = _inputs((2,), 7)
  got = recurrence.fold(_step, init, xs, unroll=unroll)
  chex.assert_trees_all_close(got, _loop(init, xs), **_TOLERANCE)


@pytest.mark.parametrize("where", ["first", "last", "every", "random"])
@pytest.mark.parametrize("with_fresh", [False, True])
def test_resets(x64, where, with_fresh):
  init, xs = _inputs((2, 2), 6)
  reset = np.zeros((2, 2, 6), bool)
  if where == "random":
    reset = np.random.default_rng(1).random(reset.shape) < 0.4
  else:
    reset[..., {"first": 0, "last": -1, "every": slice(None)}[where]] = True
  fresh = None
  if with_fresh:
    fresh = {"total": jnp.asarray([0.1, 0.2, 0.3]), "count": jnp.asarray(7.0)}
  got = recurrence.fold(_step, init, xs, reset=jnp.asarray(reset), fresh=fresh)
  chex.assert_trees_all_close(got, _loop(init, xs, reset, fresh), **_TOLERANCE)


def test_reset_clears_an_undefined_carry():
  init = jnp.asarray([jnp.inf, jnp.nan])
  xs = jnp.ones((2, 3, 1))
  reset = jnp.asarray([[False, True, False]] * 2)
  _, final = recurrence.fold(
    lambda carry, x: (carry + x[..., 0], None), init, xs, reset=reset
  )
  chex.assert_trees_all_equal(final, jnp.asarray([2.0, 2.0]))


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients(x64, order):
  init, xs = _inputs((2,), 4)
  reset = jnp.asarray([[False, True, False, False], [False] * 4])

  @jax.jit
  def function(init, xs):
    return recurrence.fold(_step, init, xs, reset=reset)

  test_util.check_grads(function, (init, xs), order=order)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"xs": {}}, "xs: got .*, expected at least one array"),
    ({"xs": jnp.ones(3)}, r"\(\*batch, time, features\)"),
    ({"xs": (jnp.ones((2, 3, 1)), jnp.ones((2, 4, 1)))}, "share one"),
    (
      {"xs": jnp.ones((2, 0, 1))},
      "xs: got '0 time steps', expected at least one",
    ),
    (
      {"init": jnp.ones(3)},
      r"init: got shape .*, expected the batch shape of xs, \(2,\)",
    ),
    (
      {"reset": jnp.ones((3, 2), bool)},
      r"reset: got shape .*, expected \(2, 3\)",
    ),
    ({"reset": jnp.ones((2, 3))}, "reset: got dtype .*, expected bool"),
  ],
)
def test_bad_arguments(change, message):
  arguments = {"init": jnp.ones(2), "xs": jnp.ones((2, 3, 1)), "reset": None}
  arguments |= change
  with pytest.raises(ValueError, match=message):
    recurrence.fold(lambda carry, x: (carry, x), **arguments)
