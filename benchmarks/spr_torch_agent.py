"""SPR's agent in PyTorch, as one would write it there.

Images are bytes, NCHW. A batch is a dict of tensors, time first: "images"
s_t .. s_{t+K}, "next" s_{t+n}, "action" and "done" taken and seen from t on,
"return_n", "discount" (gamma^n), "done_n", and "weight", whose dtype everything
is computed in. `tests/interop/spr_update_test.py` holds it to golden updates of
SPR's own code.
"""

import copy
import math

import torch
from torch import nn
import torch.nn.functional as F

LATENT = (64, 7, 7)
ATOMS, LOW, HIGH = 51, -10.0, 10.0
PAD, INTENSITY = 4, 0.05
SPR_WEIGHT, MAX_NORM = 5.0, 10.0
NOISY = ("value_hidden", "value_out", "advantage_hidden", "advantage_out")


class Noisy(nn.Module):
  """A dense layer whose weights carry factorized noise."""

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


class Network(nn.Module):
  """Encoder, head, transition model and predictor.

  `hidden` is the width of the two streams of the head; `epsilon` is added to
  the range of a latent that is renormalized.
  """

  def __init__(self, actions, hidden=256, epsilon=1e-5):
    super().__init__()
    self.actions, self.epsilon = actions, epsilon
    self.convs = nn.ModuleList(
      [
        nn.Conv2d(4, 32, 8, stride=4),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.Conv2d(64, 64, 3),
      ]
    )
    features = math.prod(LATENT)
    self.value_hidden = Noisy(features, hidden)
    self.value_out = Noisy(hidden, ATOMS)
    self.advantage_hidden = Noisy(features, hidden)
    self.advantage_out = Noisy(hidden, actions * ATOMS)
    self.advantage_bias = nn.Parameter(torch.zeros(ATOMS))
    self.conv_in = nn.Conv2d(64 + actions, 64, 3, padding=1)
    self.norm = nn.BatchNorm2d(64)
    self.conv_out = nn.Conv2d(64, 64, 3, padding=1)
    self.predictor = nn.Linear(2 * hidden, 2 * hidden)

  def renormalize(self, x):
    """Moves each latent to [0, 1]."""
    flat = x.flatten(1)
    low, high = flat.min(1, True)[0], flat.max(1, True)[0]
    return ((flat - low) / (high - low + self.epsilon)).view_as(x)

  def encode(self, x):
    """Maps images (n, 4, 84, 84) to latents (n, 64, 7, 7) in [0, 1]."""
    for conv in self.convs:
      x = F.relu(conv(x))
    return self.renormalize(x)

  def logits(self, latent, noise):
    """Returns (n, actions, atoms)."""
    x = latent.flatten(1)
    # The gradient that enters the latent is scaled.
    x = 2**-0.5 * x + (1 - 2**-0.5) * x.detach()
    value = F.relu(self.value_hidden(x, noise["value_hidden"]))
    value = self.value_out(value, noise["value_out"])
    y = F.relu(self.advantage_hidden(x, noise["advantage_hidden"]))
    y = self.advantage_out(y, noise["advantage_out"])
    y = y.view(-1, self.actions, ATOMS) + self.advantage_bias
    return value[:, None] + y - y.mean(1, keepdim=True)

  def project(self, latent):
    """Returns (n, 2 * hidden), by the hidden layers without noise."""
    x = latent.flatten(1)
    return torch.cat([self.value_hidden(x), self.advantage_hidden(x)], 1)

  def transition(self, latent, action):
    """Returns the next latents of (n, 64, 7, 7) and (n,) actions."""
    planes = F.one_hot(action, self.actions).to(latent.dtype)[:, :, None, None]
    planes = planes.expand(-1, -1, *latent.shape[2:])
    x = self.norm(F.relu(self.conv_in(torch.cat([latent, planes], 1))))
    return self.renormalize(F.relu(self.conv_out(x)))


def augment(images, draws, dtype):
  """Shifts stacks (n, 4, 84, 84) of bytes and scales their intensity.

  Draws of None leave them as they are, in [0, 1].
  """
  if draws is None:
    return images.to(dtype) / 255
  row, column, normal = draws
  padded = F.pad(images.to(dtype), (PAD,) * 4, mode="replicate")
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


def noise_sizes(network):
  """How many inputs and outputs each noisy layer has."""
  return {name: getattr(network, name).w.shape[::-1] for name in NOISY}


def scale_noise(normal):
  return normal.sign() * normal.abs().sqrt()


def draw(network, batch):
  """Draws noise, and augmentations for the four branches of an update."""
  noise = {
    name: tuple(scale_noise(torch.randn(size)) for size in sizes)
    for name, sizes in noise_sizes(network).items()
  }
  ahead, size = batch["action"].shape
  counts = (size, ahead * size, size, size)
  return noise, [draw_augmentation(count) for count in counts]


