"""Where the time of an update of PPO with S5 goes, part by part.

  NPROC=1 taskset -c 1 python -m benchmarks.ppo_parts

The update is that of `benchmarks.ppo`. Each part is compiled alone, from the
arrays that the update has, and takes its turn with the others; the least CPU
time counts. A part that is indented is within the one above that is less
indented. "products" are the products with all matrices of the network alone,
one after the other, with the rows of a minibatch.
"""

import argparse
import functools

import jax
import jax.numpy as jnp

from benchmarks import ppo as whole
from benchmarks import timing
from jaxseq import recurrence
from jaxseq.rl import mixtures
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import ppo
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers


def _summed(function, turns, *arguments):
  """Sums function(i, *arguments), turn by turn."""
  shapes = jax.eval_shape(function, jnp.int32(0), *arguments)
  begin = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def turn(total, i):
    return jax.tree.map(jnp.add, total, function(i, *arguments)), None

  return jax.lax.scan(turn, begin, jnp.arange(turns))[0]


def _other(i, x):
  """The same numbers, which a compiler cannot know to be the same in turns."""
  return x + (1e-30 * i).astype(x.dtype)


def _matrices(variables):
  """All matrices of a network, complex ones as two numbers."""
  leaves = jax.tree.leaves(variables)
  return [x.reshape(x.shape[0], -1) for x in leaves if x.ndim > 1]


# The three products of a matrix in training.
_PRODUCTS = {
  "outputs": lambda w, x, g: x @ w,
  "gradients of inputs": lambda w, x, g: g @ w.T,
  "gradients of matrices": lambda w, x, g: x.T @ g,
}


def _products(names, i, matrices, xs, gs):
  """The named products of all matrices, with rows from i on; one number."""
  total = 0
  for w, x, g in zip(matrices, xs, gs):
    w, x = _other(i, w), jax.lax.dynamic_slice_in_dim(x, i, len(g))
    for name in names:
      # The whole product is made, and one number of it is read.
      y = jax.lax.optimization_barrier(_PRODUCTS[name](w, x, g))
      total += y[0, 0]
  return total


