"""A small experiment that the tests start, kill and start again.

Two seeds of a noisy regression, vmapped; the state holds the keys, and a
buffer that makes a checkpoint take a while to write.
"""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import optax

from jaxseq.training import app
from jaxseq.training import checkpoint
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import loop
from jaxseq.training import optimizers
from jaxseq.training import progress
from jaxseq.training import run_directory
from jaxseq.training import scalars

_CONFIG, _WORKDIR = app.define_flags()


@dataclasses.dataclass(frozen=True)
class Config:
  num_updates: int = 24
  seconds_per_chunk: float = 0.0
  optimizer: optimizers.Config = optimizers.Config()
  untyped: int | None = None

  def __post_init__(self):
    if self.num_updates < 1:
      raise ValueError(f"num_updates must be >= 1, got {self.num_updates}")


def init(config, key):
  params = {"w": jax.random.normal(key, (8,)), "bias": jnp.zeros(())}
  optimizer = optimizers.make_optimizer(config.optimizer)
  return {
    "params": params,
    "opt_state": optimizer.init(params),
    "key": key,
    "buffer": jax.random.normal(key, (200_000,)),
  }


def update(config, state, _):
  key, noise_key, place_key = jax.random.split(state["key"], 3)
  x = jax.random.normal(noise_key, (16, 8))

  def loss_fn(params):
    return jnp.mean((x @ params["w"] + params["bias"] - x.sum(-1)) ** 2)

  loss, grads = jax.value_and_grad(loss_fn)(state["params"])
  optimizer = optimizers.make_optimizer(config.optimizer)
  updates, opt_state = optimizer.update(
    grads, state["opt_state"], state["params"]
  )
  place = jax.random.randint(place_key, (), 0, 200_000)
  new = {
    "params": optax.apply_updates(state["params"], updates),
    "opt_state": opt_state,
    "key": key,
    "buffer": state["buffer"].at[place].set(loss),
  }
  return new, {"loss": loss, "noise": x.mean()}


def main(argv):
  del argv
  with errors.setup():
    config = configuration.load(_CONFIG.value, app.overrides(), Config)
    directory = run_directory.prepare(
      _WORKDIR.value,
      config,
      experiment="toy",
      may_change=("seconds_per_chunk",),
    )
  keys = jax.random.split(jax.random.key(0), 2)
  state = jax.jit(jax.vmap(functools.partial(init, config)))(keys)

  @functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
  def train(state, count):
    scan = functools.partial(
      jax.lax.scan, functools.partial(update, config), length=count
    )
    return jax.vmap(lambda s: scan(s, None))(state)

  def run_chunk(state, count):
    time.sleep(config.seconds_per_chunk)
    return train(state, count)

  with (
    checkpoint.Checkpointer(directory / "checkpoints", keep=2) as checkpointer,
    scalars.MetricWriter(directory) as writer,
  ):
    state = loop.run(
      run_chunk,
      state,
      num_updates=config.num_updates,
      chunk_size=2,
      update_axis=1,
      steps_per_update=100,
      checkpointer=checkpointer,
      checkpoint_every=2,
      writer=writer,
      evaluate=lambda s, step: {"eval/norm": jnp.abs(s["params"]["w"]).sum(-1)},
      evaluate_every=3,
      progress=progress.Progress(
        100 * config.num_updates, metric="loss", label="toy"
      ),
    )
  print("done", float(state["params"]["w"].sum()))


if __name__ == "__main__":
  app.run_main(main)
