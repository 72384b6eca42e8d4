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
import copy
import functools
import time

import jax
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from jaxseq.spr import inputs
from jaxseq.spr import update as update_lib
from jaxseq.spr import variants

ACTIONS, BATCH, AHEAD = 6, 32, 5
HIDDEN, ATOMS, LOW, HIGH = 256, 51, -10.0, 10.0
LATENT = (7, 7, 64)
PAD, INTENSITY, EPSILON = 4, 0.05, 1e-5
DISCOUNT = 0.99**10
SPR_WEIGHT, MAX_NORM = 5.0, 10.0
# Updates on one batch by which the two are compared.
COMPARED = 3
NOISY = ("value_hidden", "value_out", "advantage_hidden", "advantage_out")


class Noisy(nn.Module):
  """A dense layer whose weights carry factorised noise."""

  def __init__(self, size_in, size_out):
    super().__init__()
    self.w = nn.Parameter(torch.empty(size_out, size_in))
    self.w_sigma = nn.Parameter(torch.empty(size_out, size_in))
    self.b = nn.Parameter(torch.empty(size_out))
    self.b_sigma = nn.Parameter(torch.empty(size_out))

  def forward(self, x, noise=None):
    """Applies the layer, with noise (in,) and (out,) or without."""
    if noise is None:
      return F.linear(x, self.w, self.b)
    before, after = noise
    weight = self.w + self.w_sigma * torch.outer(after, before)
    return F.linear(x, weight, self.b + self.b_sigma * after)


def renormalize(x):
  flat = x.flatten(1)
  low, high = flat.min(1, True)[0], flat.max(1, True)[0]
  return ((flat - low) / (high - low + EPSILON)).view_as(x)


class Network(nn.Module):
  """Encoder, head, transition model and predictor."""

  def __init__(self):
    super().__init__()
    self.convs = nn.ModuleList(
      [
        nn.Conv2d(4, 32, 8, stride=4),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.Conv2d(64, 64, 3),
      ]
    )
    features = int(np.prod(LATENT))
    self.value_hidden = Noisy(features, HIDDEN)
    self.value_out = Noisy(HIDDEN, ATOMS)
    self.advantage_hidden = Noisy(features, HIDDEN)
    self.advantage_out = Noisy(HIDDEN, ACTIONS * ATOMS)
    self.advantage_bias = nn.Parameter(torch.zeros(ATOMS))
    self.conv_in = nn.Conv2d(64 + ACTIONS, 64, 3, padding=1)
    self.norm = nn.BatchNorm2d(64)
    self.conv_out = nn.Conv2d(64, 64, 3, padding=1)
    self.predictor = nn.Linear(2 * HIDDEN, 2 * HIDDEN)

  def encode(self, x):
    """Maps images (n, 4, 84, 84) to latents (n, 64, 7, 7) in [0, 1]."""
    for conv in self.convs:
      x = F.relu(conv(x))
    return renormalize(x)

  def logits(self, latent, noise):
    """Returns (n, actions, atoms)."""
    x = latent.flatten(1)
    # The gradient that enters the latent is scaled.
    x = 2**-0.5 * x + (1 - 2**-0.5) * x.detach()
    value = F.relu(self.value_hidden(x, noise["value_hidden"]))
    value = self.value_out(value, noise["value_out"])
    y = F.relu(self.advantage_hidden(x, noise["advantage_hidden"]))
    y = self.advantage_out(y, noise["advantage_out"]).view(-1, ACTIONS, ATOMS)
    y = y + self.advantage_bias
    return value[:, None] + y - y.mean(1, keepdim=True)

  def project(self, latent):
    """Returns (n, 512), by the hidden layers without noise."""
    x = latent.flatten(1)
    return torch.cat([self.value_hidden(x), self.advantage_hidden(x)], 1)

  def transition(self, latent, action):
    """Returns the next latents of (n, 64, 7, 7) and (n,) actions."""
    planes = F.one_hot(action, ACTIONS).float()[:, :, None, None]
    planes = planes.expand(-1, -1, *latent.shape[2:])
    x = self.norm(F.relu(self.conv_in(torch.cat([latent, planes], 1))))
    return renormalize(F.relu(self.conv_out(x)))


