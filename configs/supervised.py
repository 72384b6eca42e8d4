"""What the configs of supervised experiments say alike."""

from collections.abc import Sequence
import json
import pathlib

import ml_collections

from configs import blocks
from jaxseq import _validate


def base(
  variant: str, variants: Sequence[str], **fields: object
) -> ml_collections.ConfigDict:
  """Returns a config of two seeds.

  Args:
    variant: what is asked for.
    variants: what there is.
    **fields: of the config.

  Raises:
    ValueError: there is no such variant.
  """
  _validate.choice("variant", variant, variants)
  return ml_collections.ConfigDict({"seed": 0, "num_seeds": 2, **fields})


def adamw(
  learning_rate: float,
  weight_decay: float | None = None,
  warmup_steps: int | None = None,
) -> dict[str, float]:
  """Returns the fields of an optimiser, but for those that are None."""
  fields = {
    "learning_rate": learning_rate,
    "weight_decay": weight_decay,
    "warmup_steps": warmup_steps,
  }
  return {name: value for name, value in fields.items() if value is not None}


def tiny_text(
  config: ml_collections.ConfigDict, *names: str, **fields: object
) -> ml_collections.ConfigDict:
  """Shrinks a config of language models, on a small package of Python's own.

  Args:
    config: what is shrunk.
    *names: mixers of the arms; a GRU if there is none.
    **fields: of the config, which are changed as well.
  """
  root = pathlib.Path(json.__file__).parent
  config.update(data="python_source", data_options={"root": str(root)})
  return tiny(config, *names, length=16, valid_tokens=256, **fields)


def tiny(
  config: ml_collections.ConfigDict, *names: str, **fields: object
) -> ml_collections.ConfigDict:
  """Shrinks a config to seconds: it learns nothing.

  Args:
    config: what is shrunk.
    *names: mixers of the arms; a GRU if there is none.
    **fields: of the config, which are changed as well.
  """
  config.update(num_updates=4, updates_per_chunk=2, chunks_per_evaluation=1)
  config.update(batch_size=4, **fields)
  config.optimizer.update(warmup_steps=0)
  config.network.stack.update(d_model=8, num_layers=1)
  config.arms = blocks.arms(*(names or ("gru",)))
  return config
