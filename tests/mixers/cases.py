"""The mixers and configurations that the contract tests run over."""

import functools
import types
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxseq import mixers

D_MODEL = 6
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
  "lstm": [{"heads": 3}],
  "mamba": [{"d_state": 4, "d_conv": 2, "expand": 1, "bias": True}],
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


def cases():
  for name in mixers.names():
    for options in [{}, *_OPTIONS.get(name, [])]:
      words = [f"{key}={value}" for key, value in options.items()]
      yield pytest.param(
        (name, tuple(options.items())), id="-".join([name, *words])
      )


@functools.cache
def bind(case):
  name, options = case
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=D_MODEL, **dict(options))
  init = jax.jit(module.init, static_argnums=1)
  with jax.enable_x64(False):  # Whichever test comes first.
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
