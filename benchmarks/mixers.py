"""Time and memory of every mixer, next to the usual form of its recurrence.

  python -m benchmarks.mixers
  python -m benchmarks.mixers --mixers mamba s5 --times 1024

"gradient" is the forward pass and the gradient with respect to parameters and
inputs. The usual form (`benchmarks/naive.py`) is the same mixer with one
`associative_scan` over all states, a plain `lax.scan` (gated networks) or the
scores of all pairs (attention); a test checks that both agree. The two take
turns; the best of the runs is printed, by the clock and in CPU time. Where the
usual form would need more temporary memory than --memory_limit, it is compiled
and not run; where it takes longer than --time_limit, it is run once. With
`--beside steps` the other form is one `step` after the other, in a `lax.scan`,
which every mixer has.
"""

import argparse
import functools

import jax
import jax.numpy as jnp

from benchmarks import naive
from benchmarks import timing
from jaxseq import mixers


def problem(name, time, rows, d_model):
  """Returns a mixer's `apply`, and parameters and inputs for it."""
  module, config = mixers.get(name), _config(name, time, d_model)
  params = jax.jit(module.init, static_argnums=1)(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (rows, time, d_model))
  return functools.partial(module.apply, config), (params, x)


def _config(name, time, d_model):
  options = {"window": time} if name in ("attention", "fox") else {}
  return mixers.make_config(name, d_model=d_model, **options)


def by_steps(name, time, d_model):
  """Returns a function like a mixer's `apply` of one `step` after the other."""
  module, config = mixers.get(name), _config(name, time, d_model)

  def run(params, x):
    def one(state, x):
      y, state = module.step(config, params, x, state)
      return state, y

    state = mixers.fresh_state(config, x.shape[:1], params=params)
    state, y = jax.lax.scan(one, state, jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(y, 0, 1), state

  return run


def forward(apply):
  return lambda params, x: apply(params, x)[0]


def gradient(apply):
  def loss(params, x):
    y, _ = apply(params, x)
    return jnp.sum(y**2)

  return jax.value_and_grad(loss, argnums=(0, 1))


def usual(function):
  """The function, traced with the recurrences of `naive`."""

  def traced(*arguments):
    with naive.recurrences():
      return function(*arguments)

  return traced


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--mixers", nargs="+", default=mixers.names())
  parser.add_argument(
    "--times", type=int, nargs="+", default=[1024, 4096, 16384]
  )
  parser.add_argument("--beside", choices=["usual", "steps"], default="usual")
  parser.add_argument("--rows", type=int, default=2)
  parser.add_argument("--d_model", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--memory_limit", type=float, default=8.0, help="GB")
  parser.add_argument("--time_limit", type=float, default=10.0, help="seconds")
  flags = parser.parse_args()
  print(
    timing.machine(),
    f"; B={flags.rows}, d_model={flags.d_model}, float32",
    sep="",
  )
  print(
    f"{'mixer':>16} {'T':>6} {'':>8} {'wall ms':>19} {'ratio':>6} "
    f"{'CPU ms':>19} {'ratio':>6} {'temporary MB':>17} {'ratio':>6} "
    f"{'compile s':>11}"
  )
  for name in flags.mixers:
    for time in flags.times:
      apply, arguments = problem(name, time, flags.rows, flags.d_model)
      steps = by_steps(name, time, flags.d_model)
      for label, wrap in (("forward", forward), ("gradient", gradient)):
        other = wrap(steps)
        if flags.beside == "usual":
          other = usual(wrap(apply))
        pair = [(wrap(apply), arguments), (other, arguments)]
        new, old = timing.interleaved(
          pair,
          flags.repeats,
          memory_limit=flags.memory_limit * 1e9,
          time_limit=flags.time_limit,
        )
        print(f"{name:>16} {time:>6} {label:>8} {_row(new, old)}", flush=True)
  forms = {"usual": "the usual form", "steps": "plain steps"}
  print(f"in each pair: {forms[flags.beside]}, then jaxseq")


def _row(new, old):
  def pair(attribute, scale, digits, width):
    a, b = getattr(new, attribute), getattr(old, attribute)
    if b is None:
      return f"{f'- {scale * a:.{digits}f}':>{width}} {'-':>6}"
    values = f"{scale * b:.{digits}f} {scale * a:.{digits}f}"
    return f"{values:>{width}} {b / a:6.1f}"

  compile_times = f"{old.compile:.1f} {new.compile:.1f}"
  return (
    f"{pair('wall', 1e3, 1, 19)} {pair('cpu', 1e3, 1, 19)} "
    f"{pair('temporary', 1e-6, 1, 17)} {compile_times:>11}"
  )


if __name__ == "__main__":
  main()
