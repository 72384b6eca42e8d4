"""One prompt with many continuations: its states shared, or read each time.

  python -m benchmarks.prefix_reuse
  python -m benchmarks.prefix_reuse --mixers s5 attention --prompt 4096

Prints for each mixer the seconds of `generation.generate` with the prompt in
each row, those of `read_prefix` and `continue_prefix` together, and their
ratio. The tokens of both are compared: with temperature 0 they are the same.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq import generation
from jaxseq import nn


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--mixers",
    nargs="+",
    default=["attention", "gated_deltanet", "gru", "mamba2", "s5"],
  )
  parser.add_argument("--prompt", type=int, default=1024, help="its tokens")
  parser.add_argument("--length", type=int, default=32, help="tokens to draw")
  parser.add_argument("--count", type=int, default=16, help="continuations")
  parser.add_argument("--width", type=int, default=64, help="d_model")
  return parser.parse_args()


def _compare(name, flags):
  """Times the two ways for a network with a mixer."""
  config = nn.NetworkConfig(
    nn.StackConfig(name, d_model=flags.width, num_layers=2)
  )
  network = nn.SequenceNetwork(config, 256, 256)
  prompt = jax.random.randint(jax.random.key(0), (flags.prompt,), 0, 256)
  variables = jax.jit(network.init)(jax.random.key(1), prompt[None, :4])
  arguments = flags.length, jax.random.key(2)

  def each(variables, prompt):
    rows = jnp.broadcast_to(prompt, (flags.count, flags.prompt))
    return generation.generate(
      network, variables, rows, *arguments, temperature=0
    )[0]

  def shared(variables, prompt):
    prefix = generation.read_prefix(network, variables, prompt)
    return generation.continue_prefix(
      network,
      variables,
      prefix,
      *arguments,
      count=flags.count,
      temperature=0,
    )[0]

  same = np.array_equal(each(variables, prompt), shared(variables, prompt))
  if not same:
    raise SystemExit(f"{name}: the two ways generate different tokens")
  return timing.interleaved(
    [(each, (variables, prompt)), (shared, (variables, prompt))]
  )


def main():
  flags = _parse()
  print(timing.machine())
  print(f"{'mixer':<16} {'each s':>9} {'shared s':>9} {'ratio':>6}")
  for name in flags.mixers:
    each, shared = (one.wall for one in _compare(name, flags))
    print(f"{name:<16} {each:9.3f} {shared:9.3f} {each / shared:6.1f}")


if __name__ == "__main__":
  main()
