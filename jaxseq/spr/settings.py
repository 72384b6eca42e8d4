"""Settings of SPR: a game and an agent of the fields of a config file.

A published agent is named, and what differs is written beside it:

    settings = Settings(env_id="Freeway-MinAtar", head={"hidden": 128})
    game = make_game(settings)
    config = agent_config(settings, game)

A field that is None is as published, so that a config file can name it without
deciding it; but where None is a value of the field, as of "max_grad_norm" or
"resets", it is that value.
"""

from collections.abc import Mapping
import dataclasses
import typing
from typing import Any

from jaxseq import mixers
from jaxseq import validate
from jaxseq.rl import encoders
from jaxseq.spr import agent
from jaxseq.spr import game as games
from jaxseq.spr import mixer_transition
from jaxseq.spr import stacks
from jaxseq.spr import variants
from jaxseq.training import configuration

_EMPTY = configuration.EMPTY


@dataclasses.dataclass(frozen=True)
class Settings:
  """A game, and an agent that is to learn it.

  Attributes:
    env_id: an id that `jaxseq.rl.envs.make` knows, such as "Breakout-MinAtar",
      "Pong-Atari" or "RepeatPreviousEasy"; its actions are one choice.
    env_options: passed on to it, such as {"rules": "released"} for a game of
      Atari as in SPR's code.
    variant: name of the published agent, see `variants.names()`.
    self_prediction: False leaves the prediction of latents out.
    num_steps: environment steps of the whole training.
    batch_size: sequences in an update.
    capacity: steps that the replay keeps; num_steps if None.
    clip_rewards: whether the agent learns from the signs of rewards alone.
    encoder: fields of `encoders.Config` that differ from the agent's, and from
      those that suit the game's frames (`encoders.suited`).
    head: fields of `q_heads.Config` that differ.
    transition: fields of `mixer_transition.Config`, with the "stack" that
      predicts; or, without a stack or with "mixer": "none" in it, those of
      `conv_transition.Config`, SPR's convolutions, that differ from the
      agent's.
    memory: fields of `stacks.Config`, with the "stack" that remembers; there is
      no memory without a stack or with "mixer": "none" in it. What an agent
      with a memory learns from is "sequence" in `learning`.
    learning: fields of `learner.Config` that differ, such as "optimizer": a
      mapping again.
    agent: fields of `variants.Variant` that differ, such as "min_replay".
  """

  env_id: str = "Breakout-MinAtar"
  env_options: Mapping[str, Any] = _EMPTY
  variant: str = "spr"
  self_prediction: bool = True
  num_steps: int = 100_000
  batch_size: int = 32
  capacity: int | None = None
  clip_rewards: bool = True
  encoder: Mapping[str, Any] = _EMPTY
  head: Mapping[str, Any] = _EMPTY
  transition: Mapping[str, Any] = _EMPTY
  memory: Mapping[str, Any] = _EMPTY
  learning: Mapping[str, Any] = _EMPTY
  agent: Mapping[str, Any] = _EMPTY


def make_game(settings: Settings) -> games.Game:
  """Returns the game.

  Raises:
    ValueError: there is no such game, or it is not installed.
  """
  return games.make(settings.env_id, settings.env_options)


def agent_config(settings: Settings, game: games.Game) -> agent.Config:
  """Returns the whole configuration of the agent for a game of `make_game`.

  Raises:
    ValueError: there is no such agent, or a field is unknown or wrong.
  """
  variant = variants.get(settings.variant, game.num_actions)
  networks = variant.update.networks
  shape = game.observation_shape
  suited = {**encoders.suited(shape), "image_shape": shape}
  encoder = _with(networks.encoder, suited, "encoder")
  encoder = _with(encoder, settings.encoder, "encoder")
  height, width, channels = encoders.latent_shape(encoder)
  features = {"features": height * width * channels}
  head = _with(networks.head, {**settings.head, **features}, "head")
  transition = None
  if settings.self_prediction and networks.transition is not None:
    transition = _transition(settings, networks.transition, encoder)
  memory = None
  if _has_stack(settings.memory, "memory"):
    memory = configuration.from_config_dict(
      stacks.Config, settings.memory, name="memory"
    )
    if not getattr(game.env, "keep_memory", True):
      expected = (
        "True: a memory here lasts for an episode, and so for all trials"
      )
      raise validate.error("env_options.keep_memory", False, expected)
  changes = {
    "networks": dataclasses.replace(
      networks,
      encoder=encoder,
      head=head,
      transition=transition,
      memory=memory,
    )
  }
  if not game.is_image:
    if settings.learning.get("augmentation") is not None:
      raise validate.error(
        "learning.augmentation",
        settings.learning["augmentation"],
        f"None: the observations of {game.name} are no images",
      )
    changes["augmentation"] = None
  update = dataclasses.replace(variant.update, **changes)
  update = _with(update, settings.learning, "learning")
  variant = dataclasses.replace(variant, update=update)
  return agent.Config(
    variant=_with(variant, settings.agent, "agent"),
    frame_shape=game.frame_shape,
    frame_dtype=game.frame_dtype.name,
    stack=game.stack,
    num_steps=settings.num_steps,
    batch_size=settings.batch_size,
    capacity=settings.capacity,
    clip_rewards=settings.clip_rewards,
  )


def _transition(settings, published, encoder):
  """Returns the configuration of the transition model."""
  fields = dict(settings.transition)
  shape = encoders.latent_shape(encoder)
  if not _has_stack(fields, "transition"):
    fields.pop("stack", None)
    return _with(published, {**fields, "channels": shape[-1]}, "transition")
  shared = {
    name: getattr(published, name)
    for name in ("num_actions", "initializer", "renormalize", "epsilon")
  }
  return configuration.from_config_dict(
    mixer_transition.Config,
    {**shared, **fields, "latent_shape": shape},
    name="transition",
  )


def _has_stack(fields: Mapping[str, Any], name: str) -> bool:
  """Returns whether there is a stack of layers, whose mixer must be named."""
  stack = fields.get("stack", {})
  if stack and "mixer" not in stack:
    raise validate.error(
      f"{name}.stack",
      dict(stack),
      f"a mixer: 'none' or one of {', '.join(mixers.names())}",
    )
  return stack.get("mixer", "none") != "none"


def _with(config: Any, changes: Mapping[str, Any], name: str) -> Any:
  """Returns a dataclass with other fields, those of dataclasses one by one."""
  fields = dict(vars(config))
  hints = typing.get_type_hints(type(config))
  for key, value in changes.items():
    old = fields.get(key)
    if isinstance(value, Mapping):
      if dataclasses.is_dataclass(old):
        value = _with(old, value, f"{name}.{key}")
      elif old is None:
        # What is not there gets the defaults of its kind, if anything is set.
        value = {k: v for k, v in value.items() if v is not None} or None
    elif value is None and key in fields:
      # As published, where it is no value of the field.
      if type(None) not in typing.get_args(hints[key]):
        continue
    fields[key] = value
  return configuration.from_config_dict(type(config), fields, name=name)
