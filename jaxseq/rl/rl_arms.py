"""Comparisons of agents: the configuration, and arms to train."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any
from typing import ClassVar
from typing import Literal

import jax

from jaxseq import validate
from jaxseq.rl import algorithms
from jaxseq.rl import evaluate
from jaxseq.rl import health
from jaxseq.rl.agents import common
from jaxseq.rl.envs import spaces
from jaxseq.training import errors
from jaxseq.training import per_seed
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import seed_program
from jaxseq.training.comparison import supervised_arms
from jaxseq.types import PyTree

# The field of a state that has an axis of environments.
_ENVIRONMENTS = "world"


@dataclasses.dataclass(frozen=True)
class Config(arms.Arms):
  """A comparison of arms that share an environment.

  Attributes:
    algorithm: name of the algorithm in `jaxseq.rl.algorithms`; an arm's field
      `algorithm` overrides it.
    agent: fields of the algorithm's `Config` that all arms share.
    agent_defaults: the fields that neither the arms nor `agent` set: "general"
      are the defaults of the algorithm's `Config`, "published" are those of the
      experiments in its paper, `Config.published`.
    evaluation_episodes: episodes per seed in an evaluation.
    evaluation_greedy: whether evaluations take the most probable action.
    evaluations: further environments to evaluate the trained policies on, such
      as unseen tasks: by name, the options that differ from those of the
      training (`env_options`).
    mesh: how devices share a run of an on-policy algorithm: its environments
      are the examples. Without a mesh each device trains different seeds.
  """

  _: dataclasses.KW_ONLY
  algorithm: str = "ppo"
  agent: arms.Fields = arms.EMPTY
  agent_defaults: Literal["general", "published"] = "published"
  evaluation_episodes: int = arms.free(128)
  evaluation_greedy: bool = arms.free(False)
  evaluations: Mapping[str, Mapping[str, Any]] = arms.free(arms.EMPTY)

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("evaluation_episodes",))
    validate.choice("algorithm", self.algorithm, algorithms.names())
    if self.mesh.time > 1 or self.mesh.split_data:
      raise validate.error(
        "mesh",
        self.mesh,
        "time=1 and split_data=0: devices share environments (data) and "
        "parameters here, as time is played step by step and there is no data "
        "set",
      )


@dataclasses.dataclass(frozen=True)
class Arm:
  """An agent, ready to be trained.

  Attributes:
    agent: configuration of its algorithm.
    evaluations: its configuration in each further environment.
  """

  agent: algorithms.Config
  evaluations: Mapping[str, algorithms.Config]

  metric: ClassVar[str] = "episode_return"
  part: ClassVar[arms.Part] = ""
  examples: ClassVar[int] = 1
  unit: ClassVar[str] = "steps"
  stack: ClassVar[None] = None

  def program(
    self, config: Config, beside: Sequence["Arm"] = ()
  ) -> seed_program.SeedProgram:
    """Returns the program that trains all seeds of the agent."""
    del beside
    algorithm, agent = algorithms.of(self.agent), self.agent
    program = seed_program.SeedProgram(
      config,
      functools.partial(algorithm.init, agent),
      lambda runner, count: algorithm.train(agent, runner, count),
      arms.split_keys(config)[0],
      examples=_ENVIRONMENTS,
      num_updates=agent.num_updates,
      steps_per_update=agent.steps_per_update,
      update_axis=1,
    )
    if isinstance(agent, common.Config):
      program.hooks = (health.Watch(agent),)
    return program

  def report(
    self,
    program: seed_program.SeedProgram,
    state: PyTree,
    directory: pathlib.Path,
    seconds: float | None = None,
  ) -> dict[str, Any]:
    """Plays whole episodes with each seed's policy, see `arms.Arm`.

    Returns:
      The number of `parameters`; per seed, the mean returns `evaluation` and
      lengths `evaluation_length`, and if episodes consist of trials also the
      mean return of each, `trials`; if the comparison has further
      `evaluations`, a dictionary of that name with the same entries for each;
      and the return statistics of `curves.of_training`.
    """
    del seconds
    variables = state.variables
    result = {
      "parameters": supervised_arms.num_parameters(variables["params"]),
      **_play(program, self.agent, variables),
    }
    if self.evaluations:
      result["evaluations"] = {
        name: _play(program, agent, variables)
        for name, agent in self.evaluations.items()
      }
    return result | curves.of_training(directory)


def _play(program, agent, variables) -> dict[str, Any]:
  """Evaluates the agent in the environment of its configuration."""
  config, keys = program.config, arms.split_keys(program.config)[1]
  episodes, greedy = config.evaluation_episodes, config.evaluation_greedy

  def play(variables, key):
    return evaluate.evaluate(
      agent, variables, key, num_episodes=episodes, greedy=greedy
    )

  played = jax.device_get(program.compile(play)(variables, keys))
  result = {
    "evaluation": per_seed.of(played["mean_return"]),
    "evaluation_length": per_seed.of(played["episode_length"].mean(axis=-1)),
  }
  if "mean_trial_returns" in played:
    result["trials"] = per_seed.of(played["mean_trial_returns"])
  return result


def make_arms(config: Config) -> dict[str, Arm]:
  """Builds every arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value, or an
      environment does not fit.
  """
  arms_by_name = {}
  for name in config.arms:
    agent = agent_config(config, name)
    arms_by_name[name] = Arm(agent, evaluation_configs(config, agent))
  return arms_by_name


def agent_config(config: Config, arm: str) -> algorithms.Config:
  """Returns the whole configuration of one arm's agent.

  Args:
    config: the comparison.
    arm: name of the arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  fields = dict(config.arms[arm].items())
  name = fields.pop("algorithm", config.algorithm)
  if name not in algorithms.names():
    raise errors.UserError(
      f"config.arms.{arm}.algorithm: got {name!r}, expected one of"
      f" {', '.join(algorithms.names())}"
    )
  takes_mesh = getattr(algorithms.get(name).Config, "takes_mesh", False)
  if not takes_mesh and not config.mesh.trivial:
    raise errors.UserError(
      f"mesh: the arm {arm!r} is trained by {name}, which takes no mesh"
    )
  only = dataclasses.replace(config, arms={arm: fields})
  for place, held in (("agent", config.agent), (f"arms.{arm}", fields)):
    _check_fields(f"config.{place}", held, name)
  cls = algorithms.get(name).Config
  base = None
  if config.agent_defaults == "published":
    base = algorithms.published(cls)
  agent = arms.merge(only, arm, cls, "agent", base)
  skip = agent.skip_nonfinite or config.on_nonfinite == "skip"
  return dataclasses.replace(agent, skip_nonfinite=skip)


