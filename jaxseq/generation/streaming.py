"""Continuations of prompts, as streams of tokens and as whole texts."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import validate
from jaxseq.generation import _prompts
from jaxseq.generation import constraints
from jaxseq.generation import engine as engines
from jaxseq.generation import prefix_cache
from jaxseq.generation import texts
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import Event
from jaxseq.generation.requests import Request
from jaxseq.generation.requests import Tops
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork

# Maximum number of rows that `stream` continues at a time.
_SLOTS = 16


class Piece(NamedTuple):
  """A token of a row.

  Attributes:
    row: number of the prompt.
    continuation: number of the continuation.
    token: the drawn token.
    log_prob: its log probability by the network, whatever the options.
    text: the row's text that this token completes; empty without a codec.
    reason: why the row ends with this token: "stop" for a stop token or text,
      "match" if the constraint allows no more tokens, or "length"; None if it
      continues.
    tops: the most probable tokens there with their log probabilities, if
      requested.
  """

  row: int
  continuation: int
  token: int
  log_prob: float | None
  text: str
  reason: str | None
  tops: tuple[tuple[int, float], ...] = ()


class Completion(NamedTuple):
  """A whole continuation.

  Attributes:
    tokens: (n,) int32.
    log_probs: (n,), see `Piece`.
    text: without the stop text; empty without a codec.
    reason: as in `Piece`.
  """

  tokens: np.ndarray
  log_probs: np.ndarray
  text: str
  reason: str


def stream(
  network: TokenNetwork,
  variables: PyTree,
  prompts: Sequence[Any],
  length: int | Sequence[int],
  key: jax.Array | None = None,
  *,
  codec: texts.Codec | None = None,
  stop_texts: Sequence[str] = (),
  count: int = 1,
  seeds: Sequence[int] | None = None,
  sampling: token_sampling.Sampling | None = None,
  constraint: constraints.Constraint | None = None,
  cache: prefix_cache.PrefixCache | None = None,
  config: engines.EngineConfig | None = None,
  **options: Any,
) -> Iterator[Piece]:
  """Continues prompts and yields their tokens as they are drawn.

      for piece in stream(
        network, variables, ["In the"], 80, codec=Codec(), temperature=0.8
      ):
        print(piece.text, end="", flush=True)

  A row gets the tokens that `generate` gives with the same key and seed.

  Args:
    network: as in `generate`.
    variables: of the network.
    prompts: texts, if there is a codec, or int tokens (time,), of any lengths.
    length: maximum number of tokens of a continuation, or one number for each
      prompt.
    key: random key; that of 0 if None.
    codec: codec of texts; None if there are only tokens.
    stop_texts: texts each of which ends a row.
    count: number of continuations of each prompt, which is read once.
    seeds: seeds of the prompts; 0, 1, .. if None.
    sampling: how tokens are drawn.
    constraint: as in `generate`.
    cache: cache of prompt states.
    config: sizes of the compiled program; if None, as many slots as rows, at
      most 16, and one token at a time.
    **options: fields of `Sampling` instead of `sampling`.

  Yields:
    A piece for each token.

  Raises:
    ValueError: if a prompt or an option is wrong.
  """
  validate.integer("count", count, 1)
  sampling = _prompts.one_way(sampling, options)
  _prompts.check_sampling(sampling)
  for name, value in {"prompts": prompts, "stop_texts": stop_texts}.items():
    if isinstance(value, str | bytes):
      raise validate.error(name, value, f"a list of them, as [{value!r}]")
  validate.instance("codec", codec, texts.Codec | None, "Codec(), or None")
  if stop_texts and codec is None:
    raise validate.error("stop_texts", stop_texts, "none without a codec")
  if seeds is None:
    seeds = range(len(prompts))
  lengths = [length] * len(prompts) if np.ndim(length) == 0 else length
  for name, value in {"seeds": seeds, "length": lengths}.items():
    if len(value) != len(prompts):
      expected = f"{len(prompts)}, one for each prompt"
      raise validate.error(name, f"{len(value)} of them", expected)
  requests = [
    Request(
      encoded(prompt, codec), most, sampling=sampling, seed=seed, count=count
    )
    for prompt, most, seed in zip(prompts, lengths, seeds)
  ]
  if config is None:
    slots = max(1, min(_SLOTS, count * len(prompts)))
    config = engines.EngineConfig(slots=slots, steps=1)
  engine = engines.Engine(
    network, variables, config, key=key, constraint=constraint, cache=cache
  )
  return _pieces(engine, requests, codec, stop_texts)


def complete(
  network: TokenNetwork,
  variables: PyTree,
  prompts: Sequence[Any],
  length: int | Sequence[int],
  key: jax.Array | None = None,
  *,
  callback: Callable[[Piece], object] | None = None,
  **options: Any,
) -> list[list[Completion]]:
  """Continues prompts to their ends.

  Args:
    network: as in `generate`.
    variables: of the network.
    prompts: as in `stream`.
    length: as in `stream`.
    key: as in `stream`.
    callback: function that is called with each piece; or None.
    **options: options of `stream`. Without `config` its sizes are those of
      `EngineConfig`, which draws several tokens at a time.

  Returns:
    The continuations of each prompt.

  Raises:
    ValueError: as in `stream`.
  """
  if callback is not None and not callable(callback):
    expected = "a function of a piece"
    raise validate.error("callback", type(callback).__name__, expected)
  rows: list[list[list[Piece]]] = [
    [[] for _ in range(options.get("count", 1))] for _ in prompts
  ]
  options.setdefault("config", engines.EngineConfig())
  for piece in stream(network, variables, prompts, length, key, **options):
    rows[piece.row][piece.continuation].append(piece)
    if callback is not None:
      callback(piece)
  return [[join(pieces) for pieces in row] for row in rows]


def encoded(prompt: object, codec: texts.Codec | None) -> np.ndarray:
  """Returns a prompt's tokens, (time,).

  Raises:
    ValueError: if it is a text and there is no codec.
  """
  if not isinstance(prompt, str):
    return np.asarray(prompt)
  if codec is None:
    raise validate.error("prompt", prompt, "tokens, for there is no codec")
  return codec.encode(prompt)


def pieces_of(
  event: Event, row: int, text: texts.TextStream | None
) -> list[Piece]:
  """Returns the pieces of an event, up to a text that ends the row.

  Args:
    event: event of a row.
    row: name of the row.
    text: text of the row so far, to which tokens are added. None without texts.

  Returns:
    Pieces; the last has a reason if the row ends, by the event's own or by a
    text.
  """
  pieces = []
  for i, token in enumerate(event.tokens):
    last = i == len(event.tokens) - 1
    reason = event.reason if last else None
    written = ""
    if text is not None:
      stops = reason == "stop"
      # A stop token ends the text and is not a part of it.
      written = "" if stops else text.push(token)
      if reason and not text.stopped:
        written += text.finish()
      if text.stopped:
        reason = "stop"
    log_prob = float(event.log_probs[i])
    drawn = int(token), log_prob, written, reason, pairs_of(event.tops, i)
    pieces.append(Piece(row, event.continuation, *drawn))
    if reason:
      break
  return pieces


def pairs_of(tops: Tops | None, place: int) -> tuple[tuple[int, float], ...]:
  """Returns the most probable tokens of a place, with log probabilities."""
  if tops is None:
    return ()
  tokens, log_probs = (leaf[place].tolist() for leaf in tops)
  return tuple(zip(tokens, log_probs))


def join(pieces: Sequence[Piece]) -> Completion:
  """Joins the pieces of a row."""
  return Completion(
    np.array([piece.token for piece in pieces], np.int32),
    np.array([piece.log_prob for piece in pieces]),
    "".join(piece.text for piece in pieces),
    pieces[-1].reason,
  )


def _pieces(engine, requests, codec, stop_texts):
  """Runs an engine until all rows have ended, or the generator is closed."""
  rows = {engine.submit(request): i for i, request in enumerate(requests)}
  streams = {}
  if codec is not None:
    streams = {
      (number, i): texts.TextStream(codec, stop_texts, requests[row].prompt)
      for number, row in rows.items()
      for i in range(requests[row].count)
    }
  while engine.busy:
    for event in engine.advance():
      text = streams.get((event.request, event.continuation))
      pieces = pieces_of(event, rows[event.request], text)
      if pieces[-1].reason and not event.reason:
        engine.cancel(event.request, event.continuation)
      yield from pieces
