"""The flags of texts that a language model is to continue."""

import functools
from typing import NamedTuple

from absl import flags

flags.disclaim_key_flags()


class Options(NamedTuple):
  """The values of the flags; "" and None where they say nothing."""

  prompt: str
  length: int
  temperature: float
  top_k: int | None
  top_p: float | None
  seed: int


@functools.cache
def define() -> tuple[flags.FlagHolder, ...]:
  """Defines the flags; returns their holders, in the order of `Options`."""
  return (
    flags.DEFINE_string("prompt", "", "text to continue"),
    flags.DEFINE_integer("length", 400, "bytes to generate", lower_bound=1),
    flags.DEFINE_float(
      "temperature", 0.8, "of sampling; 0 is greedy", lower_bound=0.0
    ),
    flags.DEFINE_integer(
      "top_k",
      None,
      "only the k most probable bytes are drawn; at most 256, or the number of "
      "a tokenizer's tokens",
      lower_bound=1,
    ),
    flags.DEFINE_float(
      "top_p",
      None,
      "only the most probable bytes that sum to p are drawn; above 0, at most "
      "1",
    ),
    flags.DEFINE_integer("seed", 0, "seed of the sampling"),
  )


def values() -> Options:
  """Returns what the flags say."""
  return Options(*(holder.value for holder in define()))
