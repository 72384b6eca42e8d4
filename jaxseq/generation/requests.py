"""Requests of an engine, and events with their tokens."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.generation import _prompts
from jaxseq.generation import token_sampling

# Maximum number of most probable tokens of a place.
MOST_TOPS = 20


@dataclasses.dataclass(frozen=True)
class Request:
  """A prompt to continue.

  Attributes:
    prompt: int tokens, at least one.
    length: maximum number of tokens of a continuation.
    sampling: how tokens are drawn.
    seed: seed of the random draws; see `offline.generate`.
    count: number of continuations, which share the state after the prompt.
    pattern: regular expression that the continuations match, see
      `automaton.compile_pattern`; for engines with `patterns`.
    adapter: name of the engine's adapter to use for the request; None for the
      base network.
    top_log_probs: number of most probable tokens, up to 20, whose log
      probabilities events have beside those of the drawn ones.
  """

  prompt: Any
  length: int
  _: dataclasses.KW_ONLY
  sampling: token_sampling.Sampling = token_sampling.Sampling()
  seed: int = 0
  count: int = 1
  pattern: str | bytes | None = None
  adapter: str | None = None
  top_log_probs: int = 0

  def __post_init__(self):
    validate.fields(self, positive=("length", "count"))
    # Lengths are counted in 32 bits.
    validate.integer("length", self.length, high=2**31 - 1)
    validate.integer("seed", self.seed)
    validate.integer("top_log_probs", self.top_log_probs, 0, MOST_TOPS)
    kinds = str | bytes | None
    validate.instance("pattern", self.pattern, kinds, "str, bytes or None")
    validate.instance("adapter", self.adapter, str | None, "a name, or None")
    _prompts.check_sampling(self.sampling)
    _prompts.check_no_text(self.prompt)
    prompt = np.asarray(self.prompt)
    if prompt.ndim != 1 or not len(prompt):
      shape = f"shape {prompt.shape}"
      raise validate.error("prompt", shape, "(time,), at least one token")
    if not np.issubdtype(prompt.dtype, np.integer):
      shape = f"dtype {prompt.dtype}"
      raise validate.error("prompt", shape, "integer tokens")


class Tops(NamedTuple):
  """The most probable tokens of each place, most probable first.

  Attributes:
    tokens: (*places, k) int32, fewer than requested if there are no more.
    log_probs: (*places, k), by the network, whatever the options.
  """

  tokens: Any
  log_probs: Any


class Event(NamedTuple):
  """Tokens of a row since its last event.

  Attributes:
    request: number of the request, from `Engine.submit`.
    continuation: number of the continuation.
    tokens: (n,) int32, at least one.
    log_probs: (n,), by the network, whatever the options.
    reason: why the row has ended: "stop" for a stop token, which is the last of
      the tokens, "match" if the constraint allows no more tokens, or "length";
      None if it continues.
    tops: most probable tokens of the places; None if not requested.
  """

  request: int
  continuation: int
  tokens: np.ndarray
  log_probs: np.ndarray
  reason: Literal["stop", "match", "length"] | None
  tops: Tops | None = None


class Result(NamedTuple):
  """A whole continuation.

  Attributes:
    tokens: (n,) int32.
    log_probs: (n,).
    reason: as in `Event`.
    tops: as in `Event`.
  """

  tokens: np.ndarray
  log_probs: np.ndarray
  reason: str
  tops: Tops | None = None


def join(events: Sequence[Event]) -> Result:
  """Joins the events of one row."""
  tops = None
  if events[-1].tops is not None:
    parts = zip(*(event.tops for event in events))
    tops = Tops(*map(np.concatenate, parts))
  return Result(
    np.concatenate([event.tokens for event in events]),
    np.concatenate([event.log_probs for event in events]),
    events[-1].reason,
    tops,
  )
