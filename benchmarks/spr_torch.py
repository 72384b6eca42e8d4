"""An update of SPR at the size of Atari next to the same one in PyTorch.

  python -m benchmarks.spr_torch

Needs torch; `make test-interop` makes .venvs/interop, which has it. Batches of
32 stacks of four frames of 84x84 pixels, and latents predicted five steps
ahead: augmentation, noisy dueling C51 head, double Q-learning, transition model
with batch norm, momentum targets, two clipped groups of gradients, Adam (fused
in PyTorch), and the copies of target and momentum weights. PyTorch's side is
written as one would write it there, in its own layout of images. First both get
the same weights, batch, noise and augmentations, and it is checked that losses,
norms of gradients and priorities agree over some updates. Then updates that
draw for themselves are timed, in turns; the best of the runs is printed.
"""

import argparse
import functools
import time

import jax
import numpy as np
import torch

from benchmarks import spr_torch_agent
from benchmarks import timing
from jaxseq.rl.replay import frames
from jaxseq.spr import learner
from jaxseq.spr import update
from jaxseq.spr import variants

ACTIONS, BATCH, AHEAD = 6, 32, 5
DISCOUNT = 0.99**10
# Updates on one batch by which the two are compared.
COMPARED = 3


def tensor(x):
  return torch.tensor(np.array(x))


def images(x):
  """NHWC to PyTorch's NCHW."""
  return torch.tensor(np.moveaxis(np.asarray(x), -1, -3).copy())


def channels_first(x):
  """Reorders a last axis of flattened latents from HWC to CHW."""
  x = np.asarray(x)
  channels, height, width = spr_torch_agent.LATENT
  x = np.moveaxis(x.reshape(*x.shape[:-1], height, width, channels), -1, -3)
  return x.reshape(*x.shape[:-3], -1)


def noise_theirs(noise):
  return {
    name: (
      tensor(channels_first(x.inputs) if name.endswith("hidden") else x.inputs),
      tensor(x.outputs),
    )
    for name, x in noise.items()
  }


def network_theirs(params):
  """The network with these parameters."""
  tensors = {
    "advantage_bias": params["head"]["advantage_bias"],
    "norm.weight": params["transition"]["norm"]["scale"],
    "norm.bias": params["transition"]["norm"]["bias"],
    "predictor.weight": params["predictor"]["w"].T,
    "predictor.bias": params["predictor"]["b"],
  }
  convs = {f"convs.{i}": params["encoder"][f"conv_{i}"] for i in range(3)}
  convs |= {
    name: params["transition"][name] for name in ("conv_in", "conv_out")
  }
  for name, layer in convs.items():
    tensors[f"{name}.weight"] = layer["w"].transpose(3, 2, 0, 1)
    tensors[f"{name}.bias"] = layer["b"]
  for name in spr_torch_agent.NOISY:
    for leaf, value in params["head"][name].items():
      value = np.asarray(value).T
      if leaf.startswith("w") and name.endswith("hidden"):
        value = channels_first(value)
      tensors[f"{name}.{leaf}"] = value
  network = spr_torch_agent.Network(ACTIONS)
  missing, unexpected = network.load_state_dict(
    {name: tensor(value) for name, value in tensors.items()}, strict=False
  )
  # Batch norm's running statistics, which nothing uses.
  assert not unexpected
  assert all(".running_" in x or ".num_batches" in x for x in missing), missing
  return network