def project_categorical(probs, reward, discount):
  """Distributes reward + discount * Z onto the atoms."""
  step = (HIGH - LOW) / (ATOMS - 1)
  atoms = torch.linspace(LOW, HIGH, ATOMS, dtype=probs.dtype)
  moved = (reward[:, None] + discount[:, None] * atoms).clamp(LOW, HIGH)
  place = (moved - LOW) / step
  lower = place.floor().clamp(0, ATOMS - 2)
  share = (place - lower).clamp(0, 1)
  lower = lower.long()
  out = torch.zeros_like(probs)
  out.scatter_add_(1, lower, probs * (1 - share))
  return out.scatter_add_(1, lower + 1, probs * share)


def value_target(probs, chooser, reward, discount):
  """Returns distributions of reward + discount * Z, (n, atoms).

  Z, of (n, actions, atoms) probabilities, is that of the best action for the
  network that gave `chooser`, which is like them.
  """
  values = chooser @ torch.linspace(LOW, HIGH, ATOMS, dtype=chooser.dtype)
  probs = probs[torch.arange(len(probs)), values.argmax(1)]
  return project_categorical(probs, reward, discount)


class Agent:
  """Networks, optimizer and what target networks carry along.

  `momentum_tau` is the share of the online weights in the momentum copy after
  an update.
  """

  def __init__(self, network, noise, momentum_tau=1.0):
    self.network = network
    self.target = copy.deepcopy(network).requires_grad_(False)
    self.momentum = copy.deepcopy(network).requires_grad_(False)
    self.momentum_tau = momentum_tau
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
    """Returns the two losses and the priorities, all (batch,)."""
    network, dtype = self.network, batch["weight"].dtype
    ahead, size = batch["action"].shape
    online, following, next_target, next_online = augmentations
    with torch.no_grad():
      seen = augment(batch["next"], next_target, dtype)
      latent = self.target.encode(seen)
      probs = self.target.logits(latent, self.target_noise).softmax(2)
      seen = augment(batch["next"], next_online, dtype)
      chooser = network.logits(network.encode(seen), noise).softmax(2)
      discount = batch["discount"] * (~batch["done_n"]).to(dtype)
      target = value_target(probs, chooser, batch["return_n"], discount)
      seen = augment(batch["images"][1:].flatten(0, 1), following, dtype)
      wanted = self.momentum.project(self.momentum.encode(seen))
      wanted = F.normalize(wanted, dim=1, eps=1e-3)
    latent = network.encode(augment(batch["images"][0], online, dtype))
    logits = network.logits(latent, noise)
    log_probs = logits[torch.arange(size), batch["action"][0]].log_softmax(1)
    cross_entropy = -(target * log_probs).sum(1)
    latents = []
    for action in batch["action"]:
      latent = network.transition(latent, action)
      latents.append(latent)
    predicted = network.predictor(network.project(torch.cat(latents)))
    predicted = F.normalize(predicted, dim=1, eps=1e-3)
    distance = (predicted - wanted).square().sum(1).view(ahead, size)
    inside = batch["done"].cumsum(0)[1:] == 0
    spr = (distance * inside).mean(0)
    with torch.no_grad():
      bounded = target.clamp(1e-6, 1)
      priority = (bounded * (bounded.log() - log_probs)).sum(1)
    return cross_entropy, spr, priority.clamp(1e-6, 1e6)

  def backward(self, batch, noise, augmentations=(None,) * 4):
    """Leaves gradients; returns the three losses, and the priorities."""
    cross_entropy, spr, priority = self.losses(batch, noise, augmentations)
    rl_loss = (batch["weight"] * cross_entropy).mean()
    spr_loss = (batch["weight"] * spr).mean()
    loss = rl_loss + SPR_WEIGHT * spr_loss
    self.optimizer.zero_grad()
    loss.backward()
    return [x.detach() for x in (loss, rl_loss, spr_loss)], priority

  def update(self, batch, noise, augmentations=(None,) * 4):
    """Makes an update; returns what is logged, and the priorities."""
    losses, priority = self.backward(batch, noise, augmentations)
    norms = [
      nn.utils.clip_grad_norm_(self.parts[part], MAX_NORM)
      for part in ("stem", "transition")
    ]
    own, momentum = (
      list(network.parameters()) for network in (self.network, self.momentum)
    )
    with torch.no_grad():
      # The momentum copy is of the weights before the step.
      if self.momentum_tau == 1:
        torch._foreach_copy_(momentum, own)
      else:
        torch._foreach_lerp_(momentum, own, self.momentum_tau)
    self.optimizer.step()
    with torch.no_grad():
      torch._foreach_copy_(list(self.target.parameters()), own)
    self.target_noise = noise
    return torch.stack([*losses, *norms]), priority
