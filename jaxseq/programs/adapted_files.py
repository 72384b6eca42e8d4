"""Files of runs that adapt a network: which it was, and what became of it."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from jaxseq import _json
from jaxseq import _limits
from jaxseq import nn
from jaxseq import validate
from jaxseq.adapt import initial_states
from jaxseq.adapt import peft_file
from jaxseq.adapt import tuning
from jaxseq.interop import huggingface
from jaxseq.tasks import adaptation
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.types import PyTree

# Of the run: which network is adapted.
FILE = "base.json"
# Of an arm: its adapters, as the PEFT library writes them.
ADAPTER = "adapter"
# And the states that sequences begin with, see `adapt.initial_states`.
STATES = "states.safetensors"
# And a pretrained model, all of whose weights are trained.
PRETRAINED = "pretrained"


def begin(
  directory: pathlib.Path, mode: str, base: str, adapted: adaptation.Base
) -> None:
  """Notes which network a run adapts, or checks that it is the same.

  Args:
    directory: of the run, which gets `FILE`.
    mode: of the program.
    base: where the network is from.
    adapted: the network.

  Raises:
    UserError: the run has begun with another network.
  """
  place = directory / FILE
  if place.is_file():
    stored = _json.loads(_limits.read_bytes(place, _limits.JSON))
    validate.instance(str(place), stored, dict, "an object")
    digest = stored.get("sha256")
    validate.instance(f"{place}: sha256", digest, str, "a digest")
    if digest != adapted.digest:
      raise errors.UserError(
        f"{str(place)!r} says that this run adapts a network with the digest "
        f"{digest[:12]}, and {base!r} has "
        f"{adapted.digest[:12]} now: put the old one back, or choose "
        "another workdir"
      )
  elif mode == "train":
    files.write_json(place, {"path": base, "sha256": adapted.digest})


def write(
  place: pathlib.Path,
  base: str,
  arm: adaptation.MethodConfig,
  adapted: adaptation.Base,
  params: PyTree,
  about: Mapping[str, Any],
  *,
  apart: bool = False,
) -> dict[str, PyTree]:
  """Writes what an arm has trained beside a network: adapters and states.

  Args:
    place: of the arm.
    base: where the network is from; "" writes no adapters.
    arm: with the method.
    adapted: the network.
    params: what was trained.
    about: goes to the adapters.
    apart: whether adapters are served beside the network, not in it.

  Returns:
    Variables of the network that are served, without the states.
  """
  method: Any = adaptation.make_method(arm, adapted)
  states = None
  if arm.method in adaptation.TUNED:
    both = isinstance(method, tuning.LoraAndStates)
    tuned, params = (params["states"], params["lora"]) if both else (params, {})
    states = (method.states if both else method).scaled(tuned)
    method = method.lora if both else None
  if "lora" in arm.method and base:
    peft_file.write(place / ADAPTER, params, base)
    text = json.dumps(about, indent=2, sort_keys=True, default=str)
    files.write_text(place / ADAPTER / "about.json", text + "\n")
  served = dict(adapted.variables)
  if method and not apart:
    served = method.served(served, params)
  if states is not None:
    initial_states.save(place / STATES, states, served)
  return served


def write_pretrained(
  place: pathlib.Path,
  base: str,
  config: nn.NetworkConfig,
  variables: Mapping[str, PyTree],
  context: int | None = None,
) -> None:
  """Writes a pretrained model with other weights, for any reader of the base.

  Args:
    place: gets the directory `PRETRAINED`, with the base's tokenizer.
    base: the directory of the model.
    config: of the network.
    variables: of the network.
    context: of the network, see `huggingface.load`.
  """
  directory = place / PRETRAINED
  huggingface.save(directory, config, variables, like=base, context=context)
