"""The delta rule in chunks, beside a tree of dense matrices.

  python -m benchmarks.delta
  python -m benchmarks.delta --times 4096 --widths 64 --heads 4

"gradient" is the forward pass and the gradient with respect to all arrays. The
tree (`benchmarks/naive.py`) holds a matrix dk x dk for each element, as memax
computes the same recurrence. The two take turns; the best of the runs is
printed. Where the tree would need more temporary memory than --memory_limit, it
is compiled and not run; where it takes longer than --time_limit, it runs once.
"""

import argparse

import jax
import jax.numpy as jnp

from benchmarks import naive
from benchmarks import timing
from jaxseq import recurrence


def problem(time, width, heads, channels):
  """Arguments of the rule: keys of length 1, rates and decays in (0, 1)."""
  shape = (heads, time, width)
  keys = jax.random.split(jax.random.key(0), 5)
  q, k, v = (jax.random.normal(key, shape) for key in keys[:3])
  k = k / jnp.linalg.norm(k, axis=-1, keepdims=True)
  beta = jax.nn.sigmoid(jax.random.normal(keys[3], (heads, time, 1)))
  decay = -jax.nn.softplus(
    jax.random.normal(keys[4], (heads, time, width if channels else 1))
  )
  return q, k, beta * v, beta * k, decay


def gradient(scan):
  def loss(*arguments):
    return jnp.sum(scan(*arguments)[0] ** 2)

  return jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--times", type=int, nargs="+", default=[512, 4096])
  parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
  parser.add_argument("--heads", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--memory_limit", type=float, default=8.0, help="GB")
  parser.add_argument("--time_limit", type=float, default=10.0, help="seconds")
  flags = parser.parse_args()
  print(timing.machine(), f"; {flags.heads} heads, float32", sep="")
  head = "T width decay pass wall,ms ratio temporary,MB ratio"
  print(" ".join(f"{word:>14}" for word in head.split()))
  for time in flags.times:
    for width in flags.widths:
      for channels in (False, True):
        arguments = problem(time, width, flags.heads, channels)
        for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
          new, old = timing.interleaved(
            [
              (wrap(recurrence.delta_scan), arguments),
              (wrap(naive.delta_scan), arguments),
            ],
            flags.repeats,
            memory_limit=flags.memory_limit * 1e9,
            time_limit=flags.time_limit,
          )
          kind = "channel" if channels else "head"
          row = [time, width, kind, label]
          for name, scale in (("wall", 1e3), ("temporary", 1e-6)):
            ours, theirs = getattr(new, name), getattr(old, name)
            if theirs is None:
              row += [f"- {scale * ours:.1f}", "-"]
            else:
              row.append(f"{scale * theirs:.1f} {scale * ours:.1f}")
              row.append(f"{theirs / ours:.1f}")
          print(" ".join(f"{word!s:>14}" for word in row), flush=True)
  print("in each pair: the tree, then jaxseq")


if __name__ == "__main__":
  main()
