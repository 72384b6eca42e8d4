"""`lti_scan` by kernels, against the loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence.kernels import choice
from tests.recurrence import methods
from tests.recurrence.kernels import linear_test

P, H = 3, 4


def problem(time, is_complex, reset):
  rng = np.random.default_rng(0)

  def draw(*shape):
    x = rng.normal(size=shape)
    x = x + 1j * rng.normal(size=shape) if is_complex else x
    return x.astype("c8" if is_complex else "f4")

  a = rng.uniform(0.5, 0.99, P) * np.exp(1j * rng.normal(size=P) * is_complex)
  a = a.astype("c8") if is_complex else a.real.astype("f4")
  arguments = {
    "Lambda_bar": a,
    "B_bar": draw(P, H),
    "C": draw(H, P),
    "u": rng.normal(size=(2, time, H)).astype("f4"),
    "init": draw(2, P),
    "D": rng.normal(size=H).astype("f4"),
  }
  return arguments, methods.make_reset(rng, "random", (2, time), reset)


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_test.CHIPS)
@pytest.mark.parametrize(
  ("is_complex", "reverse", "chunk_size"),
  [(True, False, None), (True, True, 20), (False, True, None)],
)
def test_values_and_gradients_equal_those_of_the_loop(
  chip, is_complex, reverse, chunk_size
):
  """In one chunk, and in chunks with a remainder."""
  arguments, reset = problem(50, is_complex, 0.1)

  def run(method):
    def loss(arguments):
      y, final = recurrence.lti_scan(
        **arguments,
        reset=reset,
        reverse=reverse,
        chunk_size=chunk_size,
        method=method,
      )
      return jnp.sum(jnp.sin(y)) + jnp.sum(jnp.abs(final) ** 2), (y, final)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)

  with kernels.interpret(chip):
    found = run("pallas")
  # Gradients of weights are sums over 100 elements.
  jax.tree.map(linear_test.close, found, run("sequential"))


@pytest.mark.slow
def test_the_gradient_may_be_traced_after_its_context():
  arguments, _ = problem(5, False, 0)
  with kernels.interpret():
    y, pull = jax.vjp(
      lambda u: recurrence.lti_scan(**arguments | {"u": u}, method="pallas")[0],
      arguments["u"],
    )
  _, expected = jax.vjp(
    lambda u: recurrence.lti_scan(**arguments | {"u": u})[0], arguments["u"]
  )
  jax.tree.map(linear_test.close, pull(y), expected(y))


def test_a_chunk_is_as_long_as_memory_allows():
  def size(*shape):
    _, options = choice.choose(
      "lti", "gpu", "sm_90", jnp.float32, shape, "pallas"
    )
    return options["chunk_size"]

  assert size(8, 4096, 256, 128) == 4096
  assert size(1, 2**20, 256, 128) == 2**18
  assert size(1024, 4096, 256, 128) == 1024
