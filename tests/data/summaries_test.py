"""Summaries of files: parts, times, and channels that reveal the label."""

import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import summaries

RNG = np.random.default_rng(0)


def table(path, label=lambda number: "ab"[number % 2]):
  """Writes 30 series, of which `rul` tells the label and x does not."""
  lines = ["id,time,x,rul,label"]
  for number in range(30):
    for step in range(4):
      day = f"2024-03-{1 + step:02}"
      left = 10 * (number % 2) + 0.1 * number - step
      x = "" if number == 0 and step == 1 else f"{RNG.normal():.3f}"
      lines.append(f"s{number},{day},{x},{left:.3f},{label(number)}")
  path.write_text("\n".join(lines) + "\n")
  return path


def load(path, **options):
  options = {"id": "id", "time": "time", "label": "label", **options}
  return data.load("table", path=path, missing="mean", **options)


def test_a_summary_says_what_the_parts_hold(tmp_path):
  path = table(tmp_path / "a.csv")
  summary = summaries.of_splits(load(path))
  assert json.loads(json.dumps(summary)) == summary
  assert summary["file"] == str(path)
  assert summary["channels"] == ["x", "rul"]
  assert (summary["label"], summary["classes"]) == (["label"], ["a", "b"])
  assert sum(x["examples"] for x in summary["parts"].values()) == 30
  for part in summary["parts"].values():
    assert part["elements"] == 4 * part["examples"]
    assert (part["first"], part["last"]) == ("2024-03-01", "2024-03-04")
  assert summary["step"] == "86400 seconds"
  assert summary["missing"] == {"share": 1 / 240, "option": "mean"}
  lines = summaries.text(summary).splitlines()
  assert "  channels: x, rul" in lines
  assert "  usual step: 86400 seconds" in lines
  assert any(
    line.endswith("elements, from 2024-03-01 to 2024-03-04") for line in lines
  )
  assert "  missing: 0.42% of the values (mean)" in lines


@pytest.mark.parametrize(
  ("label", "options", "measure"),
  [
    (lambda number: "ab"[number % 2], {}, "accuracy"),
    (
      lambda number: 10 * (number % 2) + 0.1 * number,
      {"target": "number"},
      "correlation",
    ),
  ],
)
def test_a_channel_that_alone_predicts_the_label_is_named(
  tmp_path, caplog, label, options, measure
):
  path = table(tmp_path / "a.csv", label)
  load(path, **options)
  (message,) = caplog.messages
  assert message.startswith("The channel 'rul' alone predicts 'label'")
  assert f"({measure} 1.000)" in message
  assert "ignore = 'rul'" in message
  caplog.clear()
  load(path, ignore="rul", **options)
  assert not caplog.messages


def test_a_summary_of_series_to_forecast_has_their_spans(tmp_path):
  path = tmp_path / "a.csv"
  days = np.datetime64("2024-01-01") + np.arange(40)
  rows = [f"{day},{RNG.normal():.3f},p" for day in days]
  path.write_text("\n".join(["date,y,shop", *rows]) + "\n")
  options = {"time": "date", "input_length": 3, "horizon": 1}
  for more in ({"ignore": "shop"}, {"series": "shop"}):
    splits = data.load("forecast_table", path=path, **options, **more)
    summary = summaries.of_splits(splits)
    assert summary["channels"] == ["y"]
    assert summary.get("series") == (["p"] if "series" in more else None)
    assert "missing" not in summary
    assert summary["parts"]["train"]["first"] == "2024-01-01"
    assert summary["parts"]["test"]["last"] == "2024-02-09"
    assert sum(x["elements"] for x in summary["parts"].values()) == 40
    assert summary["step"] == "86400 seconds"


def test_a_summary_says_what_was_filled(tmp_path):
  path = tmp_path / "a.csv"
  days = np.datetime64("2024-01-01") + np.arange(40)
  rows = [f"{day},{i or ''},p" for i, day in enumerate(days)]
  path.write_text("\n".join(["date,y,shop", *rows]) + "\n")
  options = {"time": "date", "missing": "mean", "input_length": 3, "horizon": 1}
  for more in ({"ignore": "shop"}, {"series": "shop"}):
    splits = data.load("forecast_table", path=path, **options, **more)
    summary = summaries.of_splits(splits)
    assert summary["missing"] == {"share": 1 / 40, "option": "mean"}


EVENTS = [
  f"u{user},u{(user + step) % 6},{'ab'[step % 2]},2024-03-{1 + step:02}T0{user}"
  for user in range(6)
  for step in range(5)
]


@pytest.mark.parametrize(
  ("loader", "options", "counts", "unit"),
  [
    (
      "event_table",
      {"stream": "source", "mark": "kind", "window": 2.0},
      {"rows": 30, "streams": 6},
      "day",
    ),
    (
      "interaction_table",
      {"user": "source", "item": "to"},
      {"rows": 30, "users": 6, "items": 6},
      None,
    ),
    ("graph_table", {"destination": "to"}, {"rows": 30, "nodes": 6}, None),
  ],
)
def test_a_summary_of_rows_counts_them_and_has_their_times(
  tmp_path, loader, options, counts, unit
):
  path = tmp_path / "a.csv"
  path.write_text("\n".join(["source,to,kind,time", *EVENTS]) + "\n")
  splits = data.load(loader, path=path, **options)
  summary = summaries.of_splits(splits)
  assert json.loads(json.dumps(summary)) == summary
  assert summary["counts"] == counts
  assert summary.get("unit") == unit
  parts = summary["parts"].values()
  assert min(x["first"] for x in parts) == "2024-03-01"
  assert max(x["last"] for x in parts) == "2024-03-05T05:00:00"
  assert all(x["examples"] for x in parts)
  lines = summaries.text(summary).splitlines()
  assert lines[1].startswith("  30 rows, 6 ")
  assert (f"  gaps are in {unit}s" in lines) == (unit is not None)


def test_a_summary_of_texts_counts_their_tokens(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("abc " * 500)
  summary = summaries.of_splits(data.load("text_files", path=path))
  # The first byte has none before it.
  assert sum(x["elements"] for x in summary["parts"].values()) == 1999


def test_data_of_no_file_have_no_summary():
  assert summaries.of_splits(data.load("seasonal")) is None
