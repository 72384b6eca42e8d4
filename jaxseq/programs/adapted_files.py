"""Files of runs that adapt a network: its digest and the trained adapters."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from jaxseq import _json
from jaxseq import limits
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

# File of a run with the digest of the adapted network.
FILE = "base.json"
# Directory of an arm's adapters, in the format of the PEFT library.
ADAPTER = "adapter"
# File of an arm's tuned initial states, see `adapt.initial_states`.
STATES = "states.safetensors"
# Directory of a fully trained pretrained model.
PRETRAINED = "pretrained"


def begin(
  directory: pathlib.Path, mode: str, base: str, adapted: adaptation.Base
) -> None:
  """Records the network that a run adapts, or checks that it is the same.

  Args:
    directory: directory of the run, in which `FILE` is written.
    mode: mode of the program.
    base: path of the network.
    adapted: the network.

  Raises:
    UserError: if the run began with another network.
  """
  place = directory / FILE
  if place.is_file():
    stored = _json.loads(limits.read_bytes(place, limits.JSON))
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
  about: Mapping[str, object],
  *,
  separate: bool = False,
) -> dict[str, PyTree]:
  """Writes the trained adapters and initial states of an arm.

  Args:
    place: directory of the arm.
    base: path of the network; "" writes no adapters.
    arm: configuration with the method.
    adapted: the network.
    params: the trained variables.
    about: written to the adapters' about.json.
    separate: whether adapters are served separately instead of merged.

  Returns:
    Variables of the network to serve, without the states.
  """
  method: Any = adaptation.make_method(arm, adapted)
  states = None
  if arm.method in adaptation.TUNED:
    has_states_and_lora = isinstance(method, tuning.LoraAndStates)
    tuned, params = (
      (params["states"], params["lora"])
      if has_states_and_lora
      else (params, {})
    )
    states = (method.states if has_states_and_lora else method).scaled(tuned)
    method = method.lora if has_states_and_lora else None
  if "lora" in arm.method and base:
    peft_file.write(place / ADAPTER, params, base)
    text = json.dumps(about, indent=2, sort_keys=True, default=str)
    files.write_text(place / ADAPTER / "about.json", text + "\n")
  served = dict(adapted.variables)
  if method and not separate:
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
  """Writes a pretrained model with new weights, in the format of the base.

  Args:
    place: directory in which to write `PRETRAINED`, with the base's tokenizer.
    base: the directory of the model.
    config: configuration of the network.
    variables: variables of the network.
    context: context of the network, see `huggingface.load`.
  """
  directory = place / PRETRAINED
  huggingface.save(directory, config, variables, like=base, context=context)
