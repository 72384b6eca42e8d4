"""Chats that share rows beside chats with a row each: loss, tokens a second.

  NPROC=1 python -m benchmarks.packed_chats
  python -m benchmarks.packed_chats --networks gru --length 512

The gradient of adapters on the answers of the same chats, of mixed lengths:
once in rows that they share, each read from a fresh state (see
`tasks.adaptation.instruction`), and once in a row each that is filled up.
Printed are the rows, the share of their elements that are chats', the loss, and
the tokens of chats that a second of the processor reads, the best of some
turns. Networks are not trained, and tokens are random.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.data import chats
from jaxseq.tasks import adaptation
from jaxseq.tasks import losses
from jaxseq.tasks.adaptation import chat_adaptation

_MIXERS = {
  "gru": ("gru",),
  "mamba2": ("mamba2",),
  "attention": ("attention",),
  "hybrid": ("gated_deltanet", "attention"),
}
_VOCAB = 256


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--networks", nargs="+", default=[*_MIXERS])
  parser.add_argument("--chats", type=int, default=64)
  parser.add_argument("--median", type=int, default=48, help="of their tokens")
  parser.add_argument("--length", type=int, default=256, help="of a row")
  parser.add_argument("--width", type=int, default=64, help="d_model")
  parser.add_argument("--repeats", type=int, default=3)
  return parser.parse_args()


def examples(count: int, median: int, length: int) -> list[chats.Example]:
  """Returns random chats, whose second halves are answers.

  Args:
    count: how many.
    median: of their tokens, whose logarithms have a deviation of 0.8.
    length: the most tokens of one.
  """
  generator = np.random.default_rng(0)
  sizes = median * np.exp(generator.normal(0, 0.8, count))
  return [
    chats.Example(
      "",
      generator.integers(1, _VOCAB, size, np.int32),
      np.arange(size) >= size // 2,
    )
    for size in np.clip(sizes, 4, length).astype(int)
  ]


def graded(name: str, width: int):
  """Returns the loss of adapters and its gradient, and their arguments."""
  stack = nn.StackConfig.alternating(
    *_MIXERS[name], d_model=width, num_layers=2, norm="rms"
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), _VOCAB, _VOCAB)
  tokens = jnp.zeros((1, 2), jnp.int32)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  arm = adaptation.ArmConfig(network.config)
  method = adaptation.make_method(arm, adaptation.Base(network, variables))
  adapters = method.init(jax.random.key(1), variables)
  adapters = jax.tree.map(lambda x: x + 0.01, adapters)

  def loss(adapters, variables, rows):
    attached = lora.attach(variables, adapters)
    logits, _ = network.apply(attached, rows.tokens, None, rows.reset)
    return losses.weighted_cross_entropy(logits, rows.targets, rows.weight)

  return jax.value_and_grad(loss), (adapters, variables)


def compare(name: str, flags: argparse.Namespace) -> list[dict[str, float]]:
  """Returns the numbers of shared rows, and of a row for each chat."""
  asked = examples(flags.chats, flags.median, flags.length)
  total = sum(len(each.tokens) for each in asked)
  function, arguments = graded(name, flags.width)
  ways = [
    jax.tree.map(
      jnp.asarray,
      chat_adaptation.rows(asked, flags.length, together=together),
    )
    for together in (True, False)
  ]
  measured = timing.interleaved(
    [(function, (*arguments, rows)) for rows in ways], flags.repeats
  )
  run = jax.jit(function)
  return [
    {
      "rows": len(rows.tokens),
      "filled": total / rows.tokens.size,
      "loss": float(run(*arguments, rows)[0]),
      "rate": total / each.cpu,
    }
    for rows, each in zip(ways, measured)
  ]


def main():
  """Compares both ways for every network that is asked for."""
  flags = _parse()
  print(timing.machine())
  print("| network | rows | rows | filled | loss | tokens a CPU second |")
  print("| --- | --- | --- | --- | --- | --- |")
  for name in flags.networks:
    for way, numbers in zip(("shared", "own"), compare(name, flags)):
      print(
        f"| {name} | {way} | {numbers['rows']} | {numbers['filled']:.0%} | "
        f"{numbers['loss']:.5f} | {numbers['rate']:.0f} |",
        flush=True,
      )


if __name__ == "__main__":
  main()
