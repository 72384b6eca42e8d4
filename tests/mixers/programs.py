"""The programs of a mixer that all tests of its contract share.

Compiling takes nearly all of their time. Each mixer has two: `apply` with its
gradients, and `step`. They have one length and one batch.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import mixers
from tests.mixers import cases

ROWS = 2
# Of quick tests, and of slow ones, where more chunks are full.
SHORT, LONG = 13, 37


class Problem(NamedTuple):
  """Inputs of a mixer, in NumPy, and its programs.

  Attributes:
    mixer: the mixer, with its compiled `step`.
    time: length of all sequences.
    params: parameters, on the device.
    x: (ROWS, time, d_model) inputs.
    fresh: state of fresh sequences.
    weights: cotangents of the outputs and the last state, all different.
    run: compiled, `run(params, x, state, reset, weights)` returns the outputs
      with the last state, and the gradients of params, x and state.
  """

  mixer: cases.Mixer
  time: int
  params: Any
  x: np.ndarray
  fresh: Any
  weights: Any
  run: Any

  def both(self, x, state, reset, weights=None, params=None):
    """Returns outputs with the last state, and the gradients of all inputs."""
    weights = self.weights if weights is None else weights
    params = self.params if params is None else params
    return jax.device_get(self.run(params, x, state, reset, weights))

  def apply(self, x, state, reset):
    """Returns outputs and the last state."""
    return self.both(x, state, reset)[0]

  def steps(self, x, state, reset):
    """Folds `step`; returns what `apply` does."""
    outputs = []
    for t in range(x.shape[-2]):
      y, state = self.mixer.step(
        self.params, x[..., t, :], state, reset[..., t]
      )
      outputs.append(y)
    return np.stack(jax.device_get(outputs), -2), jax.device_get(state)

  def reset(self, *places):
    """Returns flags that are true at these elements of every row."""
    reset = np.zeros((ROWS, self.time), bool)
    reset[:, list(places)] = True
    return reset


def problem(mixer, time, dtype="float64", params_dtype=None, run=None):
  """Returns a mixer's problem in a dtype; `run` is a program of another one."""
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf, params_dtype or dtype), mixer.params
  )
  x = np.asarray(cases.sequence(ROWS, time, dtype=dtype))
  wide = jnp.promote_types(dtype, jnp.float32)
  fresh = mixers.fresh_state(mixer.config, (ROWS,), wide, params)
  fresh = jax.device_get(fresh)
  weights = normal(np.random.default_rng(3), (x, fresh))
  if run is None:
    apply = functools.partial(mixer.module.apply, mixer.config)
    run = with_gradients(apply)
  return Problem(mixer, time, jax.device_put(params), x, fresh, weights, run)


def normal(rng, tree):
  """Returns arrays of normal numbers like those of a tree, also complex."""

  def draw(leaf):
    numbers = rng.normal(size=leaf.shape)
    if np.iscomplexobj(leaf):
      numbers = numbers + 1j * rng.normal(size=leaf.shape)
    return numbers.astype(leaf.dtype)

  return jax.tree.map(draw, tree)


def with_gradients(apply):
  """Compiles a function like `apply` for `Problem.run`."""

  @jax.jit
  def run(params, x, state, reset, weights):
    results, pull = jax.vjp(
      lambda *inputs: apply(*inputs, reset), params, x, state
    )
    return results, pull(weights)

  return run
