"""Every reader of files, with whole files for it to read."""

from collections.abc import Callable
import gzip
import pathlib
import pickle
import tempfile
from typing import Any

import numpy as np

from experiments.lra import cifar
from experiments.lra import data as lra
from experiments.sensors import anomalies
from experiments.sensors import hhar
from experiments.sensors import uci_har
from experiments.sensors import uwave
from experiments.sensors import watch
from experiments.sensors import wisdm
from experiments.speech_commands import data as speech_commands
from jaxseq import _json
from jaxseq import data
from jaxseq import limits
from jaxseq.data import arrays
from jaxseq.data import cache
from jaxseq.data import fm_index
from jaxseq.data import forecast_tables
from jaxseq.data import forecast_windows
from jaxseq.data import images
from jaxseq.data import npz_series
from jaxseq.data import packages
from jaxseq.data import pickles
from jaxseq.data import series_table
from jaxseq.data import text
from jaxseq.data import trajectories
from jaxseq.data import ts_series
from jaxseq.data.files import ett
from jaxseq.data.files import uea
from jaxseq.data.sources import events as event_sources
from jaxseq.data.sources import images as image_sources
from jaxseq.data.sources import text as text_sources
from tests.fuzz import contents
from tests.fuzz import model_readers
from tests.fuzz import table_readers
from tests.fuzz import text_readers
from tests.fuzz.reader import Reader
from tests.fuzz.reader import again
from tests.fuzz.reader import checked
from tests.fuzz.reader import one

RNG = np.random.default_rng


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


def _packaged(file: str, read: Callable[[], Any]):
  """Reads a file as one inside of a package."""

  def run(folder):
    found = packages.find
    packages.find = lambda *unused: folder / file
    try:
      return read()
    finally:
      packages.find = found

  return run


