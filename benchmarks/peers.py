"""Mixers next to the same models of memax, an Equinox library.

  python -m venv /tmp/peers
  /tmp/peers/bin/python -m pip install "memax[equinox]" chex
  /tmp/peers/bin/python -m benchmarks.peers

Only models whose recurrence both have are compared, at equal widths of inputs,
outputs and states; what still differs:

  elman             memax has a projection of the outputs, and biases twice
  gru               memax has the reset gate before the recurrent product
  lstm              memax puts no tanh on the cell
  linear_attention  one head; memax adds the inputs to the outputs
  s5                memax's LRU: the same diagonal complex recurrence, without
                    conjugate pairs, with other parameters of the eigenvalues

memax's S6 has one state per channel and is not Mamba. memax takes one sequence
and reset flags; here it is mapped over the batch, and both get the flags.
"gradient" is that with respect to parameters and inputs. The two take turns;
the best of the runs is printed.
"""

import argparse
import functools
import sys

import jax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq import mixers

_OPTIONS = {
  "elman": {},
  "gru": {},
  "lstm": {},
  "linear_attention": {"heads": 1},
  "s5": {"blocks": 1, "conj_sym": False},
}


def ours(name, width):
  """Returns a function of parameters, inputs and flags, and parameters."""
  options = dict(_OPTIONS[name])
  if name == "s5":
    options["ssm_size"] = width
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=width, **options)
  params = jax.jit(module.init, static_argnums=1)(jax.random.key(0), config)
  apply = functools.partial(module.apply, config)
  return lambda params, x, reset: apply(params, x, None, reset)[0], params


def theirs(name, width):
  """The same for memax."""
  import equinox
  from memax.equinox.semigroups import fart
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
    "s5": lambda: lru.LRU(width, width, key=key),
  }[name]()
  params, rest = equinox.partition(model, equinox.is_inexact_array)

  def run(params, x, reset):
    model = equinox.combine(params, rest)
    start = model.initialize_carry()
    return jax.vmap(lambda x, reset: model(start, (x, reset))[1])(x, reset)

  return run, params


def gradient(function):
  def loss(params, x, reset):
    return jnp.sum(function(params, x, reset) ** 2)

  return jax.value_and_grad(loss, argnums=(0, 1))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--mixers", nargs="+", default=list(_OPTIONS))
  parser.add_argument("--time", type=int, default=1024)
  parser.add_argument("--rows", type=int, default=2)
  parser.add_argument("--d_model", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=3)
  flags = parser.parse_args()
  try:
    import memax  # noqa: F401
  except ImportError:
    sys.exit("memax is missing: install it in an environment of its own.")
  print(
    timing.machine(),
    f"; B={flags.rows}, T={flags.time}, d_model={flags.d_model}, float32",
    sep="",
  )
  print(
    f"{'':>25} {'wall ms: memax, jaxseq, ratio':>32} "
    f"{'temporary MB':>24} {'compile s':>11}"
  )
  shape = flags.rows, flags.time
  x = jax.random.normal(jax.random.key(1), (*shape, flags.d_model))
  reset = jax.random.bernoulli(jax.random.key(2), 0.01, shape)
  for name in flags.mixers:
    sides = [make(name, flags.d_model) for make in (theirs, ours)]
    for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
      old, new = timing.interleaved(
        [(wrap(f), (params, x, reset)) for f, params in sides], flags.repeats
      )
      print(
        f"{name:>16} {label:>8} {1e3 * old.wall:>14.1f} {1e3 * new.wall:>9.1f} "
        f"{old.wall / new.wall:>7.1f} {1e-6 * old.temporary:>10.1f} "
        f"{1e-6 * new.temporary:>6.1f} {old.temporary / new.temporary:>6.1f} "
        f"{old.compile:>6.1f} {new.compile:.1f}",
        flush=True,
      )


if __name__ == "__main__":
  main()
