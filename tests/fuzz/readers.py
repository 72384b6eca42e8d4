"""Every reader of files, with whole files for it to read."""

from collections.abc import Callable
import gzip
import io
import json
import pathlib
import pickle
import tempfile
from typing import Any
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from jaxseq import _codec
from jaxseq import _json
from jaxseq import data
from jaxseq import nn
from jaxseq.data import _cache
from jaxseq.data import _pickles
from jaxseq.data import anomalies
from jaxseq.data import arrays
from jaxseq.data import checks
from jaxseq.data import fm_index
from jaxseq.data import forecast_windows
from jaxseq.data import images
from jaxseq.data import npz_series
from jaxseq.data import series_table
from jaxseq.data import text
from jaxseq.data import trajectories
from jaxseq.data import ts_series
from jaxseq.data import watch
from jaxseq.data.files import cifar
from jaxseq.data.files import ett
from jaxseq.data.files import hhar
from jaxseq.data.files import lra
from jaxseq.data.files import speech_commands
from jaxseq.data.files import uci_har
from jaxseq.data.files import uea
from jaxseq.data.files import uwave
from jaxseq.data.files import wisdm
from jaxseq.data.sources import events as event_sources
from jaxseq.data.sources import images as image_sources
from jaxseq.data.sources import text as text_sources
from jaxseq.interop import described_file
from jaxseq.interop import huggingface
from jaxseq.interop import network_file
from jaxseq.interop import safetensors_file
from jaxseq.models import model_file
from jaxseq.rl import policies
from jaxseq.rl.agents import ppo
from jaxseq.training import integrity
from jaxseq.training import scalars
from tests.fuzz import contents

_GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
GOLDEN = _GOLDEN / "interop"
RNG = np.random.default_rng


class Reader(NamedTuple):
  """A reader and what it reads.

  Attributes:
    files: contents by the files' names.
    read: reads the folder of the files.
    wrap: what a file is put into after it was damaged, so that damage gets
      behind a checksum or into something compressed.
    share: share of the examples to try, less for readers that take long.
  """

  files: dict[str, bytes]
  read: Callable[[pathlib.Path], Any]
  wrap: Callable[[bytes], bytes] = bytes
  share: float = 1.0


_PIXELS = bytes([0, 0, 0, 4, 0, 0, 0, 3, 8, 0, 0, 0, 0]) + bytes(range(5)) * 3


def _fashion() -> dict[str, bytes]:
  found = {}
  for part in ("train", "t10k"):
    pixels = RNG(0).integers(0, 256, (10, 4, 4)).astype(np.uint8)
    labels = np.arange(10, dtype=np.uint8)
    found[f"{part}-images-idx3-ubyte"] = contents.idx(pixels)
    found[f"{part}-labels-idx1-ubyte"] = contents.idx(labels)
  return found


def _watch() -> dict[str, Any]:
  return {
    "X": [RNG(i).normal(size=(9, 6)) for i in range(4)],
    "y_labels": ["a", "b"],
    "y": np.array([0, 1, 0, 1]),
    "subject": np.array([1, 1, 2, 2]),
    "side": np.array([0.0, 1.0, 0.0, 1.0]),
  }


def _read_watch(folder: pathlib.Path) -> Any:
  found = watch.packages.find
  watch.packages.find = lambda *unused: folder / "watch.npy"
  try:
    return watch.load(window=4, step=2)
  finally:
    watch.packages.find = found


def _index() -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as folder:
    fm_index.build([b"a text", b"another"], 128, block=8).save(folder)
    return {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}


def _arrays() -> dict[str, bytes]:
  found = {"info.json": b'{"description": "a", "source": "b", "license": "c", '}
  found["info.json"] += b'"num_classes": 2, "channels": ["x", "y"]}'
  for part in ("train", "test"):
    inputs = RNG(0).normal(size=(4, 3, 2)).astype(np.float32)
    found[f"{part}.inputs.npy"] = contents.npy(inputs)
    found[f"{part}.targets.npy"] = contents.npy(
      np.array([0, 1, 0, 1], np.int32)
    )
    found[f"{part}.lengths.npy"] = contents.npy(
      np.array([3, 2, 1, 3], np.int32)
    )
  return found


