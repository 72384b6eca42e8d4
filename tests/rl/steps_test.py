"""The loop over the steps of a rollout, as GPUs have it, against a scan."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.recurrence import kernels
from jaxseq.rl import _steps
from tests import jaxprs

NUM_ENVS = 3


def step(variables, carry, element):
  """A step with outputs of all kinds."""
  weight = jnp.concatenate([variables["w"], jnp.exp(variables["w"])]).T
  state = jnp.tanh((carry @ weight)[:, :4] + element)
  output = {
    "state": state,
    "action": state.argmax(-1).astype(jnp.int32),
    "ended": state.sum(-1) > 0,
    "image": (100 * jnp.abs(state)).astype(jnp.uint8),
    "spectrum": jax.lax.complex(state, -state),
    "value": state.mean(),
  }
  return state, output


def arguments():
  key_w, key_carry, key_elements = jax.random.split(jax.random.key(0), 3)
  variables = {"w": jax.random.normal(key_w, (4, 4))}
  carry = jax.random.normal(key_carry, (NUM_ENVS, 4))
  return variables, carry, jax.random.normal(key_elements, (5, NUM_ENVS, 4))


@pytest.mark.parametrize("batched", [False, True])
def test_steps_are_those_of_a_scan(batched):
  given = arguments()
  run = lambda *given: _steps.scan(step, *given)  # noqa: E731
  if batched:
    given = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), given)
    run = jax.vmap(run)
  expected = jax.jit(run)(*given)
  with kernels.choosing_for("gpu"):
    found = jax.jit(run)(*given)
  # All the same operations: only what they are fused with differs. How that
  # rounds depends on the processor, and five steps with weights above 1 make a
  # rounding of numbers of size 1 some ten times as large.
  chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-5)
  for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    assert got.dtype == want.dtype


def test_a_step_leaves_one_array_behind_and_makes_no_weights():
  with kernels.choosing_for("gpu"):
    jaxpr = jax.make_jaxpr(lambda *given: _steps.scan(step, *given))(
      *arguments()
    )
  (loop,) = jaxprs.find(jaxpr, "scan")
  # The state; the words of three outputs; and the three that are no words.
  assert len(loop.outvars) == 1 + 1 + 3
  (body,) = jaxprs.inner(loop)
  assert not list(jaxprs.find(body, "exp"))
  assert not list(jaxprs.find(body, "transpose"))
  (before,) = jaxprs.find(jaxpr, "exp")
  assert np.shape(before.outvars[0].aval) == (4, 4)
