"""Readers of models, adapters, exported programs and files of runs."""

import hashlib
import json
import pathlib
import tempfile
import types
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from jaxseq import _codec
from jaxseq import nn
from jaxseq.adapt import initial_states
from jaxseq.adapt import peft_file
from jaxseq.adapt import quantized
from jaxseq.interop import described_file
from jaxseq.interop import huggingface
from jaxseq.interop import network_file
from jaxseq.interop import row_predictors
from jaxseq.interop import safetensors_file
from jaxseq.interop import step_program
from jaxseq.interop import streamed
from jaxseq.models import model_file
from jaxseq.programs import adapt
from jaxseq.programs import adapted_files
from jaxseq.programs import serve
from jaxseq.rl import conditioned_players
from jaxseq.rl import policies
from jaxseq.rl import recording
from jaxseq.rl.agents import ppo
from jaxseq.training import integrity
from jaxseq.training import loggers
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training.comparison import _resumed_config
from jaxseq.training.comparison import report
from tests.fuzz import contents
from tests.fuzz.reader import Reader
from tests.fuzz.reader import one

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"


def _model(name: str) -> dict[str, bytes]:
  return {
    file: (GOLDEN / name / file).read_bytes()
    for file in ("config.json", "model.safetensors")
  }


_ADAPTER = {
  file: (GOLDEN / "adapt/lora/bamba" / file).read_bytes()
  for file in ("adapter_config.json", "adapter_model.safetensors")
}
_TRAINED = GOLDEN / "models/classes.safetensors"
_PLAYER = GOLDEN / "models/player.safetensors"


def _described(path: pathlib.Path) -> bytes:
  """The JSON in the file of something trained."""
  _, metadata = safetensors_file.read_all(path)
  described = json.loads(metadata["jaxseq"])
  return json.dumps({**described, "sha256": ""}).encode()


def _trained(text: bytes) -> bytes:
  """The file of a trained model with other JSON, and the digest of it."""
  return _signed(text, safetensors_file.read_all(_TRAINED)[0])


def _player(text: bytes) -> bytes:
  """The same of a player."""
  return _signed(text, safetensors_file.read_all(_PLAYER)[0])


def _untrained(text: bytes) -> bytes:
  """The file of a policy or a network, with a tensor as wide as its sizes."""
  return _signed(text, {"params/a": np.ones((256, 8), np.float32)})


def _states(text: bytes) -> bytes:
  """The file of initial states."""
  return _signed(text, {"states/0/h": np.ones(8, np.float32)})


def _int8(text: bytes) -> bytes:
  """The file of a network with a weight in 8 bits."""
  tensors: dict[str, Any] = {"params/a": np.ones((256, 8), np.int8)}
  tensors["params/a.scale"] = np.ones(8, np.float32)
  return _signed(text, tensors)


def _predictors(text: bytes) -> bytes:
  """The file of predictors of active neurons."""
  factors = {"a/W_in": (4, 2), "a/W_out": (2, 9)}
  tensors = {name: np.ones(x, np.float32) for name, x in factors.items()}
  return _signed(text, tensors)


def _rows(text: bytes) -> bytes:
  """The file of a network with one feed-forward to stream."""
  place = "params/stack/layers_0/feedforward"
  shapes = {f"{place}/rows": (9, 16), f"{place}/out/bias": (8,)}
  return _signed(text, {k: np.ones(x, np.float32) for k, x in shapes.items()})


def _signed(text: bytes, tensors: dict[str, np.ndarray]) -> bytes:
  """A file of JSON and tensors, with the digest of both."""
  try:
    described = json.loads(text)
    described.pop("sha256", None)
    described["sha256"] = described_file.digest(described, tensors)
    text = json.dumps(described).encode()
  except (ValueError, AttributeError, TypeError, RecursionError):
    pass
  metadata = {"jaxseq": text.decode(errors="replace")}
  return safetensors.numpy.save(tensors, metadata)


# What files of policies and of networks say of themselves.
_POLICY = {
  "format": 1,
  "algorithm": "ppo",
  "config": _codec.encode(ppo.Config(), "config"),
  "versions": {},
}
_FIELDS = {
  "network": "SequenceNetwork",
  "fields": {
    "config": _codec.encode(nn.NetworkConfig(), "config"),
    "num_outputs": 3,
  },
}
_NETWORK = {"format": 1, **_FIELDS, "versions": {}}
_WEIGHTS = {
  "bits": 8,
  "group": None,
  "weights": {"params/a": ["columns", "float"]},
}
_QUANTIZED = {"format": 1, "quantized": _WEIGHTS, "of": _FIELDS, "versions": {}}
_STREAMED = {
  "format": 1,
  "streamed": {
    "network": "SequenceNetwork",
    "fields": {
      "config": _codec.encode(
        nn.NetworkConfig(
          nn.StackConfig("gru", d_model=8, num_layers=1, feedforward="relu")
        ),
        "config",
      ),
      "num_outputs": 3,
    },
  },
  "source": "",
  "versions": {},
}
_PREDICTORS = {"format": 1, "thresholds": {"a": 0.5}, "versions": {}}
_TUNED = {"format": 1, "base": "0" * 64, "paths": ["0/h"], "versions": {}}


def _safetensors(text: bytes) -> bytes:
  return len(text).to_bytes(8, "little") + text + bytes(24)


TENSORS = (
  b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
  b'"b":{"dtype":"I64","shape":[1],"data_offsets":[16,24]}}'
)
_PROGRAM = json.dumps(
  {
    "format": 1,
    "form": "jax",
    "inputs": [{"name": "reset", "shape": ["batch"], "dtype": "bool"}],
    "about": {"kind": "language"},
    "files": {"walks.bin": hashlib.sha256(b"a program").hexdigest()},
  }
).encode()


