"""Readers of logs, graphs and lists of events."""

import gzip
import json
import pathlib
import pickle
from typing import Any

import numpy as np

from experiments.continual import event_origins
from jaxseq.data import event_graphs
from jaxseq.data.files import movielens
from jaxseq.data.sources import events
from jaxseq.data.sources import interactions
from jaxseq.data.sources import logs
from tests.fuzz import contents
from tests.fuzz.reader import Reader
from tests.fuzz.reader import again
from tests.fuzz.reader import checked
from tests.fuzz.reader import one


def _log(cases: int = 12) -> bytes:
  rows = [f"{i},{name},start" for i in range(cases) for name in "abc"]
  head = "case:concept:name,concept:name,lifecycle:transition"
  return contents.lines(head, *rows)


def _xes(cases: int = 12) -> bytes:
  named = '<string key="concept:name" value="{}"/>'
  event = f"<event>{named}</event>"
  traces = [
    f"<trace>{named.format(i)}{''.join(map(event.format, 'abc'))}</trace>"
    for i in range(cases)
  ]
  return f"<?xml version='1.0'?><log>{''.join(traces)}</log>".encode()


def _load_log(folder: pathlib.Path) -> Any:
  return checked(logs.load)(folder / "file.csv")


def _sequences(part: str) -> list[dict[str, Any]]:
  return [
    {
      "dim_process": 3,
      "time_since_start": [0.0, 1.5, 2.0 + i],
      "type_event": [1, 0, (i + len(part)) % 3],
    }
    for i in range(6)
  ]


_LISTS = {
  f"{part}.json": json.dumps(_sequences(part)).encode()
  for part in ("train", "dev", "test")
}
_PICKLES = {
  f"{part}.pkl": pickle.dumps(
    {
      "dim_process": 3,
      part: [
        [{"time_since_start": float(t), "type_event": t % 3} for t in range(4)]
        for _ in range(5)
      ],
    },
    2,
  )
  for part in ("train", "dev", "test")
}


def _load_lists(folder: pathlib.Path) -> Any:
  return checked(events.load_lists)(str(folder))


def _edges(start: int = 0) -> bytes:
  times = range(start, start + 60)
  rows = [f"u{i % 5},v{i % 7},{i}.5,{i}" for i in times]
  return contents.lines("source,destination,time,size", *rows)


_TGB = {
  "T/T.csv": contents.lines(
    "src,dst,time,split",
    *(f"{i % 4},{4 + i % 5},{i},{min(2, i // 16)}" for i in range(40)),
  ),
  "T/T_test_ns.npy": contents.npy(np.full((8, 3), 5)),
  "T/T_edge_feat.npy": contents.npy(np.ones((40, 2), np.float32)),
}
_TAKEN = contents.lines(
  "user,item,time",
  *(f"u{i % 4},i{i % 7},2024-01-{1 + i // 4:02}" for i in range(60)),
)
_RATINGS = contents.lines(
  *(f"{1 + i % 4}::{1 + i % 7}::5::{978300000 + i}" for i in range(60))
)
_graph = checked(event_graphs.load, features=("size",), candidates=3)
_histories = checked(interactions.load)
READERS = {
  "event logs": Reader(
    {"file.csv": _log()}, lambda f: logs.load(f / "file.csv")
  ),
  "event logs, again": Reader(
    {"file.csv": _log()}, again(lambda f: logs.load(f / "file.csv"), "file.csv")
  ),
  "event logs in XES": Reader(
    {"a.xes": _xes()}, lambda folder: logs.load(folder / "a.xes")
  ),
  "event logs in gzip": Reader(
    {"a.xes.gz": _xes()},
    lambda folder: logs.load(folder / "a.xes.gz"),
    gzip.compress,
  ),
  "event lists": Reader(_LISTS, _load_lists),
  "event lists in pickles": Reader(_PICKLES, _load_lists),
  "origins of events": Reader(
    {"0.csv": contents.events(), "1.csv": contents.events()},
    lambda folder: event_origins.load(
      paths=(str(folder / "0.csv"), str(folder / "1.csv"))
    ),
  ),
  "graphs": Reader({"a.csv": _edges()}, _graph),
  "graphs, again": Reader(
    {"a.csv": _edges(), "b.csv": _edges(60)},
    again(lambda folder: _graph(folder / "a.csv"), "b.csv"),
  ),
  "tgb_seq": Reader(
    _TGB,
    lambda folder: checked(event_graphs.tgb_seq, candidates=3)(folder / "T"),
  ),
  "histories": Reader({"a.csv": _TAKEN}, _histories),
  "histories, again": Reader({"a.csv": _TAKEN}, again(_histories)),
  "ml_1m": Reader({"file": _RATINGS}, one(checked(movielens.ml_1m))),
}
