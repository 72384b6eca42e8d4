"""Flags for texts that a language model continues."""

import functools
from typing import Any

from absl import flags

flags.disclaim_key_flags()


@functools.cache
def define() -> dict[str, flags.FlagHolder]:
  """Defines the flags; returns their holders, by name."""
  holders = (
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
  return {holder.name: holder for holder in holders}


def values() -> dict[str, Any]:
  """Returns the values of the flags, by name; "" or None if not set."""
  return {name: holder.value for name, holder in define().items()}
