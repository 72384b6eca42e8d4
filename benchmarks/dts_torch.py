"""Training a DTS auto-encoder: one jitted epoch next to a loop in PyTorch.

  python -m benchmarks.dts_torch

Needs torch; `make test-interop` makes .venvs/interop, which has it. The model
and the update are those of configs/dts/quick.py: convolutions encode windows of
64 elements, dense layers decode them, DTS with beta 10 and alpha 9.5, batches
of 128, Adam behind a clipped gradient. The loop in PyTorch is written as one
would write it there: modules, a batch at a time, all terms of the KL by
minibatch stratified sampling, fused Adam. First both get the same parameters,
batch and noise, and it is checked that losses and norms of gradients agree over
some updates. Then whole epochs are timed, in turns; the best of the runs is
printed. jaxseq's epoch is one program (`lax.scan`), and with --seeds several
models are trained by it side by side (`vmap`), which PyTorch trains one by one.
Where other work takes the cores, PyTorch's threads wait for one another and
count the waiting as work: --threads 1 is its best there.
"""

import argparse
import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from benchmarks import timing
from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import decoders
from jaxseq.dts import methods
from jaxseq.dts import problem
from jaxseq.dts import series_encoders
from jaxseq.training import recipes
from jaxseq.training import supervised

BETA, ALPHA, LATENT, BATCH = 10.0, 9.5, 10, 128
CHANNELS, WIDTHS = (32, 64, 64), (256, 256)
LEARNING_RATE, MAX_NORM = 1e-3, 5.0
# Updates on one batch by which the two are compared.
COMPARED = 3

ARM = problem.ArmConfig(
  model=autoencoder.ModelConfig(
    series_encoders.EncoderConfig(kind="conv", widths=CHANNELS),
    decoders.DecoderConfig(kind="mlp", widths=WIDTHS),
    latent=LATENT,
  ),
  objective=methods.Config(method="dts", beta=BETA, alpha=ALPHA, anneal="none"),
  optimizer=recipes.Recipe(
    learning_rate=LEARNING_RATE, schedule="constant", max_grad_norm=MAX_NORM
  ),
  batch_size=BATCH,
)


class VAE(nn.Module):
  """Convolutions, two dense layers to the code, and dense layers back."""

  def __init__(self, length):
    super().__init__()
    ends = [1, *CHANNELS]
    self.convs = nn.ModuleList(
      nn.Conv1d(i, o, 4, stride=2, padding=1) for i, o in zip(ends, CHANNELS)
    )
    features = CHANNELS[-1] * length // 2 ** len(CHANNELS)
    self.mu = nn.Linear(features, LATENT)
    self.logvar = nn.Linear(features, LATENT)
    ends = [LATENT, *WIDTHS, length]
    self.layers = nn.ModuleList(
      nn.Linear(i, o) for i, o in zip(ends[:-1], ends[1:])
    )
    self.log_scale = nn.Parameter(torch.zeros(()))

  def encode(self, x):
    """Returns mean and log-variance, (batch, D) each."""
    h = x.transpose(1, 2)
    for conv in self.convs:
      h = F.relu(conv(h))
    h = h.transpose(1, 2).flatten(1)
    return self.mu(h), self.logvar(h).clamp(-10, 4)

  def nll(self, x, z):
    """Returns -log p(x|z), the mean over the batch."""
    for layer in self.layers[:-1]:
      z = F.relu(layer(z))
    mean = self.layers[-1](z)
    error = (x.flatten(1) - mean) * torch.exp(-self.log_scale)
    constant = self.log_scale + 0.5 * math.log(2 * math.pi)
    return (0.5 * error.square() + constant).sum(1).mean()


def log_normal(z, mu, logvar):
  square = (z - mu).square() * torch.exp(-logvar)
  return -0.5 * (square + logvar + math.log(2 * math.pi))


