r"""Thin keys of prompts (ThinK): memory, time of a step, and nats a byte.

  python -m experiments.language_model --workdir=DIR \
    --config=configs/language_model/kjv.py:attention
  python -m benchmarks.thin_keys DIR/attention/model.safetensors

A model of bytes reads prompts from the test text of the King James Bible, its
keys lose channels, and it predicts the bytes that follow, which it is given one
by one. For each share of channels that stay: bytes of the states of a row;
milliseconds of a step of all rows, best of several, in turns; nats a byte; and
nats where other channels leave the cache: by the norms of keys alone, and at
random.
"""

import argparse
import functools
import time

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
import jaxseq
from jaxseq import data
from jaxseq import generation
from jaxseq.mixers.keys_and_values import thin_keys
from jaxseq.tasks import language

SHARES = (1.0, 0.8, 0.6, 0.5)


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("model", help="file of a model of bytes")
  parser.add_argument("--prompts", type=int, default=64)
  parser.add_argument("--before", type=int, default=512, help="bytes of each")
  parser.add_argument("--length", type=int, default=128, help="bytes after it")
  parser.add_argument("--whole_keys", type=int, default=64)
  parser.add_argument("--timed", type=int, default=7, help="times of each step")
  parser.add_argument("--seed", type=int, default=0)
  return parser.parse_args()


def texts(flags) -> tuple[np.ndarray, np.ndarray]:
  """Returns prompts of the test text, and the bytes that follow them."""
  text = language.from_splits(data.load("kjv")).test.tokens
  size = flags.before + flags.length
  starts = np.linspace(0, len(text) - size, flags.prompts).astype(int)
  rows = np.stack([text[start : start + size] for start in starts])
  return np.split(rows.astype(np.int32), [flags.before], axis=1)


def other_queries(states, order: str):
  """Returns states before thinning that thin by another order of channels."""

  def leaf(state):
    if not isinstance(state, thin_keys.Observed):
      return state
    squares = jnp.ones_like(state.squares)
    if order == "random":
      draws = jax.random.uniform(jax.random.key(0), squares.shape[-2:])
      # Powers that no sum of squares of keys outweighs.
      squares = squares * jnp.exp(60 * draws)
    return thin_keys.Observed(state.window, squares, state.config)

  return jax.tree.map(leaf, states, is_leaf=thin_keys.is_state)


def main():
  flags = _parse()
  model = jaxseq.load(flags.model)
  network, variables = model.network, jax.device_put(model.variables)
  prompts, following = texts(flags)
  rows = len(prompts)

  @jax.jit
  def scored(prefix):
    """Nats a byte of what follows, each byte given after its prediction."""

    def one(carry, token):
      logits, states = carry
      logs = jax.nn.log_softmax(logits)
      loss = -jnp.take_along_axis(logs, token[:, None], axis=1)
      after = network.apply(variables, token, states, method="step")
      return after, jnp.mean(loss)

    carry = prefix.logits, prefix.states
    return jnp.mean(lax.scan(one, carry, following.T)[1])

  @functools.partial(jax.jit, donate_argnums=1)
  def step(tokens, states):
    return network.apply(variables, tokens, states, method="step")

  config = generation.EngineConfig
  arms, nats, others = {}, {}, {}
  for share in SHARES:
    sizes = {"key_channels": share, "whole_keys": flags.whole_keys}
    read = functools.partial(
      generation.read_prefix, network, variables, prompts
    )
    arms[share] = read(**sizes)
    nats[share] = float(scored(arms[share]))
    thinning = config(**sizes).thinning
    if thinning is None:
      continue
    # States before the keys are thinned, as an engine's lines hold them.
    fresh = network.initial_state((rows,), jnp.float32, variables)
    observed = thinning.observed(network, variables, fresh)
    _, observed = jax.jit(network.apply)(variables, prompts, observed)
    for order in ("norm", "random"):
      states = thinning.thin(other_queries(observed, order))
      others[share, order] = float(scored(arms[share]._replace(states=states)))
  best = dict.fromkeys(SHARES, np.inf)
  token = jnp.asarray(following[:, 0])
  copies = {
    share: jax.tree.map(jnp.array, arm.states) for share, arm in arms.items()
  }
  for turn in range(flags.timed + 1):
    for share in SHARES:
      begin = time.perf_counter()
      for _ in range(8):
        logits, copies[share] = step(token, copies[share])
      jax.block_until_ready(logits)
      if turn:
        seconds = (time.perf_counter() - begin) / 8
        best[share] = min(best[share], seconds)
  print(timing.machine())
  print("channels | bytes of a row | ms a step | nats | key norm | random")
  for share in SHARES:
    leaves = jax.tree.leaves(arms[share].states)
    size = sum(leaf.nbytes for leaf in leaves) // rows
    cells = [f"{share}", f"{size:,}", f"{1000 * best[share]:.2f}"]
    cells.append(f"{nats[share]:.4f}")
    for order in ("norm", "random"):
      found = others.get((share, order))
      cells.append("" if found is None else f"{found:.4f}")
    print(" | ".join(cells), flush=True)


if __name__ == "__main__":
  main()