def augment(images, draws):
  """Shifts stacks (n, 4, 84, 84) of bytes and scales their intensity."""
  row, column, normal = draws
  padded = F.pad(images.float(), (PAD,) * 4, mode="replicate")
  size = torch.arange(images.shape[-1])
  count = torch.arange(len(images))[:, None, None, None]
  rows = (row[:, None] + size)[:, None, :, None]
  columns = (column[:, None] + size)[:, None, None, :]
  shifted = padded[count, torch.arange(4)[None, :, None, None], rows, columns]
  factor = 1 + INTENSITY * normal.clamp(-2, 2)
  return shifted / 255 * factor[:, None, None, None]


def draw_augmentation(count):
  row, column = torch.randint(0, 2 * PAD + 1, (2, count))
  return row, column, torch.randn(count)


def draw_noise(network):
  def scaled(size):
    x = torch.randn(size)
    return x.sign() * x.abs().sqrt()

  return {
    name: tuple(map(scaled, reversed(getattr(network, name).w.shape)))
    for name in NOISY
  }


def draw(network):
  counts = (BATCH, AHEAD * BATCH, BATCH, BATCH)
  return draw_noise(network), [draw_augmentation(count) for count in counts]


def project_categorical(probs, reward, discount):
  """Distributes reward + discount * Z onto the atoms."""
  step = (HIGH - LOW) / (ATOMS - 1)
  atoms = torch.linspace(LOW, HIGH, ATOMS)
  moved = (reward[:, None] + discount[:, None] * atoms).clamp(LOW, HIGH)
  place = (moved - LOW) / step
  lower = place.floor().clamp(0, ATOMS - 2)
  share = (place - lower).clamp(0, 1)
  lower = lower.long()
  out = torch.zeros_like(probs)
  out.scatter_add_(1, lower, probs * (1 - share))
  return out.scatter_add_(1, lower + 1, probs * share)


class Agent:
  """Networks, optimiser and what target networks carry along."""

  def __init__(self, network, noise):
    self.network = network
    self.target = copy.deepcopy(network).requires_grad_(False)
    self.momentum = copy.deepcopy(network).requires_grad_(False)
    self.target_noise = noise
    network_parts = {"stem": [], "transition": [], "predictor": []}
    for name, parameter in network.named_parameters():
      part = name.split(".")[0]
      if part in ("conv_in", "norm", "conv_out"):
        part = "transition"
      network_parts[part if part in network_parts else "stem"].append(parameter)
    self.parts = network_parts
    self.optimizer = torch.optim.Adam(
      network.parameters(), lr=1e-4, eps=1.5e-4, fused=True
    )

  def losses(self, batch, noise, augmentations):
    """Returns the two losses and the priorities."""
    network, columns = self.network, torch.arange(BATCH)
    online, following, next_target, next_online = augmentations
    with torch.no_grad():
      seen = augment(batch["next"], next_target)
      probs = self.target.logits(self.target.encode(seen), self.target_noise)
      seen = augment(batch["next"], next_online)
      chooser = network.logits(network.encode(seen), noise).softmax(2)
      values = chooser @ torch.linspace(LOW, HIGH, ATOMS)
      probs = probs.softmax(2)[columns, values.argmax(1)]
      discount = DISCOUNT * (~batch["done_n"]).float()
      target = project_categorical(probs, batch["return_n"], discount)
      seen = augment(batch["images"][1:].flatten(0, 1), following)
      wanted = self.momentum.project(self.momentum.encode(seen))
      wanted = F.normalize(wanted, dim=1, eps=1e-3)
    latent = network.encode(augment(batch["images"][0], online))
    logits = network.logits(latent, noise)[columns, batch["action"][0]]
    log_probs = logits.log_softmax(1)
    cross_entropy = -(target * log_probs).sum(1)
    latents = []
    for action in batch["action"]:
      latent = network.transition(latent, action)
      latents.append(latent)
    predicted = network.predictor(network.project(torch.cat(latents)))
    predicted = F.normalize(predicted, dim=1, eps=1e-3)
    distance = (predicted - wanted).square().sum(1).view(AHEAD, BATCH)
    inside = batch["done"].cumsum(0)[1:] == 0
    spr = (distance * inside).mean(0)
    with torch.no_grad():
      bounded = target.clamp(1e-6, 1)
      priority = (bounded * (bounded.log() - log_probs)).sum(1)
    return cross_entropy, spr, priority.clamp(1e-6, 1e6)

  def update(self, batch, noise, augmentations):
    """Makes an update; returns what is logged, and the priorities."""
    cross_entropy, spr, priority = self.losses(batch, noise, augmentations)
    rl_loss = (batch["weight"] * cross_entropy).mean()
    spr_loss = (batch["weight"] * spr).mean()
    loss = rl_loss + SPR_WEIGHT * spr_loss
    self.optimizer.zero_grad()
    loss.backward()
    norms = [
      nn.utils.clip_grad_norm_(self.parts[part], MAX_NORM)
      for part in ("stem", "transition")
    ]
    own = list(self.network.parameters())
    with torch.no_grad():
      # The momentum copy is of the weights before the step.
      torch._foreach_copy_(list(self.momentum.parameters()), own)
    self.optimizer.step()
    with torch.no_grad():
      torch._foreach_copy_(list(self.target.parameters()), own)
    self.target_noise = noise
    logged = [x.detach() for x in (loss, rl_loss, spr_loss, *norms)]
    return torch.stack(logged), priority