def stratified_weights(batch, size):
  """Returns log W (B, B), W = 1/N on the diagonal, (N - M)/(N M) beside it.

  Elsewhere W = 1/M.

  M = B - 1 and N = size, so that rows add up to 1.
  """
  others = batch - 1
  weights = torch.full((batch, batch), 1 / others)
  rows = torch.arange(batch)
  weights[rows, rows] = 1 / size
  weights[rows, (rows + 1) % batch] = (size - others) / (size * others)
  return weights.log()


def loss_of(model, x, noise, log_weights):
  """The loss of a batch, and the terms that are logged."""
  mu, logvar = model.encode(x)
  z = mu + torch.exp(0.5 * logvar) * noise
  kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1).mean()
  pairs = log_normal(z[:, None], mu[None], logvar[None])
  log_qz = torch.logsumexp(pairs.sum(2) + log_weights, 1)
  log_qz_d = torch.logsumexp(pairs + log_weights[..., None], 1)
  log_pz_d = -0.5 * (z.square() + math.log(2 * math.pi))
  log_qz_x = log_normal(z, mu, logvar).sum(1)
  mi = (log_qz_x - log_qz).mean()
  tc = (log_qz - log_qz_d.sum(1)).mean()
  dwkl = (log_qz_d - log_pz_d).sum(1).mean()
  nll = model.nll(x, z)
  loss = nll + (BETA - ALPHA) * kl + ALPHA * (tc + dwkl)
  return loss, (nll, kl, mi, tc, dwkl)


def make_theirs(params, length):
  """The same model with these parameters, and its optimizer."""
  model = VAE(length)
  encoder, decoder = params["encoder"], params["decoder"]
  tensors = {"log_scale": params["log_scale"]}
  for i in range(len(CHANNELS)):
    filters = encoder[f"conv_{i}"]["filters"]
    kernel = filters["kernel"]
    kernel = kernel.reshape(4, -1, kernel.shape[-1])
    tensors[f"convs.{i}.weight"] = kernel.transpose(2, 1, 0)
    tensors[f"convs.{i}.bias"] = filters["bias"]
  dense = {name: encoder[name] for name in ("mu", "logvar")}
  names = [f"hidden_{i}" for i in range(len(WIDTHS))] + ["out"]
  dense |= {f"layers.{i}": decoder[name] for i, name in enumerate(names)}
  for name, layer in dense.items():
    tensors[f"{name}.weight"] = layer["kernel"].T
    tensors[f"{name}.bias"] = layer["bias"]
  model.load_state_dict(
    {name: torch.tensor(np.array(value)) for name, value in tensors.items()}
  )
  optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
  return model, optimizer


def update_theirs(model, optimizer, x, noise, log_weights):
  loss, terms = loss_of(model, x, noise, log_weights)
  optimizer.zero_grad()
  loss.backward()
  norm = nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
  optimizer.step()
  return loss.detach(), norm, torch.stack(terms).detach()


