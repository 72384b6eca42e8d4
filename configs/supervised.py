"""Shared parts of the configs of supervised experiments."""

import json
import pathlib
from typing import TypeVar

from configs import blocks
from jaxseq.tasks import base
from jaxseq.training import configuration

Config = TypeVar("Config", bound=base.Comparison)


def adamw(
  learning_rate: float,
  weight_decay: float | None = None,
  warmup_steps: int | None = None,
) -> dict[str, float]:
  """Returns the fields of an optimizer that are not None."""
  fields = {
    "learning_rate": learning_rate,
    "weight_decay": weight_decay,
    "warmup_steps": warmup_steps,
  }
  return {name: value for name, value in fields.items() if value is not None}


def tiny_text(config: Config, *names: str, **fields: object) -> Config:
  """Shrinks a language model config like `tiny`, on a package of Python's."""
  root = str(pathlib.Path(json.__file__).parent)
  texts = {"data": "python_source", "data_options": {"root": root}}
  small = {"length": 16, "valid_tokens": 256}
  return tiny(config, *names, **texts, **small, **fields)


def tiny(config: Config, *names: str, **fields: object) -> Config:
  """Shrinks a config to a test run of seconds.

  Args:
    config: the config to shrink.
    *names: mixers of the arms; by default a GRU.
    **fields: other fields of the config to change.
  """
  small = configuration.updated(
    config,
    num_updates=4,
    updates_per_chunk=2,
    chunks_per_evaluation=1,
    batch_size=4,
    optimizer={"warmup_steps": 0},
    network={"stack": {"d_model": 8, "num_layers": 1}},
    arms=blocks.arms(*(names or ("gru",))),
  )
  return configuration.updated(small, **fields)
