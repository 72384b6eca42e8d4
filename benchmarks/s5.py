"""S5 with resets against the flags-through-`associative_scan` formulation.

  python -m benchmarks.s5

Both compute the same layer, which is checked: discretized parameters
in, outputs and final state out; the gradient is with respect to all parameters,
the inputs and the state. They take turns; the best of ten is printed.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import baselines
from benchmarks import timing
from jaxseq import recurrence


def problem(time, rows, width, states, seed=0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)

  dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), states))
  Lambda_bar = np.exp((-0.5 - 1j * np.pi * np.arange(states)) * dt)
  floats = (
    draw(states, width) * 0.1 / np.sqrt(width),
    draw(width, states) / np.sqrt(states),
    rng.normal(size=width),
    rng.normal(size=(rows, time, width)),
    draw(rows, states),
  )
  single = (Lambda_bar,) + floats
  single = [
    jnp.asarray(x, jnp.complex64 if np.iscomplexobj(x) else jnp.float32)
    for x in single
  ]
  reset = jnp.asarray(rng.uniform(size=(rows, time)) < 0.01)
  return (*single, reset)


def ours(Lambda_bar, B_bar, C, D, u, state, reset, chunk_size=None):
  return recurrence.lti_scan(
    Lambda_bar,
    B_bar,
    2 * C,
    u,
    state,
    D=D,
    reset=reset,
    chunk_size=chunk_size,
  )


def baseline(Lambda_bar, B_bar, C, D, u, state, reset):
  return baselines.s5_reset_apply(
    Lambda_bar, B_bar, C, D, u, state, reset.astype(jnp.float32)
  )


def gradient(layer):
  def loss(*arguments):
    y, state = layer(*arguments)
    return jnp.sum(y**2) + jnp.sum(jnp.real(state))

  return jax.grad(loss, argnums=range(6))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=10)
  parser.add_argument("--chunk_size", type=int, help="of lti_scan")
  flags = parser.parse_args()
  layer = functools.partial(ours, chunk_size=flags.chunk_size)
  rows, width, states = 8, 128, 64
  print(timing.machine(), f"; B={rows}, H={width}, P={states}, float32", sep="")
  print(f"{'T':>6} {'':>8} {timing.pair_head()}")
  for time in (1024, 16384):
    arguments = problem(time, rows, width, states)
    for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
      new, old = timing.interleaved(
        [(wrap(layer), arguments), (wrap(baseline), arguments)], flags.repeats
      )
      results = jax.jit(wrap(layer))(*arguments)
      expected = jax.jit(wrap(baseline))(*arguments)
      for x, y in zip(results, expected):
        # float32 and up to 16,384 elements; relative to the largest value.
        assert np.abs(x - y).max() < 1e-3 * np.abs(y).max()

      print(f"{time:>6} {label:>8} {timing.pair(old, new)}", flush=True)
  print("in each pair: the baseline, then lti_scan")


if __name__ == "__main__":
  main()
