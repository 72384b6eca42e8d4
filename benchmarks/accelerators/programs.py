"""Whole programs: PPO, a step of SPR, an update of DTS, a language model.

Each at a size for accelerators, and a tiny one that a CPU does in seconds.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from configs.dts import quick
from configs.icrl import popgym_gru
from configs.icrl import popgym_s5
from jaxseq import data
from jaxseq import nn
from jaxseq import spr
from jaxseq.dts import problem
from jaxseq.programs import dts
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.spr import runner
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.training import configuration
from jaxseq.training import supervised

_MEMORIES = {"s5": popgym_s5, "gru": popgym_gru}


class Program(NamedTuple):
  """What is run again and again on the state that it returned.

  Attributes:
    name: what tables call it.
    init: makes the first state.
    function: from a state and `given` to the next one and metrics.
    count: what one call makes,
    unit: of these, such as "environment steps".
    given: further arguments.
    whole: whether `function` is to be compiled as it is; it compiles what it
      needs itself if not.
  """

  name: str
  init: Callable[[], Any]
  function: Callable[..., tuple[Any, Any]]
  count: int
  unit: str
  given: tuple = ()
  whole: bool = True

  def step(self) -> Callable[[Any], tuple[Any, Any]]:
    """A function from a state, which it donates, to the next and metrics."""
    if not self.whole:
      return self.function
    compiled = jax.jit(self.function, donate_argnums=0)
    return lambda state: compiled(state, *self.given)


def ppo_config(memory: str, tiny: bool = False, **options) -> ppo.Config:
  """The paper's size: 64 games x 1024 steps, 30 epochs of 8 minibatches.

  Args:
    memory: "s5" or "gru".
    tiny: a size that a CPU does in a second.
    **options: fields of `ppo.Config` that differ.
  """
  config = _MEMORIES[memory].get_config()
  arms = config.arms
  if tiny:
    sizes = {"num_envs": 4, "rollout_length": 16}
    options = {**sizes, "num_epochs": 1, "num_minibatches": 2, **options}
    stack = {"d_model": 16, "num_layers": 1}
    if memory == "s5":
      stack["mixer_options"] = {"ssm_size": 16}
    small = {memory: {"network": {"stack": stack}}}
    arms = configuration.merged(arms, small)
  config = configuration.updated(config, agent=options, arms=arms)
  return rl_arms.agent_config(config, memory)


def of_ppo(memory: str, seeds: int = 1, *, tiny: bool = False, **options):
  """An update of PPO for some seeds side by side.

  Args:
    memory: "s5" or "gru".
    seeds: how many.
    tiny: as in `ppo_config`.
    **options: as in `ppo_config`.
  """
  config = ppo_config(memory, tiny, **options)
  keys = jax.random.split(jax.random.key(0), seeds)
  init = jax.vmap(functools.partial(ppo.init, config))
  step = jax.vmap(functools.partial(ppo.update, config))
  return Program(
    f"ppo {memory}" + (f" x{seeds}" if seeds > 1 else ""),
    # Apart from the program that trains: orthogonal weights come from QR.
    lambda: jax.jit(init)(keys),
    step,
    seeds * config.steps_per_update,
    "environment steps",
  )


def spr_agent(tiny: bool = False):
  """The agent and the game of SPR: frames like Atari's, without an emulator."""
  if tiny:
    settings = spr.settings.Settings(
      "Breakout-MinAtar",
      num_steps=500,
      batch_size=4,
      head={"hidden": 16},
      agent={"min_replay": 20, "updates_per_step": 1},
    )
  else:
    settings = spr.settings.Settings(
      "Blank", num_steps=100_000, batch_size=32, agent={"min_replay": 100}
    )
  game = spr.settings.make_game(settings)
  return spr.settings.agent_config(settings, game), game


def of_spr(seeds: int = 1, *, tiny: bool = False):
  """Steps of SPR with their updates, in compiled loops."""
  config, game = spr_agent(tiny)
  first = config.variant.min_replay
  count = 2 if tiny else 100
  chunk = runner.make_chunk(config, game, seeds, compiled_loop=True)

  def init():
    keys = jax.random.split(jax.random.key(0), seeds)
    start = jax.vmap(functools.partial(runner.init, config, game))
    state, _ = chunk(jax.jit(start)(keys), first)
    return state

  name = "spr" + (f" x{seeds}" if seeds > 1 else "")
  return Program(
    name,
    init,
    lambda state: chunk(state, count),
    seeds * count,
    "environment steps",
    whole=False,
  )


def of_dts(seeds: int = 4, updates: int = 20, *, tiny: bool = False):
  """Updates of DTS, as in configs/dts/quick.py."""
  variant = ("tiny",) if tiny else ()
  config = configuration.from_config_dict(
    dts.Config, quick.get_config(*variant), name="config"
  )
  arm = dts.arm_configs(config)["dts_light" if tiny else "dts_10"]
  splits = data.load(config.data, **config.data_options)
  made = problem.Problem(arm, splits, config.num_updates)
  optimizer = problem.make_optimizer(arm, config.num_updates)
  return _trained(f"dts x{seeds}", made, optimizer, seeds, updates, 1)


def of_language_model(
  layers: int = 24, d_model: int = 768, updates: int = 1, *, tiny: bool = False
):
  """Updates of a language model of Mamba-2, 130M weights, in bfloat16."""
  vocabulary, length, rows = 50_257, 2048, 8
  if tiny:
    layers, d_model, vocabulary, length, rows = 1, 16, 32, 32, 2
  rng = np.random.default_rng(0)

  def text(count):
    tokens = rng.integers(1, vocabulary, count)
    return language.Text(tokens.astype(np.int32), rng.random(count) < 1e-3)

  tokens = rows * (length + 1)
  corpus = language.Corpus(
    text(4 * tokens), text(tokens), text(tokens), vocabulary
  )
  options = {"d_state": 8, "headdim": 16} if tiny else {}
  stack = nn.StackConfig(
    "mamba2",
    mixer_options=tuple(options.items()),
    d_model=d_model,
    num_layers=layers,
    norm="rms",
    activation="none",
    dtype="bfloat16",
  )
  arm = base.ArmConfig(nn.NetworkConfig(stack), batch_size=rows)
  made = language.Problem(arm, corpus, length=length, valid_tokens=tokens)
  optimizer = base.make_optimizer(arm, 1000)
  name = f"mamba2 lm {layers} layers"
  return _trained(name, made, optimizer, 1, updates, rows * length, "tokens")


def _trained(name, made, optimizer, seeds, updates, each, unit="updates"):
  """Updates of a supervised problem, seeds side by side, data on the device."""
  arrays = jax.device_put(made.data)
  init = jax.vmap(functools.partial(supervised.init, made, optimizer))
  keys = jax.random.split(jax.random.key(0), seeds)

  def train(state, arrays):
    return supervised.train(made, optimizer, state, arrays, updates)

  return Program(
    name,
    lambda: jax.jit(init)(keys),
    jax.vmap(train, in_axes=(0, None)),
    seeds * updates * each,
    unit,
    (arrays,),
  )
