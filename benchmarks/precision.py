"""Time and memory of every mixer with bfloat16 and with float32 inputs.

  python -m benchmarks.precision
  python -m benchmarks.precision --mixers mamba s5 --d_model 256

"gradient" is the forward pass and the gradient with respect to parameters and
inputs. The two take turns; the best of the runs is printed, and how many times
as fast bfloat16 is. First comes a product of matrices alone, (rows * time,
d_model) by (d_model, 4 * d_model): what the instructions of the machine give.
"""

import argparse

import jax
import jax.numpy as jnp

from benchmarks import mixers as shapes
from benchmarks import timing
from jaxseq import mixers
from jaxseq import recurrence


def product(rows, time, d_model, dtype):
  """A dense product with float32 weights, and arguments for it."""
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (rows * time, d_model), dtype)
  w = jax.random.normal(keys[1], (d_model, 4 * d_model))
  return lambda x, w: recurrence.dense(x, w, wide=True), (x, w)


def pair(name, flags, label):
  """A mixer's function with its arguments: in float32, and in bfloat16."""
  apply, (params, x) = shapes.problem(
    name, flags.time, flags.rows, flags.d_model
  )

  def loss(params, x):
    y, _ = apply(params, x)
    return jnp.sum(jnp.square(y.astype(jnp.float32)))

  functions = {
    "forward": lambda params, x: apply(params, x)[0],
    "gradient": jax.value_and_grad(loss, argnums=(0, 1)),
  }
  function = functions[label]
  return [(function, (params, x.astype(t))) for t in ("float32", "bfloat16")]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--mixers", nargs="+", default=mixers.names())
  parser.add_argument("--time", type=int, default=1024)
  parser.add_argument("--rows", type=int, default=4)
  parser.add_argument("--d_model", type=int, default=256)
  parser.add_argument("--repeats", type=int, default=3)
  flags = parser.parse_args()
  sizes = flags.rows, flags.time, flags.d_model
  print(f"{timing.machine()}; B={sizes[0]}, T={sizes[1]}, d_model={sizes[2]}")
  print("in each pair: float32, then bfloat16")
  print(f"{'mixer':>16} {'':>8} {timing.pair_head()}")
  both = [product(*sizes, dtype) for dtype in ("float32", "bfloat16")]
  _print("a product", "", both, flags.repeats)
  for name in flags.mixers:
    for label in ("forward", "gradient"):
      _print(name, label, pair(name, flags, label), flags.repeats)


def _print(name, label, both, repeats):
  line = timing.pair(*timing.interleaved(both, repeats))
  print(f"{name:>16} {label:>8} {line}", flush=True)


if __name__ == "__main__":
  main()
