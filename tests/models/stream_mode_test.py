"""The mode "serve_stream": an answer to each event that comes."""

import json
import resource

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
  assert odd == {"error": "item: got 'odd', expected an item of the training."}
  assert "error" in short
  (lacking,) = stream_mode.answers(model.parts.stream(model), ["user", "a"])
  assert lacking == {"error": "no column 'item'"}


def test_a_run_answers_the_rows_of_a_file(monkeypatch, tmp_path, capsys):
  model = cases.case("recommendation").model
  arm = tmp_path / "run" / "gru"
  arm.mkdir(parents=True)
  model_file.save(arm / model_file.NAME, model)
  events, output = tmp_path / "events.csv", tmp_path / "answers.jsonl"
  events.write_text("\n".join([*LINES, ""]))
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
  assert [row.get("user") for row in rows] == ["a", "b", None, "a", None]
  assert "5 events" in capsys.readouterr().err
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
