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

D_MODEL = 6
# float32 sums in another order, over at most 37 steps.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
# Options beyond the defaults that change how a mixer computes.
_OPTIONS = {
  "attention": [{"kv_heads": 2, "window": 3, "positions": "none"}],
  "slstm": [{"d_hidden": 4, "heads": 2}],
  "gru": [{"d_hidden": 4, "heads": 2}],
  "aaren": [{"heads": 2}],
  "lightnet": [
    {
      "heads": 3,
      "delta_0": 0,
      "gate": "silu",
      "gate_position": "post",
      "scale_q": True,
      "lrpe": "none",
    },
    {"decay": "scalar", "input_gate": True, "lrpe": "rotary"},
  ],
  "linear_attention": [
    {
      "heads": 2,
      "d_value": 3,
      "feature_map": "none",
      "decay": "fixed",
      "normalization": "rms",
      "positions": "rotary",
      "gate": "silu",
    },
    {
      "heads": 2,
      "d_key": 3,
      "feature_map": "silu",
      "decay": "vector",
      "decay_rank": 2,
      "normalization": "rms",
    },
    {"heads": 2, "decay": "scalar", "positions": "rotary"},
  ],
  "lstm": [{"heads": 3}],
  "mamba": [{"d_state": 4, "d_conv": 2, "expand": 1, "bias": True}],
  "mamba2": [
    {
      "headdim": 3,
      "d_state": 4,
      "ngroups": 2,
      "d_conv": 2,
      "dt_limit": (0.01, 0.06),
      "bias": True,
      "chunk_size": 3,
    },
  ],
  "s4": [
    {"d_state": 4, "init": "legt", "method": "convolution"},
    {"d_state": 4, "init": "fourier", "n_ssm": 3, "dt_transform": "softplus"},
  ],
  "s4d": [
    {"d_state": 4, "init": "legs", "n_ssm": 2, "method": "chunks"},
    {"d_state": 4, "init": "inv", "discretization": "bilinear"},
    {"d_state": 4, "init": "real", "dt_tie": False},
  ],
  "s5": [
    {"ssm_size": 8, "blocks": 2},
    {
      "ssm_size": 8,
      "blocks": 1,
      "discretization": "bilinear",
      "clip_eigs": True,
    },
    {"ssm_size": 6, "blocks": 2, "conj_sym": False},
  ],
}


class Mixer(NamedTuple):
  """A mixer bound to one configuration, its functions compiled once."""

  module: types.ModuleType
  config: Any
  params: Any
  apply: Any
  step: Any


# One of each kind of state.
_COMMON = ("gru", "lightnet", "mamba", "s5")


def cases(marks=()):
  """Yields each mixer with its defaults, and, so marked, with other options."""
  for name in mixers.names():
    for options in [{}, *_OPTIONS.get(name, [])]:
      words = [f"{key}={value}" for key, value in options.items()]
      yield pytest.param(
        (name, tuple(options.items())),
        id="-".join([name, *words]),
        marks=marks if options else (),
      )


def plain_cases(marks=()):
  """Returns each mixer with its defaults; so marked those like others."""
  return [
    pytest.param((name, ()), id=name, marks=() if name in _COMMON else marks)
    for name in mixers.names()
  ]


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
  return Mixer(
    module,
    config,
    params,
    jax.jit(functools.partial(module.apply, config)),
    jax.jit(functools.partial(module.step, config)),
  )


def _perturbed(params):
  """Moves every parameter a little: zero biases would hide mistakes."""
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(0)
  return structure.unflatten(
    [leaf + 0.05 * rng.normal(size=leaf.shape).astype("f") for leaf in leaves]
  )


def sequence(*shape, dtype=jnp.float64, seed=0):
  """Returns inputs (*shape, D_MODEL)."""
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(*shape, D_MODEL)), dtype)


def used_state(mixer, params, batch, dtype=jnp.float64):
  """Returns a state that some sequence has left behind."""
  state = mixer.module.initial_state(mixer.config, batch, dtype)
  x, reset = sequence(*batch, dtype=dtype, seed=9), np.zeros(batch, bool)
  for _ in range(2):
    _, state = mixer.step(params, x, state, reset)
  return state
