"""Times both methods of S4 and S4D: what `method="auto"` is decided from.

  python -m benchmarks.s4 [--quick]

For each mixer and shape, forward and gradient of parameters and inputs, without
resets and without a state. "naive" holds all states: the kernel by powers of
every eigenvalue (S4D), or the recurrence step by step (S4). The best of five is
printed, by the clock and in CPU time.
"""

import argparse
import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq import recurrence
from jaxseq.mixers.state_space import s4
from jaxseq.mixers.state_space import s4d

# Batch, time, width, states per channel.
SHAPES = ((8, 1024, 64, 64), (8, 4096, 64, 64), (1, 16384, 64, 64))


def naive_s4d(config, params, x):
  """The Vandermonde matrix (H, M, time) as an array, and a convolution."""
  A, B, C, _ = s4d._discrete(config, params, x.dtype)
  powers = jnp.exp(jnp.log(A)[..., None] * jnp.arange(x.shape[-2]))
  kernel = jnp.real(jnp.einsum("hm,hml->hl", B * C[0], powers))
  return recurrence.fft_convolution(x, kernel) + params["D"] * x


def naive_s4(config, params, x):
  """One step after the other."""

  def body(state, x_t):
    y, state = s4.step(config, params, x_t, state)
    return state, y

  state = s4.initial_state(config, x.shape[:-2], x.dtype)
  _, y = lax.scan(body, state, jnp.moveaxis(x, -2, 0))
  return jnp.moveaxis(y, 0, -2)


def by(method, module):
  """The mixer under a method, with the arguments of the naive forms."""

  def run(config, params, x):
    chosen = dataclasses.replace(config, method=method)
    return module.apply(chosen, params, x)[0]

  return run


def gradient(function):
  return jax.grad(lambda *arguments: jnp.sum(function(*arguments) ** 2), (0, 1))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="first shape only")
  quick = parser.parse_args().quick
  print(timing.machine())
  for module, naive in ((s4, naive_s4), (s4d, naive_s4d)):
    forms = {
      "convolution": by("convolution", module),
      "chunks": by("chunks", module),
      "naive": naive,
    }
    for batch, time, width, states in SHAPES[:1] if quick else SHAPES:
      config = module.Config(width, states)
      params = module.init(jax.random.key(0), config)
      x = jax.random.normal(jax.random.key(1), (batch, time, width))
      bound = [functools.partial(form, config) for form in forms.values()]
      name = module.__name__.rpartition(".")[2]
      for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
        results = timing.interleaved([(wrap(f), (params, x)) for f in bound])
        print(f"{name} {(batch, time, width, states)} {label}")
        for method, result in zip(forms, results):
          print(
            f"  {method:>12} {1e3 * result.wall:8.1f} ms "
            f"{1e3 * result.cpu:8.1f} ms CPU "
            f"{(result.temporary or 0) / 2**20:8.1f} MB",
            flush=True,
          )


if __name__ == "__main__":
  main()
