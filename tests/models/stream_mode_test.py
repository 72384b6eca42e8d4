"""The mode "serve_stream": an answer to each event that comes."""

import csv
import dataclasses
import json
import resource
import types
from unittest import mock

import numpy as np
import pytest

from jaxseq.models import model_file
from jaxseq.models import stream_mode
from jaxseq.training import errors
from tests.experiments import programs
from tests.models import cases

LINES = ["time,user,item", "0,a,3", "1,b,7", "2,a,odd", "3,a,5", "4,b"]


def test_answers_are_what_the_model_says_of_the_histories_so_far():
  model = cases.case("recommendation").model
  first, other, odd, second, short = stream_mode.answers(
    model.parts.stream(model), LINES
  )
  for answer, history in ((first, ["3"]), (other, ["7"]), (second, ["3", "5"])):
    wanted = model.predict([history])
    assert answer["items"] == wanted["item"].tolist()
    np.testing.assert_allclose(answer["scores"], wanted["score"], rtol=1e-4)
  assert (first["user"], other["user"]) == ("a", "b")
  reason = "item: got 'odd', expected an item of the training."
  assert odd == {"row": 3, "user": "a", "error": reason}
  reason = "item: got nothing, expected an entry of the row."
  assert short == {"row": 5, "user": "b", "error": reason}
  (lacking,) = stream_mode.answers(model.parts.stream(model), ["user", "a"])
  assert lacking == {"row": 1, "user": "a", "error": "no column 'item'"}


def test_times_that_are_none_are_refused_and_change_nothing():
  model = cases.case("recommendation").model
  lines = ["user,item,time", "a,3", "a,5,soon", "a,5,2,9", "a,5,", "a,7,0"]
  first, text, long, empty, last = stream_mode.answers(
    model.parts.stream(model), lines
  )
  # Without gaps a time is not needed.
  assert "items" in first
  assert text["error"].startswith("time: got 'soon', expected a date")
  assert (text["row"], text["user"]) == (2, "a")
  assert long["error"] == "row: got more entries than there are columns."
  (nobody,) = stream_mode.answers(
    model.parts.stream(model), ["user,item,time", ",5,2020-01-01"]
  )
  assert nobody["error"] == "user: got nothing, expected an entry of the row."
  lines = ["user,item", "a,3", "a,5", "a,7"]
  wanted = stream_mode.answers(model.parts.stream(model), lines)
  assert [first, empty, last] == list(wanted)


def test_a_row_that_is_no_csv_does_not_end_the_answers():
  model = cases.case("recommendation").model
  # As a mark of a quotation that never ends leaves it.
  lines = ["user,item", "a,3", f"b,{'x' * csv.field_size_limit()}x", "a,5"]
  first, wrong, last = stream_mode.answers(model.parts.stream(model), lines)
  assert wrong["row"] == 2
  assert wrong["error"].startswith("row: field larger than field limit")
  assert [first["user"], wrong["user"], last["user"]] == ["a", None, "a"]
  assert not list(stream_mode.answers(model.parts.stream(model), []))


def test_with_gaps_times_do_not_go_back(monkeypatch):
  case = cases.case("recommendation")
  preparation = dataclasses.replace(case.model.preparation, gap=1.0)
  model = dataclasses.replace(case.model, preparation=preparation)
  stream = model.parts.stream(model)
  seen = []
  network = types.SimpleNamespace(gaps=True)
  monkeypatch.setattr(stream, "_users", mock.Mock(network=network))
  monkeypatch.setattr(stream, "recommend", lambda user: {"user": user})
  stream._users.update = lambda *event: seen.append(event)
  lines = ["user,item,time", "a,3,4", "a,5", "a,5,3", "a,5,2024-01-31", "a,5,4"]
  replies = list(stream_mode.answers(stream, lines))
  assert [reply.get("row") for reply in replies] == [None, 2, 3, 4, None]
  assert replies[1]["error"].startswith("time: got nothing, expected")
  for reply in replies[2:4]:
    assert "expected a time from 4.0 on, that of" in reply["error"]
  assert seen == [("a", 4, 1.0), ("a", 6, 1.0)]


def test_a_run_answers_the_rows_of_a_file(monkeypatch, tmp_path, capsys):
  model = cases.case("recommendation").model
  arm = tmp_path / "run" / "gru"
  arm.mkdir(parents=True)
  model_file.save(arm / model_file.NAME, model)
  events, output = tmp_path / "events.csv", tmp_path / "answers.jsonl"
  # A mark of the encoding, and a user whose name is no UTF-8.
  text = "\ufeff" + "\n".join([*LINES, "5,X,3", ""])
  events.write_bytes(text.encode().replace(b"X", b"\xff"))
  argv = [
    "recommend",
    f"--workdir={tmp_path / 'run'}",
    "--mode=serve_stream",
    f"--output={output}",
  ]
  with pytest.raises(errors.UserError, match="--data=FILE is missing"):
    programs.call_with(monkeypatch, "recommend", argv)
  programs.call_with(monkeypatch, "recommend", [*argv, f"--data={events}"])
  rows = [json.loads(line) for line in output.read_text().splitlines()]
  assert [row.get("user") for row in rows] == [*"abaab", "\ufffd"]
  assert [row.get("row") for row in rows] == [None, None, 3, None, 5, None]
  assert "6 events" in capsys.readouterr().err
  with pytest.raises(errors.UserError, match=r"answers\.jsonl"):
    programs.call_with(monkeypatch, "recommend", [*argv, f"--data={events}"])


@pytest.mark.slow
def test_memory_is_flat_over_many_events():
  model = cases.case("recommendation").model
  answer = model.parts.stream(model)
  peaks = []
  for events in (2_000, 20_000):
    for number in range(events):
      answer({"user": str(number % 50), "item": str(number % 13)})
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
  # What Python and XLA hold back: a list of all events would be more.
  assert peaks[1] - peaks[0] < 16 * 1024