def parts(config, runner):
  """Returns (name, indent, function, arguments, operations) of each part."""
  player = ppo.player(config)
  network, variables = player.network, runner.variables
  steps, envs = config.rollout_length, config.num_envs
  turns = config.num_epochs * config.num_minibatches
  key = jax.random.key(1)
  _, batch, *_ = jax.jit(functools.partial(on_policy._play, config, player))(
    runner, key
  )
  sizes = sum(x.size for x in _matrices(variables))
  played = 2 * sizes * steps * envs
  learned = 3 * config.num_epochs * played
  optimizer = on_policy._optimizer(config)
  form = flat_parameters.choose(optimizer, variables, runner.opt_state)

  def play(runner):
    return on_policy._play(config, player, runner, key)

  def environments(world):
    _, env_step = mixtures.batched(player.env)
    action = batch.transition.action[:, 0]

    def one(state, key):
      keys = jax.random.split(key, envs)
      observation, state, reward, *_ = env_step(
        keys, state, action, player.env_params
      )
      return state, (observation, reward)

    return jax.lax.scan(one, world.env_state, jax.random.split(key, steps))[1]

  def acting(variables, world, sampled):
    def one(memory, key):
      policy, value, memory = network.apply(
        variables, world.observation, memory, world.reset, method="step"
      )
      if not sampled:
        return memory, (policy.mode(), value)
      action = policy.sample(key)
      return memory, (action, policy.log_prob(action), value)

    return jax.lax.scan(one, world.memory, jax.random.split(key, steps))[1]

  def learn(runner, batch):
    return on_policy._learn(config, network, runner, batch, ppo.loss, key)

  def minibatch(i, batch):
    chosen = (jnp.arange(config.minibatch_size) + i) % envs
    return jax.tree.map(lambda x: x[chosen], batch)

  def loss(variables, i, batch):
    return ppo.loss(config, network, variables, minibatch(i, batch))[0]

  def losses(variables, batch):
    return _summed(lambda i, *x: loss(x[0], i, x[1]), turns, variables, batch)

  def gradients(variables, batch):
    slopes = jax.grad(loss)
    return _summed(lambda i, *x: slopes(x[0], i, x[1]), turns, variables, batch)

  def optimize(variables, opt_state):
    held = form.pack(variables)

    def one(carry, _):
      held, opt_state = carry
      held, opt_state, _ = optimizers.step(
        optimizer, held, opt_state, held, skip_nonfinite=config.skip_nonfinite
      )
      return (held, opt_state), None

    carry = held, form.pack_state(opt_state)
    return jax.lax.scan(one, carry, length=turns)[0]

  def minibatches(batch):
    def total(i, batch):
      leaves = jax.tree.leaves(minibatch(i, batch))
      return sum(jnp.max(jnp.real(x)) for x in leaves)

    return _summed(total, turns, batch)

  stack = config.network.stack
  states, width = stack.mixer_config.ssm_size // 2, stack.d_model
  a = jnp.full((states,), 0.9 + 0.1j)
  b = jnp.ones((states, width), jnp.complex64)
  x = jnp.ones((config.minibatch_size, steps, width))
  flags = batch.transition.reset[: config.minibatch_size]

  def scans(x, a, b):
    def total(x, a, b):
      zeros = jnp.zeros((len(x), states), jnp.complex64)
      y, _ = recurrence.lti_scan(a, b, b.T, x, zeros, reset=flags)
      return jnp.sum(y**2)

    def slopes(i, x, a, b):
      return jax.grad(total, (0, 1, 2))(_other(i, x), a, b)

    return _summed(slopes, stack.num_layers * turns, x, a, b)

  rows, matrices = config.minibatch_size * steps, _matrices(variables)
  xs = [jnp.ones((rows + turns, len(x))) for x in matrices]
  gs = [jnp.ones((rows, x.shape[1])) for x in matrices]

  def products(names):
    every = functools.partial(_products, names)
    return lambda *x: _summed(every, turns, *x)

  dense = matrices, xs, gs
  world = runner.world
  return (
    ("update", 0, lambda x: ppo.update(config, x), (runner,), played + learned),
    ("rollout and advantages", 1, play, (runner,), played),
    ("environments", 2, environments, (world,), 0),
    (
      "network and actions",
      2,
      lambda *x: acting(*x, True),
      (variables, world),
      played,
    ),
    ("network", 3, lambda *x: acting(*x, False), (variables, world), played),
    ("training", 1, learn, (runner, batch), learned),
    ("gradients", 2, gradients, (variables, batch), learned),
    ("losses", 3, losses, (variables, batch), learned // 3),
    ("scans of S5", 3, scans, (x, a, b), 0),
    ("products", 3, products(_PRODUCTS), dense, learned),
    *((x, 4, products((x,)), dense, learned // 3) for x in _PRODUCTS),
    ("optimizer", 2, optimize, (variables, runner.opt_state), 0),
    ("minibatches", 2, minibatches, (batch,), 0),
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=10)
  repeats = parser.parse_args().repeats
  config = whole.configuration("s5")
  runner = ppo.init(config, jax.random.key(0))
  every = parts(config, runner)
  results = timing.interleaved([part[2:4] for part in every], repeats)
  print(timing.machine())
  print(f"{'':<32} {'CPU ms':>7} {'share':>6} {'billion products/s':>19}")
  for (name, indent, *_, count), result in zip(every, results):
    share = result.cpu / results[0].cpu
    rate = f"{count / result.cpu / 1e9:.0f}" if count else ""
    name = "  " * indent + name
    print(f"{name:<32} {1e3 * result.cpu:7.1f} {share:6.0%} {rate:>19}")
  alone = whole.products_alone(repeats) / 1e9
  print(f"products of 1024 rows with one matrix of 128: {alone:.0f} billion/s")


if __name__ == "__main__":
  main()