def _described_program(text: bytes) -> bytes:
  """The JSON of a program with the digest of itself; the program as it is."""
  try:
    described = json.loads(text)
    described["sha256"] = step_program._sha256(
      step_program._canonical(described)
    )
    return json.dumps(described).encode()
  except (ValueError, TypeError, RecursionError):
    return text


_RECORD = integrity._encode(
  integrity.Record(3, [], ["a", None], {"f": [1, "b"]})
)


def _checkpoint() -> dict[str, bytes]:
  """A checkpoint's files, and the record of them."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "d").mkdir()
    (folder / "d/0").write_bytes(b"an array" * 9)
    files = integrity.file_digests(folder)
    integrity.write(folder, integrity.Record(3, [], [], files))
    return {
      path.relative_to(folder).as_posix(): path.read_bytes()
      for path in folder.rglob("*")
      if path.is_file()
    }


def _read_checkpoint(folder: pathlib.Path) -> None:
  integrity.check_files(folder, integrity.read(folder))


_RUN = run_directory._describe({"a": 1}, "icrl")
_RUN_FILES = {
  "config.json": json.dumps(_RUN).encode(),
  "versions.json": json.dumps(run_directory.versions()).encode(),
  "base.json": b'{"path": "a", "sha256": "00"}',
  "loggers.json": b'{"wandb": {"id": "a"}}',
  report.RESULTS: b'{"a": {"0": [1.5]}}',
  recording.LEVELS_FILE: b'{"random": 1.5, "expert": 9}',
  recording.RECORDED: contents.recorded(),
}


def _read_run(folder: pathlib.Path) -> None:
  """Reads what a run keeps of itself."""
  run_directory.open_existing(folder, {"a": 1}, experiment="icrl")
  _resumed_config.config_of(folder)
  run_directory._write_versions(folder / "versions.json")
  base = types.SimpleNamespace(digest="00")
  adapted_files.begin(folder, "evaluate", "a", base)
  loggers._read(folder)
  report.read(folder)
  recording.load_or_make(
    folder, ppo.Config(), jax.random.key(0), 1, make_it=False
  )


def _read_served(folder: pathlib.Path) -> None:
  """Reads a directory of a pretrained model, as the server does."""
  network = types.SimpleNamespace(vocab_size=9)
  adapt._start(folder, types.SimpleNamespace(network=network, stop_tokens=(1,)))
  serve.load(folder)


# The JSON of each kind of files that describe themselves.
KINDS = {
  "initial_states": "initial states",
  "model": "JSON of models",
  "network": "networks",
  "player": "JSON of players",
  "policy": "policies",
  "quantized": "networks in 8 bits",
  "row_predictors": "predictors of neurons",
  "streamed": "streamed networks",
}
READERS = {
  "safetensors": Reader(
    {"file": _safetensors(TENSORS)}, one(safetensors_file.read)
  ),
  "header of safetensors": Reader(
    {"file": TENSORS}, one(safetensors_file.read), _safetensors
  ),
  "models": Reader(
    {"file": _TRAINED.read_bytes()}, one(model_file.load), share=0.5
  ),
  KINDS["model"]: Reader(
    {"file": _described(_TRAINED)}, one(model_file.load), _trained, share=0.5
  ),
  KINDS["player"]: Reader(
    {"file": _described(_PLAYER)},
    one(conditioned_players.load),
    _player,
    share=0.3,
  ),
  KINDS["policy"]: Reader(
    {"file": json.dumps(_POLICY).encode()},
    one(policies.load),
    _untrained,
    share=0.5,
  ),
  KINDS["network"]: Reader(
    {"file": json.dumps(_NETWORK).encode()},
    one(network_file.load),
    _untrained,
    share=0.5,
  ),
  KINDS["quantized"]: Reader(
    {"file": json.dumps(_QUANTIZED).encode()},
    one(quantized.load),
    _int8,
    share=0.5,
  ),
  KINDS["streamed"]: Reader(
    {"file": json.dumps(_STREAMED).encode()},
    one(lambda path: streamed.load(path, "1MB")),
    _rows,
    share=0.5,
  ),
  KINDS["row_predictors"]: Reader(
    {"file": json.dumps(_PREDICTORS).encode()},
    one(row_predictors.load),
    _predictors,
  ),
  KINDS["initial_states"]: Reader(
    {"file": json.dumps(_TUNED).encode()}, one(initial_states.load), _states
  ),
  "mamba": Reader(_model("interop/mamba"), huggingface.load, share=0.1),
  "mamba2": Reader(_model("interop/mamba2"), huggingface.load, share=0.1),
  "served": Reader(
    _model("interop/mamba")
    | {
      "generation_config.json": b'{"eos_token_id": [1, 2]}',
      "tokenizer.json": (GOLDEN / "adapt/chats/tokenizer.json").read_bytes(),
    },
    _read_served,
    share=0.1,
    needs="tokenizers",
  ),
  "adapters": Reader(
    _ADAPTER,
    lambda folder: peft_file.read(folder, GOLDEN / "hybrids/bamba"),
    share=0.5,
  ),
  "exported programs": Reader(
    {"walks.json": _PROGRAM, "walks.bin": b"a program"},
    lambda folder: step_program.read(folder / "walks.bin"),
    _described_program,
  ),
  "metrics.jsonl": Reader(
    {
      "file": contents.lines('{"step": 1, "loss": [1.5, "NaN"]}', '{"step": 2}')
    },
    one(scalars.read),
  ),
  "integrity.json": Reader(
    {"integrity.json": _RECORD.encode()}, integrity.read
  ),
  "checkpoints": Reader(_checkpoint(), _read_checkpoint),
  "runs": Reader(_RUN_FILES, _read_run),
}
