"""Mixers next to the same models of memax and memorax.

  python -m venv /tmp/peers
  /tmp/peers/bin/python -m pip install "memax[equinox]" memorax chex
  /tmp/peers/bin/python -m benchmarks.peers

memax is a library of Equinox models, memorax one of reinforcement learning
whose models are of Flax; both scan associatively. Only models whose recurrence
both sides have are compared, at equal widths of inputs, outputs and states;
what still differs, in memax:

  elman             a projection of the outputs, and biases twice
  gru               the reset gate before the recurrent product
  lstm              no tanh on the cell
  linear_attention  one head; adds the inputs to the outputs
  deltanet, gdn     one head without a norm of its output; a projection with a
                    bias behind it

and in memorax:

  mingru            logarithms of the states
  mlstm             one more projection in front, no gate and no norm of the
                    outputs
  linear_attention  a norm of the outputs
  mamba2            what it calls Mamba: a decay for each head, keys and queries
                    too, and no convolution

memax's S6 has one state per channel and is not Mamba, and its DeltaProduct does
not multiply transitions. memax takes one sequence and reset flags; here it is
mapped over the batch, and all get the flags. "gradient" is that with respect to
parameters and inputs. The two take turns; the best of the runs is printed.
"""

import argparse
import functools
import importlib
import sys

import jax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq import mixers

_DELTA = {"heads": 1, "d_conv": 1, "gate": "none"}
_DELTA["negative_eigenvalues"] = True
# By library and model, our mixer and its options.
_PAIRS = {
  "memax": {
    "elman": ("elman", {}),
    "gru": ("gru", {}),
    "lstm": ("lstm", {}),
    "linear_attention": ("linear_attention", {"heads": 1}),
    "lru": ("lru", {}),
    "deltanet": ("gated_deltanet", {**_DELTA, "decay": "none"}),
    "gdn": ("gated_deltanet", _DELTA),
  },
  "memorax": {
    "linear_attention": ("linear_attention", {}),
    "lru": ("lru", {}),
    "s5": ("s5", {"blocks": 1, "conj_sym": False}),
    "mingru": ("mingru", {}),
    "mlstm": ("mlstm_large", {}),
    "mamba2": ("mamba2", {"d_state": 16, "headdim": 16, "d_conv": 1}),
  },
}


def ours(library, name, width):
  """Returns a function of parameters, inputs and flags, and parameters."""
  mixer, options = _PAIRS[library][name]
  options = dict(options)
  if mixer == "s5":
    options["ssm_size"] = width
  if mixer == "mlstm_large":
    options["d_key"] = width // 4
  module = mixers.get(mixer)
  config = mixers.make_config(mixer, d_model=width, **options)
  if mixer == "mamba2":
    heads = config.d_inner // config.headdim
    config = mixers.make_config(mixer, d_model=width, ngroups=heads, **options)
  params = jax.jit(module.init, static_argnums=1)(jax.random.key(0), config)
  apply = functools.partial(module.apply, config)
  return lambda params, x, reset: apply(params, x, None, reset)[0], params


def _memax(name, width):
  """The same for memax."""
  import equinox
  from memax.equinox.semigroups import delta
  from memax.equinox.semigroups import fart
  from memax.equinox.semigroups import gdn
  from memax.equinox.semigroups import lru
  from memax.equinox.set_actions import elman
  from memax.equinox.set_actions import gru
  from memax.equinox.set_actions import lstm

  key = jax.random.key(0)
  model = {
    "elman": lambda: elman.Elman(width, width, key=key),
    "gru": lambda: gru.GRU(width, key=key),
    "lstm": lambda: lstm.LSTM(width, key=key),
    "linear_attention": lambda: fart.FART(width, width, key=key),
    "lru": lambda: lru.LRU(width, width, key=key),
    "deltanet": lambda: delta.DeltaNet(width, width, key=key),
    "gdn": lambda: gdn.GDN(width, width, key=key),
  }[name]()
  params, rest = equinox.partition(model, equinox.is_inexact_array)

  def run(params, x, reset):
    model = equinox.combine(params, rest)
    start = model.initialize_carry()
    return jax.vmap(lambda x, reset: model(start, (x, reset))[1])(x, reset)

  return run, params


def _memorax(name, width):
  """The same for memorax."""
  from memorax.networks import sequence_models as models

  initializers = jax.nn.initializers
  cell = {
    "linear_attention": lambda: models.LinearAttentionCell(
      width // 4,
      4,
      initializers.lecun_normal(),
      initializers.zeros,
      jnp.float32,
    ),
    "lru": lambda: models.LRUCell(width, width),
    "s5": lambda: models.S5Cell(width, width),
    "mingru": lambda: models.MinGRUCell(width),
    "mlstm": lambda: models.mLSTMCell(width, width),
    "mamba2": lambda: models.MambaCell(width, num_heads=width // 8),
  }[name]()
  model = models.Memoroid(cell)
  shape = 1, 1, width
  params = model.init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(shape[:2]))

  def run(params, x, reset):
    return model.apply(params, x, reset.astype(x.dtype))[1]

  return run, params


_THEIRS = {"memax": _memax, "memorax": _memorax}


def gradient(function):
  def loss(params, x, reset):
    return jnp.sum(function(params, x, reset) ** 2)

  return jax.value_and_grad(loss, argnums=(0, 1))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--libraries", nargs="+", choices=list(_PAIRS), default=list(_PAIRS)
  )
  parser.add_argument("--models", nargs="+", help="all if none is given")
  parser.add_argument("--time", type=int, default=1024)
  parser.add_argument("--rows", type=int, default=2)
  parser.add_argument("--d_model", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=3)
  flags = parser.parse_args()
  for library in flags.libraries:
    try:
      importlib.import_module(library)
    except ImportError as error:
      sys.exit(f"{error}: install {library} in an environment of its own.")
  print(
    timing.machine(),
    f"; B={flags.rows}, T={flags.time}, d_model={flags.d_model}, float32",
    sep="",
  )
  print(
    f"{'':>33} {'wall ms: theirs, jaxseq, ratio':>32} "
    f"{'temporary MB':>24} {'compile s':>11}"
  )
  shape = flags.rows, flags.time
  x = jax.random.normal(jax.random.key(1), (*shape, flags.d_model))
  reset = jax.random.bernoulli(jax.random.key(2), 0.01, shape)
  for library in flags.libraries:
    for name in flags.models or _PAIRS[library]:
      if name not in _PAIRS[library]:
        continue
      sides = [
        _THEIRS[library](name, flags.d_model),
        ours(library, name, flags.d_model),
      ]
      for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
        old, new = timing.interleaved(
          [(wrap(f), (params, x, reset)) for f, params in sides], flags.repeats
        )
        print(
          f"{library:>7} {name:>16} {label:>8} {1e3 * old.wall:>14.1f} "
          f"{1e3 * new.wall:>9.1f} {old.wall / new.wall:>7.1f} "
          f"{1e-6 * old.temporary:>10.1f} {1e-6 * new.temporary:>6.1f} "
          f"{old.temporary / new.temporary:>6.1f} "
          f"{old.compile:>6.1f} {new.compile:.1f}",
          flush=True,
        )


if __name__ == "__main__":
  main()