def tensor(x):
  return torch.tensor(np.array(x))


def images(x):
  """NHWC to PyTorch's NCHW."""
  return torch.tensor(np.moveaxis(np.asarray(x), -1, -3).copy())


def channels_first(x):
  """Reorders a last axis of flattened latents from HWC to CHW."""
  x = np.asarray(x)
  x = np.moveaxis(x.reshape(*x.shape[:-1], *LATENT), -1, -3)
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
  for name in NOISY:
    for leaf, value in params["head"][name].items():
      value = np.asarray(value).T
      if leaf.startswith("w") and name.endswith("hidden"):
        value = channels_first(value)
      tensors[f"{name}.{leaf}"] = value
  network = Network()
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
  done = rng.random((AHEAD + 1, BATCH)) < 0.03
  batch = inputs.Batch(
    observation=rng.integers(0, 256, (AHEAD + 1, BATCH, 84, 84, 4), np.uint8),
    next_observation=rng.integers(0, 256, (BATCH, 84, 84, 4), np.uint8),
    action=rng.integers(0, ACTIONS, (AHEAD, BATCH), np.int32),
    return_n=rng.normal(size=BATCH).astype(np.float32),
    discount=np.float32(DISCOUNT),
    done=done,
    done_n=done.any(axis=0),
    weight=rng.uniform(0.3, 1.0, BATCH).astype(np.float32),
  )
  theirs = {
    "images": images(batch.observation),
    "next": images(batch.next_observation),
    "action": tensor(batch.action).long(),
    "return_n": tensor(batch.return_n),
    "done": tensor(batch.done),
    "done_n": tensor(batch.done_n),
    "weight": tensor(batch.weight),
  }
  return jax.device_put(batch), theirs


def check(config, state, batch, theirs):
  """Compares some updates; returns PyTorch's agent after them."""
  agent = Agent(network_theirs(state.params), noise_theirs(state.target_noise))
  ours = jax.jit(functools.partial(update_lib.update, config))
  for i in range(COMPARED):
    draws = update_lib.draw(jax.random.key(i), config, BATCH)
    augmentations = [
      [tensor(x).flatten() for x in branch] for branch in draws.augmentations
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
  parser.add_argument(
    "--threads", type=int, help="of torch; its choice if none"
  )
  flags = parser.parse_args()
  if flags.threads:
    torch.set_num_threads(flags.threads)
  config = variants.get("spr", ACTIONS).update
  state = jax.jit(functools.partial(update_lib.init, config=config))(
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
    jax.jit(functools.partial(update_lib.train_step, config), donate_argnums=0)
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
      noise, augmentations = draw(agent.network)
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
