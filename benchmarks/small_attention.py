"""Two small Transformers to try sparse attention and small caches on.

  python -m benchmarks.small_attention --workdir=DIR

One predicts the bytes of Python's standard library, 256 at a time; the other
copies: 80 random tokens of 32, then the same 80 again. Both have two layers of
width 64 with two heads of attention to all elements, rotary positions, and a
feed-forward layer of 256 units with a ReLU. Their parameters are left in DIR,
where `benchmarks.sparse_attention` finds them; what is there is kept.
"""

import argparse
import functools
import math
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import mixers
from jaxseq.data import text
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import attention

LAYERS, WIDTH, HIDDEN = 2, 64, 256
HALF, TOKENS = 80, 32
# Vocabulary, length of the inputs, updates, and the rate of learning.
TASKS = {
  "bytes": (256, 256, 2500, 3e-3),
  "copy": (TOKENS, 2 * HALF - 1, 1200, 1e-3),
}
CONFIG = attention.Config(WIDTH, heads=2, window=256)
normed = functools.partial(positions.rms_norm, eps=1e-6)


def init(key: jax.Array, vocabulary: int, config) -> dict:
  """Draws the parameters of a network with a mixer of that configuration."""
  module = mixers.module_of(config)
  keys = jax.random.split(key, 2 + LAYERS)

  def layer(key):
    key_mixer, key_up, key_down = jax.random.split(key, 3)
    lecun = jax.nn.initializers.lecun_normal()
    drawn = {
      "mixer": module.init(key_mixer, config),
      "up": lecun(key_up, (WIDTH, HIDDEN)),
      "down": lecun(key_down, (HIDDEN, WIDTH)),
    }
    # As large as PyTorch draws the matrices of linear layers.
    drawn = jax.tree.map(lambda x: x / math.sqrt(3), drawn)
    return drawn | {
      "norms": jnp.ones((2, WIDTH)),
      "up_bias": jnp.zeros((HIDDEN,)),
    }

  return {
    "embedding": jax.random.normal(keys[0], (vocabulary, WIDTH)),
    "layers": [layer(key) for key in keys[2:]],
    "norm": jnp.ones((WIDTH,)),
    "head": 0.02 * jax.random.normal(keys[1], (WIDTH, vocabulary)),
  }


def network(params, tokens, mix):
  """Returns logits (*batch, time, vocabulary).

  Args:
    params: from `init`.
    tokens: (*batch, time) int.
    mix: the mixer of layer i: `mix(i, params, x) -> y`.
  """
  x = params["embedding"][tokens]
  for i, layer in enumerate(params["layers"]):
    x = x + mix(i, layer["mixer"], normed(x, layer["norms"][0]))
    x = x + feedforward(layer, normed(x, layer["norms"][1]))
  return normed(x, params["norm"]) @ params["head"]


def feedforward(layer, x):
  """One hidden layer of rectified units."""
  return jax.nn.relu(x @ layer["up"] + layer["up_bias"]) @ layer["down"]


def losses(params, tokens, targets, config=CONFIG):
  """Bits per token (*batch, time), all at once."""
  module = mixers.module_of(config)

  def mix(_, params, x):
    return module.apply(config, params, x)[0]

  return bits(network(params, tokens, mix), targets)


def bits(logits, targets):
  """Bits (*batch, time) of the targets."""
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  return nats / jnp.log(2)


def corpus():
  """Training and test bytes, and the digest of the library's files."""
  splits = text.python_source()
  parts = (np.ravel(x.inputs) for x in (splits.train, splits.test))
  return *parts, splits.info.digest


def batches(task, rng, rows, data=None):
  """Draws inputs, targets (rows, time) and which targets count, for ever."""
  _, length, _, _ = TASKS[task]
  counts = np.ones((1, length), np.float32)
  if task == "copy":
    counts[:, : HALF - 1] = 0  # The first half cannot be known.
  while True:
    if task == "copy":
      half = rng.integers(TOKENS, size=(rows, HALF))
      whole = np.concatenate([half, half], axis=1)
    else:
      first = rng.integers(len(data) - length - 1, size=rows)
      whole = data[first[:, None] + np.arange(length + 1)].astype(np.int32)
    yield whole[:, :-1], whole[:, 1:], counts


def train(task, rows, seed=0, config=CONFIG, data=None, rate=None, steps=None):
  """Returns the parameters and the mean bits of the last steps."""
  vocabulary, _, own, usual = TASKS[task]
  steps, rate = steps or own, rate or usual
  params = jax.jit(init, static_argnums=(1, 2))(
    jax.random.key(seed), vocabulary, config
  )
  schedule = optax.warmup_cosine_decay_schedule(0, rate, 100, steps)
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01)
  )

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(params, state, tokens, targets, counts):
    def loss(params):
      found = losses(params, tokens, targets, config)
      return jnp.sum(found * counts) / (jnp.sum(counts) * len(tokens))

    value, grads = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  state, seen = optimizer.init(params), []
  stream = batches(task, np.random.default_rng(seed), rows, data)
  for step, batch in zip(range(steps), stream):
    params, state, value = update(params, state, *batch)
    if step % 100 == 99:
      seen.append(float(value))
      print(f"{task} {step + 1:5d} {seen[-1]:.4f}", flush=True)
  return params, float(np.mean(seen[-3:]))


def load(workdir, task):
  """Returns the parameters of a task, as `train` left them."""
  vocabulary, *_ = TASKS[task]
  like = jax.eval_shape(lambda: init(jax.random.key(0), vocabulary, CONFIG))
  with np.load(pathlib.Path(workdir) / f"{task}.npz") as stored:
    leaves = [stored[name] for name in sorted(stored.files)]
  return jax.tree.structure(like).unflatten(leaves)


def save(workdir, task, params):
  """Writes the parameters of a task."""
  leaves = jax.tree.leaves(params)
  arrays = {f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
  np.savez(pathlib.Path(workdir) / f"{task}.npz", **arrays)


def main():
  """Trains what is not there."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--rate", type=float, help="other than the task's")
  parser.add_argument("--updates", type=int, help="likewise")
  arguments = parser.parse_args()
  arguments.workdir.mkdir(parents=True, exist_ok=True)
  for task in arguments.tasks:
    if (arguments.workdir / f"{task}.npz").exists():
      continue
    begin = time.process_time()
    data = corpus()[0] if task == "bytes" else None
    params, last = train(
      task,
      16,
      seed=arguments.seed,
      data=data,
      rate=arguments.rate,
      steps=arguments.updates,
    )
    save(arguments.workdir, task, params)
    used = time.process_time() - begin
    print(f"{task}: {last:.4f} bits at the end, {used:.0f} s of CPU time")


if __name__ == "__main__":
  main()