def _recorded() -> bytes:
  buffer = io.BytesIO()
  steps = np.arange(9)
  np.savez(
    buffer,
    observations=np.stack([steps, -steps], 1).astype(np.float32),
    actions=steps % 3,
    rewards=steps / 2,
    dones=steps % 3 == 2,
  )
  return buffer.getvalue()


def _har() -> dict[str, bytes]:
  found = {}
  for part in ("train", "test"):
    row = " ".join(f"{x:.3e}" for x in RNG(0).normal(size=128))
    for name in uci_har.SIGNALS:
      found[f"{part}/Inertial Signals/{name}_{part}.txt"] = contents.lines(
        row, row
      )
    found[f"{part}/y_{part}.txt"] = contents.lines("1", "6")
    found[f"{part}/subject_{part}.txt"] = contents.lines("1", "2")
  return found


def _pathfinder() -> dict[str, bytes]:
  level = lra.LEVELS[-1]
  found = {f"{level}/imgs/{i}.png": contents.png(_PIXELS) for i in range(10)}
  rows = [f"imgs {i}.png {i} {i % 2} 1.0" for i in range(10)]
  return found | {f"{level}/metadata/1.npy": contents.lines(*rows)}


def _speech() -> dict[str, bytes]:
  found = {
    f"{w}/{i}.wav": contents.wav(40) for w in ("no", "yes") for i in range(3)
  }
  found["validation_list.txt"] = contents.lines("no/0.wav", "yes/0.wav")
  found["testing_list.txt"] = contents.lines("no/1.wav", "yes/1.wav")
  return found


def _model(name: str) -> dict[str, bytes]:
  return {
    file: (GOLDEN / name / file).read_bytes()
    for file in ("config.json", "model.safetensors")
  }


_TRAINED = _GOLDEN / "models" / "classes.safetensors"


def _described() -> bytes:
  """The JSON in the file of a trained model."""
  _, metadata = safetensors_file.read_all(_TRAINED)
  described = json.loads(metadata["jaxseq"])
  return json.dumps({**described, "sha256": ""}).encode()


def _trained(text: bytes) -> bytes:
  """The file of a trained model with other JSON, and the digest of it."""
  return _signed(text, safetensors_file.read_all(_TRAINED)[0])


def _untrained(text: bytes) -> bytes:
  """The file of a policy or a network, with a tensor as wide as its sizes."""
  return _signed(text, {"params/a": np.ones((256, 8), np.float32)})


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
_NETWORK = {
  "format": 1,
  "network": "SequenceNetwork",
  "fields": {
    "config": _codec.encode(nn.NetworkConfig(), "config"),
    "num_outputs": 3,
  },
  "versions": {},
}


def _safetensors(text: bytes) -> bytes:
  return len(text).to_bytes(8, "little") + text + bytes(24)


_TENSORS = (
  b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
  b'"b":{"dtype":"I64","shape":[1],"data_offsets":[16,24]}}'
)
_TOKENS = "[MAX 1 [MIN 9 3 ] ]"
_BATCHES = ("train", "val", "test")
_PARTS = ("train", "eval", "test")
_UEA = {"T/T_TRAIN.ts": contents.ts("1,2,?:3,4,5:a", "1,2:3,4:b")}
_STAMPED = {"t.ts": contents.ts("(0,1),(1,2):(0,3),(1,4):b", stamps="true")}
_HHAR = contents.lines(
  "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt",
  *(
    f"{i},{1000 + i},7,{i},2,3,{user},m,d_{user},{('sit', 'bike')[i // 4]}"
    for user in "ab"
    for i in range(8)
  ),
)
_WISDM = contents.lines(
  *(
    f"{user},{('Walking', 'Sitting')[i // 4]},{10**9 + i},1,{i},3;"
    for user in (1, 2)
    for i in range(8)
  )
)
_DOMAINS = {
  "source": 0,
  "target": 1,
  "window": 2,
  "step": 1,
  "valid_fraction": 0,
}
_UWAVE = {
  f"U{u} (1)/A_Acceleration{g}-1.txt": contents.lines("0.1 0.2 0.3", "1 2 3")
  for u in (4, 5)
  for g in (1, 2)
}
_CIFAR = {
  name: RNG(0).integers(0, 10, (4, 3073)).astype(np.uint8).tobytes()
  for name in ("test_batch.bin", *(f"data_batch_{i}.bin" for i in range(1, 6)))
}
_HOURLY = contents.table().replace(b"date,a,b", b"date,clouds_all,rain_1h")
_ANOMALIES = contents.lines("i,value,label", "0,1.5,0", "1,2.5,1")
_RECORD = integrity._encode(
  integrity.Record(3, [], ["a", None], {"f": [1, "b"]})
)


