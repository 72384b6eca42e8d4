"""Programs of an engine that are compiled before anybody waits for them."""

from typing import Any

import jax

from jaxseq.adapt import batch
from jaxseq.generation import _pairs
from jaxseq.generation import prefix_cache
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import Request


def add_adapter(engine: Any, name: str, adapters: batch.Adapters) -> None:
  """Adds an adapter, as the engine's method of this name documents."""
  named = engine._named
  with named.changing:
    number = named.free(name)
    new = {number: adapters}
    variables = named.attached(engine._reader, engine._base, new)
    variables = jax.device_put(variables)
    # If the shapes are new, other rows continue meanwhile.
    base = engine._base
    if isinstance(engine._reader, _pairs.Both):
      base = base[0]
    cache = engine.cache and prefix_cache.PrefixCache(engine.cache.max_bytes)
    twin = type(engine)(
      *(engine.network, base, engine.config),
      cache=cache,
      **engine._options,
    )
    twin._variables = variables
    warm_up(twin)
    # Those in other places have the same numbers as before.
    engine._variables = variables
    named.put(number, name, adapters)


def warm_up(engine: Any) -> None:
  """Compiles the programs of requests; results are neither counted nor kept."""
  cache, counts = engine.cache, (engine.drawn, engine.read, engine.passes)
  if cache is not None:
    engine.cache = prefix_cache.PrefixCache(cache.max_bytes, least=1)
  # Each resumes after the one before, if that is cached, and has as many tokens
  # left: each power of two below a chunk, and then more than a chunk.
  lengths = [1]
  while lengths[-1] < engine.config.chunk:
    lengths.append(2 * lengths[-1])
  for length in (*lengths, lengths[-1] + engine.config.chunk + 1):
    engine.run([Request([0] * length, 1, count=2)])
  # Rare options run a separate program.
  biased = token_sampling.Sampling(logit_bias={0: 1.0})
  engine.run([Request([0], 1, sampling=biased, top_log_probs=1)])
  engine.score([engine.prepare(Request([0, 0], 1, top_log_probs=1))])
  engine.cache = cache
  engine.drawn, engine.read, engine.passes = counts