def make_batch(seed):
  """Random frames, actions and rewards, for both."""
  rng = np.random.default_rng(seed)
  done = rng.random((BATCH, AHEAD + 1)) < 0.03
  batch = frames.Batch(
    observation=rng.integers(0, 256, (BATCH, AHEAD + 1, 84, 84, 4), np.uint8),
    next_observation=rng.integers(0, 256, (BATCH, 84, 84, 4), np.uint8),
    action=rng.integers(0, ACTIONS, (BATCH, AHEAD), np.int32),
    return_n=rng.normal(size=BATCH).astype(np.float32),
    discount=np.float32(DISCOUNT),
    done=done,
    done_n=done.any(axis=1),
    weight=rng.uniform(0.3, 1.0, BATCH).astype(np.float32),
  )
  theirs = {
    # PyTorch's agent has time first.
    "images": images(batch.observation.swapaxes(0, 1)),
    "next": images(batch.next_observation),
    "action": tensor(batch.action.T).long(),
    "return_n": tensor(batch.return_n),
    "discount": tensor(batch.discount),
    "done": tensor(batch.done.T),
    "done_n": tensor(batch.done_n),
    "weight": tensor(batch.weight),
  }
  return jax.device_put(batch), theirs


def check(config, state, batch, theirs):
  """Compares some updates; returns PyTorch's agent after them."""
  agent = spr_torch_agent.Agent(
    network_theirs(state.params), noise_theirs(state.target_noise)
  )
  ours = jax.jit(functools.partial(update.update, config))
  for i in range(COMPARED):
    draws = update.draw(jax.random.key(i), config, batch)
    augmentations = [
      [tensor(np.asarray(x).T).flatten() for x in branch]
      for branch in draws.augmentations
    ]
    augmentations = [[r.long(), c.long(), n] for r, c, n in augmentations]
    state, metrics = ours(state, batch, draws)
    want, priority = agent.update(
      theirs, noise_theirs(draws.noise), augmentations
    )
    differences = [
      np.max(np.abs(np.array(a) / b.numpy() - 1))
      for a, b in (
        (metrics[:3], want[:3]),
        (metrics[3:5], want[3:]),
        (metrics.priority, priority),
      )
    ]
    print(
      f"update {i + 1}: loss {want[0]:.4f}; relative differences of losses "
      "{:.0e}, norms {:.0e}, priorities {:.0e}".format(*differences)
    )
    # float32, summed in another order. Adam's first steps are as large for the
    # smallest gradients as for the largest: what is rounding in them moves
    # weights, and gradients more than losses.
    limits = (1e-4, 1e-3, 1e-4) if i == 0 else (5e-4, 2e-2, 5e-3)
    if np.any(np.array(differences) > limits):
      raise SystemExit(f"these should be below {limits}")
  return agent


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--updates", type=int, default=5)
  parser.add_argument("--repeats", type=int, default=5)
  flags = timing.parse_with_threads(parser, torch)
  config = variants.get("spr", ACTIONS).update
  state = jax.jit(functools.partial(learner.init, config=config))(
    jax.random.key(0)
  )
  batch, theirs = make_batch(0)
  print(
    f"torch {torch.__version__} with {torch.get_num_threads()} threads, jax "
    f"{jax.__version__}; batch {BATCH}, {AHEAD} predictions, float32"
  )
  agent = check(config, state, batch, theirs)
  start = time.perf_counter()
  step = (
    jax.jit(functools.partial(update.train_step, config), donate_argnums=0)
    .lower(state, batch, jax.random.key(0))
    .compile()
  )
  print(f"compile: {time.perf_counter() - start:.1f} s")
  keys = list(jax.random.split(jax.random.key(1), flags.updates))

  def run_ours():
    nonlocal state
    for key in keys:
      state, metrics = step(state, batch, key)
    jax.block_until_ready(metrics)

  def run_theirs():
    for _ in range(flags.updates):
      noise, augmentations = spr_torch_agent.draw(agent.network, theirs)
      _, priority = agent.update(theirs, noise, augmentations)
    priority.numpy()

  def clocks(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu

  runs = [
    [clocks(run_theirs), clocks(run_ours)] for _ in range(flags.repeats + 1)
  ]
  best = 1e3 * np.min(runs[1:], axis=0) / flags.updates
  for i, kind in enumerate(("wall", "CPU")):
    peer, own = best[0, i], best[1, i]
    print(
      f"{kind} ms per update: torch {peer:.0f}, jaxseq {own:.0f}, ratio "
      f"{peer / own:.2f}"
    )


if __name__ == "__main__":
  main()