def _one(read: Callable[[pathlib.Path], Any]) -> Callable[[pathlib.Path], Any]:
  """Reads the only file of a folder."""
  return lambda folder: read(folder / "file")


def _checked(load: Callable[..., data.Splits], **options: Any):
  """Loads and checks as `data.load` does."""
  return lambda folder: checks.check_splits(load(folder, **options))


def _prepared(content: bytes) -> Any:
  """A preparation out of a file, put to work."""
  found = data.sources.from_json(_json.loads(content))
  return found.prepare(np.ones((2, 3, 2)), targets=["a", "b"])


_PREPARED = (
  b'{"kind": "series", "channels": ["x", "y"], "classes": ["a", "b"], "mean": '
  b'[0.5, 1], "deviation": [1, 2.5], "missing": "mask", "fill": [0, 0], '
  b'"length": 4, "reader": "table", "reader_options": {"layout": "long"}}'
)
_DIVIDED = {"test_fraction": 0.5, "valid_fraction": 0}
_LABELED = {"id": "id", "label": "label", **_DIVIDED}
READERS = {
  "long tables": Reader(
    {"a.csv": contents.walks()},
    _checked(series_table.load, time="time", **_LABELED),
  ),
  "wide tables": Reader(
    {"a.csv": contents.wide()},
    _checked(series_table.load, layout="wide", missing="mask", **_LABELED),
  ),
  "parquet": Reader(
    {"a.parquet": contents.parquet()}, _checked(series_table.load, **_LABELED)
  ),
  "forecast tables": Reader(
    {"a.csv": contents.table()},
    _checked(
      forecast_windows.load,
      time="date",
      steps="insert",
      missing="mean",
      input_length=3,
      horizon=2,
    ),
  ),
  "event tables": Reader(
    {"a.csv": contents.events()},
    _checked(
      event_sources.load, stream="stream", mark="mark", ties="spread", window=9
    ),
  ),
  "series in archives": Reader(
    {"file": contents.npz()}, _one(_checked(npz_series.load, **_DIVIDED))
  ),
  "series in ts": Reader(
    {"file": contents.ts("1,2:a", "3,4,?:b", "5:a", "6:b")},
    _one(_checked(ts_series.load, missing="mean", **_DIVIDED)),
  ),
  "texts": Reader(
    {"a.txt": b"To be or not to be" * 4}, _checked(text_sources.load)
  ),
  "pictures": Reader(
    {
      f"{kind}/{i}.png": contents.png(_PIXELS)
      for kind in "ab"
      for i in range(4)
    },
    _checked(image_sources.load, **_DIVIDED),
    share=0.3,
  ),
  "preparation": Reader(
    {"file": _PREPARED}, _one(lambda f: _prepared(f.read_bytes()))
  ),
  "json": Reader(
    {"file": _TENSORS}, _one(lambda f: _json.loads(f.read_bytes()))
  ),
  "metrics.jsonl": Reader(
    {
      "file": contents.lines('{"step": 1, "loss": [1.5, "NaN"]}', '{"step": 2}')
    },
    _one(scalars.read),
  ),
  "integrity.json": Reader(
    {"integrity.json": _RECORD.encode()}, integrity.read
  ),
  "pickles": Reader(
    {"file": pickle.dumps(np.array(_watch(), object), 3)},
    _one(lambda f: _pickles.loads(f.read_bytes())),
  ),
  "watch": Reader(
    {"watch.npy": contents.npy(np.array(_watch(), object))}, _read_watch
  ),
  "arrays": Reader(_arrays(), arrays.load),
  "arrays, missing": Reader(
    _arrays(), lambda folder: arrays.load(folder, "forward_fill")
  ),
  "fm index": Reader(_index(), fm_index.load),
  "archives": Reader({"file": _recorded()}, _one(trajectories.load)),
  "arrays in archives": Reader(
    {"file": contents.npy(np.arange(6.0))},
    _one(_cache.read),
    contents.zipped("a.npy"),
  ),
  "idx": Reader(_fashion(), _checked(lambda path: images.fashion(path=path))),
  "idx.gz": Reader(
    {"file": contents.idx(np.zeros((3, 4), np.uint8))},
    _one(images._read_idx),
    gzip.compress,
  ),
  "gz": Reader(
    {"file": gzip.compress(contents.idx(np.zeros((3, 4), np.uint8)))},
    _one(images._read_idx),
  ),
  "cifar": Reader(_CIFAR, _checked(cifar.load, valid_fraction=0)),
  "png": Reader({"file": contents.png(_PIXELS)}, _one(lra._read_png)),
  "pixels of png": Reader({"file": _PIXELS}, _one(lra._read_png), contents.png),
  "csv": Reader(
    {"file": contents.table()},
    _one(_checked(ett.load, input_length=3, horizon=2)),
  ),
  "csv in zip": Reader(
    {"file": _HOURLY},
    _one(lambda f: forecast_windows._unzipped(f)),
    contents.zipped("a.csv"),
  ),
  "csv of anomalies": Reader(
    {"file": _ANOMALIES},
    _one(lambda f: anomalies.parse_csv(f.read_text("utf-8", "replace"), "")),
  ),
  "bible": Reader(
    {"file": b"Ge1:1 In the\nGe1:2 And the\nEx1:1 Now these\n"},
    _one(lambda f: text._documents_of_bible(f.read_bytes(), "book")),
  ),
  "hhar": Reader(
    {"file": _HHAR},
    _one(_checked(hhar.load, **_DOMAINS)),
  ),
  "wisdm": Reader(
    {"file": _WISDM},
    _one(_checked(wisdm.load, min_records=1, **_DOMAINS)),
  ),
  "uci_har": Reader(
    _har(),
    _checked(uci_har.load, source=1, target=2, valid_fraction=0),
    share=0.3,
  ),
  "uwave": Reader(_UWAVE, _checked(uwave.load, valid_fraction=0)),
  "uea": Reader(
    _UEA | {"T/T_TEST.ts": contents.ts("1:2:b")},
    _checked(
      lambda folder: ts_series.archive(
        folder / "T/T_TRAIN.ts", folder / "T/T_TEST.ts", missing="mask"
      )
    ),
  ),
  "time stamps": Reader(_STAMPED, lambda folder: uea.read_ts(folder / "t.ts")),
  "speech": Reader(_speech(), _checked(speech_commands.load)),
  "lra listops": Reader(
    {
      f"basic_{b}.tsv": contents.lines(f"{_TOKENS}\t3", "5\t5")
      for b in _BATCHES
    },
    _checked(lra.listops),
  ),
  "lra text": Reader(
    {f"{b}.tsv": contents.lines("1\tGood film", "0\tBad") for b in _BATCHES},
    _checked(lra.text, max_length=16),
  ),
  "lra retrieval": Reader(
    {
      f"new_aan_pairs.{p}.tsv": contents.lines(
        "1.0\t1\t2\tab\tc", "0\t1\t2\td\te"
      )
      for p in _PARTS
    },
    _checked(lra.retrieval, max_length=8),
  ),
  "lra pathfinder": Reader(_pathfinder(), _checked(lra.pathfinder), share=0.3),
  "safetensors": Reader(
    {"file": _safetensors(_TENSORS)}, _one(safetensors_file.read)
  ),
  "header of safetensors": Reader(
    {"file": _TENSORS}, _one(safetensors_file.read), _safetensors
  ),
  "models": Reader(
    {"file": _TRAINED.read_bytes()}, _one(model_file.load), share=0.5
  ),
  "JSON of models": Reader(
    {"file": _described()}, _one(model_file.load), _trained, share=0.5
  ),
  "policies": Reader(
    {"file": json.dumps(_POLICY).encode()},
    _one(policies.load),
    _untrained,
    share=0.5,
  ),
  "networks": Reader(
    {"file": json.dumps(_NETWORK).encode()},
    _one(network_file.load),
    _untrained,
    share=0.5,
  ),
  "mamba": Reader(_model("mamba"), huggingface.load, share=0.1),
  "mamba2": Reader(_model("mamba2"), huggingface.load, share=0.1),
}