def epoch_theirs(model, optimizer, x, log_weights):
  order = torch.randperm(len(x))
  totals = torch.zeros(5)
  for rows in order[: len(x) // BATCH * BATCH].split(BATCH):
    noise = torch.randn(BATCH, LATENT)
    _, _, terms = update_theirs(model, optimizer, x[rows], noise, log_weights)
    totals += terms
  return totals


def check(made, optimizer, state, x):
  """Compares losses and gradients over updates on the first batch.

  Returns the largest relative difference.
  """
  batch = data.ArrayDataset(x[:BATCH], np.zeros(BATCH, np.int32))
  # The noise that the loss draws from this key for z.
  key = jax.random.key(1)
  noise = jax.random.normal(jax.random.split(key, 4)[0], (BATCH, LATENT))

  @jax.jit
  def ours(variables, opt_state, carry):
    def loss(variables):
      return made.loss(variables, batch, carry, key)

    (value, extra), grads = jax.value_and_grad(loss, has_aux=True)(variables)
    steps, opt_state = optimizer.update(grads, opt_state, variables)
    squares = sum(jnp.square(g).sum() for g in jax.tree.leaves(grads))
    variables = jax.tree.map(jnp.add, variables, steps)
    return variables, opt_state, extra.carry, (value, jnp.sqrt(squares))

  model, their_optimizer = make_theirs(
    state.variables["params"]["model"], x.shape[1]
  )
  log_weights = stratified_weights(BATCH, len(x))
  tensors = torch.tensor(x[:BATCH]), torch.tensor(np.array(noise))
  variables, opt_state, carry = state.variables, state.opt_state, state.carry
  worst = 0.0
  for _ in range(COMPARED):
    variables, opt_state, carry, got = ours(variables, opt_state, carry)
    want = update_theirs(model, their_optimizer, *tensors, log_weights)[:2]
    want = [float(value) for value in want]
    # float32, summed in another order, through three updates.
    np.testing.assert_allclose(np.array(got), want, rtol=2e-4)
    worst = max(worst, np.max(np.abs(np.array(got) / want - 1)))
  print(f"loss {want[0]:.4f}, norm {want[1]:.4f} after {COMPARED - 1} updates")
  return worst


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, default=4)
  parser.add_argument("--windows", type=int, default=8192)
  parser.add_argument("--repeats", type=int, default=5)
  flags = timing.parse_with_threads(parser, torch)
  splits = data.load("seasonal_factors", train=flags.windows, valid=1, test=2)
  x = np.asarray(splits.train.inputs)
  updates = len(x) // BATCH
  made = problem.Problem(ARM, splits, 1000 * updates)
  optimizer = problem.make_optimizer(ARM, 1000 * updates)
  init = functools.partial(supervised.init, made, optimizer)
  state = jax.jit(init)(jax.random.key(0))
  print(
    f"torch {torch.__version__} with {torch.get_num_threads()} threads, jax "
    f"{jax.__version__}; {updates} updates of {BATCH} windows, float32"
  )
  print(f"largest relative difference {check(made, optimizer, state, x):.1e}")

  def epoch(state, data):
    return supervised.train(made, optimizer, state, data, updates)

  def side_by_side(states, data):
    return jax.vmap(epoch, in_axes=(0, None))(states, arrays)

  arrays = jax.device_put(made.data)
  # Traced for a vmap, which initializes by QR one seed at a time.
  keys = jax.random.split(jax.random.key(0), flags.seeds)
  states = jax.jit(lambda keys: jax.lax.map(init, keys))(keys)
  programs = {}
  for seeds, function, argument in (
    (1, epoch, state),
    (flags.seeds, side_by_side, states),
  ):
    start = time.perf_counter()
    compiled = jax.jit(function).lower(argument, arrays).compile()
    programs[seeds] = functools.partial(compiled, argument, arrays)
    print(f"compile, seeds {seeds}: {time.perf_counter() - start:.1f} s")
  theirs = make_theirs(state.variables["params"]["model"], x.shape[1])
  arguments = *theirs, torch.tensor(x), stratified_weights(BATCH, len(x))

  def clocks(function):
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    return time.perf_counter() - wall, time.process_time() - cpu

  runs = [
    [clocks(lambda: epoch_theirs(*arguments).numpy())]
    + [clocks(program) for program in programs.values()]
    for _ in range(flags.repeats + 1)
  ]
  best = 1e3 * np.min(runs[1:], axis=0) / updates
  for i, kind in enumerate(("wall", "CPU")):
    peer = best[0, i]
    for j, seeds in enumerate(programs, 1):
      each = best[j, i] / seeds
      print(
        f"{kind} ms per update, seeds {seeds}: torch {peer:.2f}, jaxseq "
        f"{each:.2f}, ratio {peer / each:.1f}",
        flush=True,
      )


if __name__ == "__main__":
  main()
