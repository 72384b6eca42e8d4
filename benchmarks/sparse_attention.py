"""Costs of sparse attention and small caches: softmax mass, bits, bytes.

  python -m benchmarks.small_attention --workdir=DIR
  python -m benchmarks.sparse_attention --workdir=DIR
  python -m benchmarks.sparse_attention --workdir=DIR --only mass

Everything is measured on the two networks that `benchmarks.small_attention`
left in DIR, as they were trained: with attention to all. Bits per byte are
those of the second half of 256 bytes of the test part, bits per token those of
the last 48 of the 80 tokens to be copied. Tables:

  mass    share of dense softmax weights that each choice of 64 keys and the
          last 32 holds, of random queries and keys that resemble neighbors
  hip     HiP, beside the best and random blocks, and a window as large
  float   keys in block floating point, by three orders of their channels
"""

import argparse
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import small_attention
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import block_float
from jaxseq.recurrence.attention import hip

# Rows of the test part, and from where their bits count.
ROWS = 64
FIRST = {"bytes": 128, "copy": 112}


def seen_by(kind, search, scores, key):
  """Which keys are seen by a choice of blocks (rows, heads, time, keys).

  All choices have the same candidates, and see what is near.
  """
  rows, heads, time, _ = scores.shape
  begin, own = np.zeros((rows, time), np.int32), jnp.arange(time)
  scores = jnp.where(np.tri(time, dtype=bool), scores, -1e30)
  if kind == "hip":
    return hip.visible(search, scores, begin, begin, own)
  _, count = search.candidates(begin[0], begin[0], own)
  size = search.block
  blocks = jnp.arange(time // size)
  if kind == "random":
    worth = jax.random.uniform(key, (rows, heads, time, len(blocks)))
  else:
    weights = jax.nn.softmax(scores)[..., : len(blocks) * size]
    worth = weights.reshape(rows, heads, time, -1, size).sum(-1)
  worth = jnp.where(blocks < count[:, None], worth, -1)
  best = jax.lax.top_k(worth, search.keep)[1]
  kept = jnp.zeros(worth.shape, bool)
  kept = jnp.put_along_axis(kept, best, True, axis=-1, inplace=False)
  kept = jnp.repeat(kept & (blocks < count[:, None]), size, axis=-1)
  kept = jnp.pad(kept, ((0, 0),) * 3 + ((0, time - kept.shape[-1]),))
  index = jnp.arange(time)
  near = index >= (count * size)[:, None]
  return (kept | near) & (index <= own[:, None])


def masked(config, params, x, choose, rounded=lambda k: k):
  """Attention of one layer to what `choose(scores)` lets each query see."""

  def project(name):
    y = x @ params[f"W_{name}"]
    return y.reshape(*x.shape[:-1], config.heads, config.head_width)

  def turned(y):
    place = jnp.arange(x.shape[-2])[:, None]
    return positions.rotary(y, place, config.rotary_base)

  q, k, v = map(project, "qkv")
  q, k = turned(q), turned(rounded(k))
  scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
  seen = choose(scores)
  weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
  o = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
  return o.reshape(*x.shape[:-1], -1) @ params["W_o"]


def causal(scores):
  """Attention to all."""
  return jnp.tri(scores.shape[-1], dtype=bool)


@functools.partial(jax.jit, static_argnums=(3, 4))
def mean_bits(params, tokens, targets, mix, first):
  """Mean bits of the targets from `first` on; `mix` as in `network`."""
  found = small_attention.bits(
    small_attention.network(params, tokens, mix), targets
  )
  return jnp.mean(found[:, first:])


def problem(workdir, task):
  """Returns the parameters, tokens and targets of a task."""
  params, rng = small_attention.load(workdir, task), np.random.default_rng(1)
  if task == "copy":
    tokens, targets, _ = next(small_attention.batches(task, rng, ROWS))
    return params, tokens, targets
  data = small_attention.corpus()[1].astype(np.int32)
  firsts = np.linspace(0, len(data) - 258, ROWS).astype(int)
  rows = data[firsts[:, None] + np.arange(257)]
  return params, rows[:, :-1], rows[:, 1:]


def by_config(params, tokens, targets, first, **options):
  """Mean bits with other options of attention."""
  fields = {"heads": 2, "window": 256} | options
  config = attention.Config(small_attention.WIDTH, **fields)

  def mix(_, params, x):
    return attention.apply(config, params, x)[0]

  return float(mean_bits(params, tokens, targets, mix, first))


def mass(rows=4, time=1024, width=16, last=64):
  """Prints the softmax mass that choices of 64 keys and the last 32 hold."""
  search = {
    name: hip.Hip(64, 2, 32, representative=name)
    for name in ("center", "first")
  }
  arms = ["HiP, center", "HiP, first", "best blocks", "random blocks"]
  print("| keys' resemblance |", " | ".join(arms), "|")
  for rho in (0.0, 0.5, 0.9, 0.97):
    rng = np.random.default_rng(0)
    q, noise = rng.normal(size=(2, rows, 1, time, width)).astype("f")
    q = 2 * q  # Some keys count for much more than others.
    k = np.zeros_like(noise)
    for t in range(time):
      before = k[:, :, t - 1] if t else noise[:, :, 0]
      k[:, :, t] = rho * before + np.sqrt(1 - rho**2) * noise[:, :, t]
    scores = jnp.einsum("rhqd,rhkd->rhqk", q, k) / np.sqrt(width)
    dense = jax.nn.softmax(jnp.where(causal(scores), scores, -jnp.inf))
    found = []
    for kind, name in (
      ("hip", "center"),
      ("hip", "first"),
      ("best", "center"),
      ("random", "center"),
    ):
      seen = jax.jit(seen_by, static_argnums=(0, 1))(
        kind, search[name], scores, jax.random.key(0)
      )
      held = jnp.where(seen, dense, 0).sum(-1)[..., -last:]
      found.append(f"{float(held.mean()):.2f}")
    print("|", rho, "|", " | ".join(found), "|", flush=True)


def hips(workdir, tasks):
  """Prints bits of HiP and of what it is to be compared with."""
  for task in tasks:
    first = FIRST[task]
    arguments = (*problem(workdir, task), first)
    print(f"{task}: dense {by_config(*arguments):.4f}")
    for keys in (16, 32, 64):
      base = {"select": "hip", "hip_keys": keys, "near": 16}
      found = {
        "center": by_config(*arguments, **base),
        "first": by_config(*arguments, **base, representative="first"),
      }
      for kind in ("best", "random"):
        search = hip.Hip(keys, 2, 16)

        def mix(i, params, x, kind=kind, search=search):
          choose = functools.partial(
            seen_by, kind, search, key=jax.random.key(i)
          )
          return masked(small_attention.CONFIG, params, x, choose)

        found[kind] = float(mean_bits(*arguments[:3], mix, first))
      found["window"] = by_config(*arguments, window=keys + 16)
      text = ", ".join(f"{name} {bits:.4f}" for name, bits in found.items())
      print(f"{task}, {keys} keys: {text}", flush=True)


def floats(workdir, tasks):
  """Prints bits with keys in block floating point, by three orders."""
  for task in tasks:
    first = FIRST[task]
    arguments = (*problem(workdir, task), first)
    print(f"{task}: float32 {by_config(*arguments):.4f}")
    for bits in (4, 3, 2):
      for block in (32, 8, 4):
        found = {}
        # A block of a whole head knows no order.
        for order in ("given", "norm")[: 1 if block == 32 else 2]:
          key_format = block_float.BlockFloat(bits, block, order)
          found[order] = by_config(*arguments, key_format=key_format)

        def mix(i, params, x, bits=bits, block=block):
          pairs = jax.random.permutation(jax.random.key(i), 16)
          order = jnp.stack([pairs, pairs + 16], axis=-1).ravel()

          def rounded(k):
            kept = block_float.quantize(k[..., order], bits, block)
            k = block_float.dequantize(*kept, bits)
            return k[..., jnp.argsort(order)]

          return masked(small_attention.CONFIG, params, x, causal, rounded)

        if block < 32:
          found["random"] = float(mean_bits(*arguments[:3], mix, first))
        text = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        width = f"{bits + 8 / block:.2f} bits a number"
        print(
          f"{task}, {bits} bits, blocks of {block}, {width}: {text}", flush=True
        )


def main():
  """Prints the tables."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  names = ("mass", "hip", "float")
  parser.add_argument("--only", nargs="+", choices=names, default=names)
  parser.add_argument("--tasks", nargs="+", default=list(FIRST))
  arguments = parser.parse_args()
  tables = {
    "mass": lambda _, __: mass(),
    "hip": hips,
    "float": floats,
  }
  for name, table in tables.items():
    if name in arguments.only:
      begin = time.process_time()
      table(arguments.workdir, arguments.tasks)
      used = time.process_time() - begin
      print(f"{name}: {used:.0f} s of CPU time", flush=True)


if __name__ == "__main__":
  main()
