"""softmax_decay: the decays and shares of a running softmax."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from tests.recurrence.averages.softmax_outer_cases import FORWARD
from tests.recurrence.averages.softmax_outer_cases import close
from tests.recurrence.averages.softmax_outer_cases import problem
from tests.recurrence.averages.softmax_outer_cases import resets


def test_golden_decays(x64, golden):
  """log(Delta_{t-1} / Delta_t) and exp(g_t) / Delta_t, with Delta_0 0 and 1."""
  del x64
  data = golden("lightnet/gla_form")
  logits = np.moveaxis(data["k_logits"], 1, 2)
  for name, sink, (m, u) in (("zero", None, (-1e30, 0)), ("one", 0.0, (0, 1))):
    begin = (np.full((2, 2, 3), z, float) for z in (m, u))
    function = functools.partial(recurrence.softmax_decay, sink=sink)
    decay, share, (m, u) = jax.jit(function)(logits, *begin)
    want = {
      key: np.moveaxis(data[f"{key}_{name}_init"], 1, 2)
      for key in ("logdecay", "k", "z")
    }
    close(decay, want["logdecay"], FORWARD)
    close(share, want["k"], FORWARD)
    close(m + jnp.log(u), want["z"][:, :, -1], FORWARD)


def test_decays_make_the_multiplicative_form(x64):
  """Values and gradients, with resets and from a state of others."""
  del x64
  sink = 0.0
  q, logits, k, v, init = problem(11, 3.0)
  reset = resets(11)["random"] | resets(11)["consecutive"]

  def multiplicative(logits, init):
    decay, share, (m, u) = recurrence.softmax_decay(
      logits, init.m, init.u, reset=reset, sink=sink
    )
    o, w = recurrence.outer_scan(
      q, share * k, v, decay, init.w / init.u[..., None], reset=reset
    )
    return o, recurrence.SoftmaxState(m, u, w * u[..., None])

  def additive(logits, init):
    return recurrence.softmax_outer_scan(
      q, logits, k, v, init, reset=reset, sink=sink
    )

  def both(function):
    def loss(logits, init):
      results = function(logits, init)
      return sum(jnp.sum(x**2) for x in jax.tree.leaves(results)), results

    gradient = jax.value_and_grad(loss, (0, 1), has_aux=True)
    return jax.jit(gradient)(logits, init)

  # float64 rounding.
  chex.assert_trees_all_close(
    both(multiplicative), both(additive), rtol=1e-9, atol=1e-11
  )


def test_decay_names_bad_arguments():
  m, logits = jnp.ones((2, 3)), jnp.ones((2, 5, 3))
  with pytest.raises(
    ValueError, match=r"logits: got shape .*, expected \(\*batch"
  ):
    recurrence.softmax_decay(jnp.ones(3), m, m)
  with pytest.raises(ValueError, match=r"u: got shape .*, expected \(2, 3\)"):
    recurrence.softmax_decay(logits, m, jnp.ones(3))