def _check_fields(place, held, algorithm):
  """Raises for a field that only other algorithms have."""
  known = {
    name: {
      field.name for field in dataclasses.fields(algorithms.get(name).Config)
    }
    for name in (algorithm, *algorithms.names())
  }
  for field in held:
    others = [name for name, fields in known.items() if field in fields]
    if others and algorithm not in others:
      raise errors.UserError(
        f"{place} has no field {field!r} with the algorithm {algorithm}, which"
        f" is a field of {', '.join(others)}: begin with a config that is for"
        f" {algorithm}, as docs/in_context_rl.md lists them"
      )


def evaluation_configs(
  config: Config, agent: algorithms.Config
) -> dict[str, algorithms.Config]:
  """Returns an agent's configuration with each of the `evaluations`' options.

  Args:
    config: the comparison.
    agent: the whole configuration of an arm's agent.

  Raises:
    UserError: (a ValueError) an environment does not have an option, the
      agent's network does not fit it, or it has the name of the training
      environment.
  """
  trained = algorithms.of(agent).player(agent)
  agents = {}
  for name, options in config.evaluations.items():
    if name == agent.env_id:
      raise errors.UserError(
        f"config.evaluations: got the name {name!r}, expected another one than"
        " that of the environment of the training"
      )
    merged = dict(agent.env_options) | dict(options.items())
    agents[name] = dataclasses.replace(agent, env_options=tuple(merged.items()))
    player = algorithms.of(agent).player(agents[name])
    for space in ("observation_space", "action_space"):
      players = trained, player
      expected, got = (getattr(p.env, space)(p.env_params) for p in players)
      if spaces.signature(got) != spaces.signature(expected):
        raise errors.UserError(
          f"config.evaluations.{name}: got the {space.replace('_', ' ')} {got},"
          f" expected that of the training, {expected}"
        )
  return agents