_read_watch = _packaged("watch.npy", lambda: watch.load(window=4, step=2))


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
    checked(series_table.load, time="time", **_LABELED),
  ),
  "wide tables": Reader(
    {"a.csv": contents.wide()},
    checked(series_table.load, layout="wide", missing="mask", **_LABELED),
  ),
  "parquet": Reader(
    {"a.parquet": contents.parquet()}, checked(series_table.load, **_LABELED)
  ),
  "forecast tables": Reader(
    {"a.csv": contents.table()},
    checked(
      forecast_tables.load,
      time="date",
      steps="insert",
      missing="mean",
      input_length=3,
      horizon=2,
    ),
  ),
  "panel tables": Reader(
    {"a.csv": contents.panel()},
    checked(
      forecast_tables.load,
      time="day",
      series="shop",
      known="price,holiday",
      missing="mean",
      input_length=3,
      horizon=2,
    ),
  ),
  "event tables": Reader(
    {"a.csv": contents.events()},
    checked(
      event_sources.load, stream="stream", mark="mark", ties="spread", window=9
    ),
  ),
  "series in archives": Reader(
    {"file": contents.npz()}, one(checked(npz_series.load, **_DIVIDED))
  ),
  "series in ts": Reader(
    {"file": contents.ts("1,2:a", "3,4,?:b", "5:a", "6:b")},
    one(checked(ts_series.load, missing="mean", **_DIVIDED)),
  ),
  "texts": Reader(
    {"a.txt": b"To be or not to be" * 4}, checked(text_sources.load)
  ),
  "pictures": Reader(
    {
      f"{kind}/{i}.png": contents.png(_PIXELS)
      for kind in "ab"
      for i in range(4)
    },
    checked(image_sources.load, **_DIVIDED),
    share=0.3,
  ),
  "preparation": Reader(
    {"file": _PREPARED}, one(lambda f: _prepared(limits.read_bytes(f)))
  ),
  "json": Reader(
    {"file": model_readers.TENSORS},
    one(lambda f: _json.loads(limits.read_bytes(f))),
  ),
  "pickles": Reader(
    {"file": pickle.dumps(np.array(_watch(), object), 3)},
    one(lambda f: pickles.loads(limits.read_bytes(f))),
  ),
  "watch": Reader(
    {"watch.npy": contents.npy(np.array(_watch(), object))}, _read_watch
  ),
  "arrays": Reader(_arrays(), arrays.load),
  "arrays, missing": Reader(
    _arrays(), lambda folder: arrays.load(folder, "forward_fill")
  ),
  "fm index": Reader(_index(), fm_index.load),
  "archives": Reader({"file": contents.recorded()}, one(trajectories.load)),
  "arrays in archives": Reader(
    {"file": contents.npy(np.arange(6.0))},
    one(cache.read),
    contents.zipped("a.npy"),
  ),
  "idx": Reader(_fashion(), checked(lambda path: images.fashion(path=path))),
  "idx.gz": Reader(
    {"file": contents.idx(np.zeros((3, 4), np.uint8))},
    one(images._read_idx),
    gzip.compress,
  ),
  "gz": Reader(
    {"file": gzip.compress(contents.idx(np.zeros((3, 4), np.uint8)))},
    one(images._read_idx),
  ),
  "cifar": Reader(_CIFAR, checked(cifar.load, valid_fraction=0)),
  "png": Reader({"file": contents.png(_PIXELS)}, one(lra._read_png)),
  "pixels of png": Reader({"file": _PIXELS}, one(lra._read_png), contents.png),
  "csv": Reader(
    {"file": contents.table()},
    one(checked(ett.load, input_length=3, horizon=2)),
  ),
  "csv in zip": Reader(
    {"file": _HOURLY},
    one(lambda f: forecast_windows._unzipped(f)),
    contents.zipped("a.csv"),
  ),
  "csv of anomalies": Reader(
    {"file": _ANOMALIES}, _packaged("file", lambda: anomalies._read("a", "b"))
  ),
  "bible": Reader(
    {"file": b"Ge1:1 In the\nGe1:2 And the\nEx1:1 Now these\n"},
    one(lambda f: text._documents_of_bible(limits.read_bytes(f), "book")),
  ),
  "hhar": Reader(
    {"file": _HHAR},
    one(checked(hhar.load, **_DOMAINS)),
  ),
  "wisdm": Reader(
    {"file": _WISDM},
    one(checked(wisdm.load, min_records=1, **_DOMAINS)),
  ),
  "uci_har": Reader(
    _har(),
    checked(uci_har.load, source=1, target=2, valid_fraction=0),
    share=0.3,
  ),
  "uwave": Reader(_UWAVE, checked(uwave.load, valid_fraction=0)),
  "uea": Reader(
    _UEA | {"T/T_TEST.ts": contents.ts("1:2:b")},
    checked(
      lambda folder: ts_series.archive(
        folder / "T/T_TRAIN.ts", folder / "T/T_TEST.ts", missing="mask"
      )
    ),
  ),
  "time stamps": Reader(_STAMPED, lambda folder: uea.read_ts(folder / "t.ts")),
  "speech": Reader(_speech(), checked(speech_commands.load)),
  "lra listops": Reader(
    {
      f"basic_{b}.tsv": contents.lines(f"{_TOKENS}\t3", "5\t5")
      for b in _BATCHES
    },
    checked(lra.listops),
  ),
  "lra text": Reader(
    {f"{b}.tsv": contents.lines("1\tGood film", "0\tBad") for b in _BATCHES},
    checked(lra.text, max_length=16),
  ),
  "lra retrieval": Reader(
    {
      f"new_aan_pairs.{p}.tsv": contents.lines(
        "1.0\t1\t2\tab\tc", "0\t1\t2\td\te"
      )
      for p in _PARTS
    },
    checked(lra.retrieval, max_length=8),
  ),
  "lra pathfinder": Reader(_pathfinder(), checked(lra.pathfinder), share=0.3),
}
READERS |= {
  f"{name}, again": READERS[name]._replace(
    read=again(READERS[name].read, place)
  )
  for name, place in (
    ("long tables", ""),
    ("wide tables", ""),
    ("parquet", ""),
    ("forecast tables", ""),
    ("panel tables", ""),
    ("event tables", ""),
    ("series in archives", "file"),
    ("series in ts", "file"),
    ("texts", ""),
    ("pictures", ""),
  )
}
READERS |= model_readers.READERS | table_readers.READERS | text_readers.READERS
