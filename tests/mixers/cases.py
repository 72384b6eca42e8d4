"""The mixers and configurations that the contract tests run over."""

import functools
import types
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from tests.mixers import checks

# Of all mixers with their defaults; docs/mixers.md says it.
D_MODEL = 6
# float32 sums in another order, over at most 37 steps.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}


class Mixer(NamedTuple):
  """A mixer bound to one configuration, its functions compiled once."""

  module: types.ModuleType
  config: Any
  params: Any
  apply: Any
  step: Any
  name: str


# One of each kind of state.
_COMMON = ("gru", "lightnet", "mamba", "s5")


def cases(marks=()):
  """Yields each mixer with its defaults, and, so marked, with other options.

  Those like others are marked, too.
  """
  for name in mixers.names():
    for options in [{}, *checks.of(name).cases]:
      words = [f"{key}={value}" for key, value in options.items()]
      yield pytest.param(
        (name, tuple(options.items())),
        id="-".join([name, *words]),
        marks=marks if options or checks.of(name).like else (),
      )


def every(marks=()):
  """Yields the same, but only those with other options are marked."""
  for case in cases(marks):
    name, options = case.values[0]
    yield case if options else pytest.param((name, ()), id=name)


def plain_cases(marks=()):
  """Returns each mixer with its defaults; so marked those like others."""
  return [
    pytest.param((name, ()), id=name, marks=() if name in _COMMON else marks)
    for name in mixers.names()
  ]


def short(name):
  """Options with which chunks of four elements hold all that one sees."""
  window = checks.of(name).short_window
  return () if window is None else (("window", window),)


@functools.cache
def bind(case, zeros=False):
  """Returns the mixer of a case; where only shapes matter, all zeros."""
  name, options = case
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=D_MODEL, **dict(options))
  init = jax.jit(module.init, static_argnums=1)
  with jax.enable_x64(False):  # Whichever test comes first.
    if zeros:
      params = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(lambda key: init(key, config), jax.random.key(0)),
      )
    else:
      params = _perturbed(init(jax.random.key(0), config))
    if not options:
      _check_width(module, config, params)
  return Mixer(
    module,
    config,
    params,
    jax.jit(functools.partial(module.apply, config)),
    jax.jit(functools.partial(module.step, config)),
    name,
  )


def _check_width(module, config, params):
  """Runs a mixer's defaults once, without numbers: do they take the width?"""

  def run(params, x):
    state = mixers.fresh_state(config, params=params)
    return module.step(config, params, x, state)

  try:
    jax.eval_shape(run, params, jnp.zeros((D_MODEL,)))
  except (TypeError, ValueError) as error:
    error.add_note(
      f"The defaults of {module.__name__}.Config have to take any d_model, "
      f"here {D_MODEL}. Choose what has to divide it, such as a number of "
      "heads, by contract.largest_divisor(d_model, ...)."
    )
    raise


def _perturbed(params):
  """Moves every parameter a little: zero biases would hide mistakes."""
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(0)
  # By NumPy: jax would compile a sum for every shape.
  moved = [
    np.asarray(leaf) + 0.05 * rng.normal(size=leaf.shape).astype("f")
    for leaf in leaves
  ]
  return jax.device_put(structure.unflatten(moved))


def fresh(mixer, batch, dtype=jnp.float32):
  """Returns the state of fresh sequences."""
  return mixers.fresh_state(mixer.config, batch, dtype, mixer.params)


def sequence(*shape, dtype=jnp.float64, seed=0):
  """Returns inputs (*shape, D_MODEL)."""
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(*shape, D_MODEL)), dtype)


def used_state(mixer, params, batch, dtype=jnp.float64):
  """Returns a state that some sequence has left behind."""
  state = mixers.fresh_state(mixer.config, batch, dtype, params)
  x, reset = sequence(*batch, dtype=dtype, seed=9), np.zeros(batch, bool)
  for _ in range(2):
    _, state = mixer.step(params, x, state, reset)
  return state
