"""Event logs of files, and their traces."""

import gzip
import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data.sources import logs
from tests.data import memory

_CASES = [["a", "b", "c"], ["b"], ["a & b", "a", "a", "c"]] * 4

_STRAY = '</trace><event><string key="concept:name" value="a"/></event>'
_SHARES = {"valid_fraction": 0.3, "test_fraction": 0.3}


def _csv(cases):
  rows = [
    f'{number},"{name}",start'
    for number, one in enumerate(cases)
    for name in one
  ]
  head = "case:concept:name,concept:name,lifecycle:transition"
  return "\n".join([head, *rows, ""])


def _xes(cases):
  def event(name):
    name = name.replace("&", "&amp;")
    return (
      '<event><date key="time:timestamp" value="2011-10-01"/>'
      f'<string key="concept:name" value="{name}"/>\n'
      '<string key="lifecycle:transition" value="start"/></event>'
    )

  traces = [
    f'<trace><string key="concept:name" value="{i}"/>'
    f"{''.join(map(event, one))}</trace>"
    for i, one in enumerate(cases)
  ]
  glob = '<global scope="event"><string key="concept:name" value="U"/></global>'
  return f"<log>{glob}{''.join(traces)}</log>"


def _traces(splits):
  """All traces by name, sorted."""
  names = splits.info.tokens
  out = []
  for part in splits[:3]:
    for inputs, targets, length in zip(*part[:3]):
      np.testing.assert_array_equal(inputs[1:length], targets[: length - 1])
      assert not inputs[0]
      assert not inputs[length:].any()
      assert names[targets[length - 1]] == "(end)"
      assert not targets[length:].any()
      out.append([names[x] for x in targets[: length - 1]])
  return sorted(out)


@pytest.mark.parametrize("form", ["csv", "xes", "xes.gz"])
def test_logs_are_read(tmp_path, form):
  path = tmp_path / f"log.{form}"
  text = (_csv if form == "csv" else _xes)(_CASES).encode()
  path.write_bytes(gzip.compress(text) if form.endswith("gz") else text)
  splits = data.load("event_log", path=path, **_SHARES)
  assert _traces(splits) == sorted(_CASES)
  assert [len(part.inputs) for part in splits[:3]] == [6, 2, 4]
  assert splits.info.vocab_size == len(splits.info.tokens) == 6
  steps = data.load("event_log", path=path, transitions=True, **_SHARES)
  assert steps.info.tokens[1:3] == ("a & b/start", "a/start")
  with pytest.raises(ValueError, match="digest: got .*, expected '12'"):
    data.load("event_log", path=path, digest="12")


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    (
      "a.csv",
      "case,name\n1,a\n",
      "there is no column 'case:concept:name', expected one of 'case', 'name'",
    ),
    (
      "a.csv",
      "concept:name," + _csv([["a"]] * 9),
      "the column 'concept:name' twi",
    ),
    ("a.csv", _csv([["a"]]) + "1,b,c,start\n", "line 3: got 4 of 3 entries"),
    ("a.csv", _csv([["a"]]) + "1,b\n", "line 3: got 2 of 3 entries"),
    ("a.csv", _csv([["a" * 10**6]]), "line 2: field larger than field limit"),
    ("a.csv", _csv([["a"], [""]] * 9), "line 3: column .*: got nothing, exp"),
    ("a.csv", _csv([["a"]]), "expected shares that leave cases of 1 to each"),
    ("a.xes", "<log></log>", "got no trace, expected those of a log in XES"),
    ("a.xes", "<log><event></event></log>", "expected an event with a concept"),
    ("a.xes", _xes([["a"], []] * 9), "case 1: got 'no event', expected one"),
    ("a.xes", _xes([["a"]])[:-6], "a.xes is no XML: no element found"),
    (
      "a.xes",
      '<!DOCTYPE log [<!ENTITY a "b">]>' + _xes([["a"]] * 9),
      "a.xes: DOCTYPE: got 'log', expected none",
    ),
    (
      "a.xes",
      _xes([["a"]] * 9).replace("</trace>", _STRAY),
      "expected an event with a concept:name, in a trace",
    ),
    ("a.xes.gz", "<log></log>", "got no trace, expected those of a log in XES"),
    ("a.xes.gz", "\x1f<log>", "is no XML: not well-formed"),
    *(
      ("a.xes", f'<?xml version="1.0" encoding="{name}"?><log/>', "a.xes is no")
      for name in ("x-evil", "utf-7", "base64", "idna")
    ),
  ],
)
def test_what_is_no_log_is_refused(tmp_path, name, text, message):
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=message):
    data.load("event_log", path=tmp_path / name)


def test_a_field_of_many_bytes_takes_little_memory(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text(_csv([["a" * 20 * 2**20]]))
  with memory.at_most(90):
    with pytest.raises(ValueError, match="line 2: field larger than field lim"):
      data.load("event_log", path=path)


def test_activities_in_another_encoding_are_refused(tmp_path):
  path = tmp_path / "a.csv"
  log = _csv([["prüfen", "pröfen"]] * 9)
  path.write_bytes(log.encode("cp1252"))
  splits = data.load("event_log", path=path, **_SHARES)
  assert splits.info.preparation.activities == ("pröfen", "prüfen")
  # With the same sign for what is no UTF-8 both would be one activity.
  path.write_bytes(b"\xfc".join(log.encode().split("ü".encode())))
  with pytest.raises(ValueError, match="a.csv, line 2: got bytes that are no"):
    data.load("event_log", path=path)


def test_names_are_those_of_events_and_not_of_what_they_hold(tmp_path):
  nested = '<string key="org:group" value="g">{}</string></event>'
  text = _xes(_CASES).replace("key=", "\nkey = ").replace('"', "'")
  for name in ("concept:name", "lifecycle:transition"):
    inner = f'<string key="{name}" value="other"/>'
    text = text.replace("</event>", nested.format(inner))
  path = tmp_path / "log.xes"
  path.write_text(text)
  splits = data.load("event_log", path=path, transitions=True, **_SHARES)
  expected = [[f"{name}/start" for name in case] for case in _CASES]
  assert _traces(splits) == sorted(expected)


@pytest.mark.parametrize("form", ["csv", "xes"])
def test_cases_that_come_later_are_read_with_their_names(
  tmp_path, caplog, form
):
  path = tmp_path / f"log.{form}"
  make = _csv if form == "csv" else _xes
  path.write_text(make(_CASES))
  source = data.load("event_log", path=path, **_SHARES).info.preparation
  fields = json.loads(json.dumps(source.to_json()))
  source = data.sources.from_json(fields)
  text = make([["a", "a & b"], ["c"]])
  for number in range(2):
    text = text.replace(f'value="{number}"', f'value="n{number}"')
    text = text.replace(f"\n{number},", f"\nn{number},")
  path.write_text(text)
  found = source.read(path)
  assert found.ids == ("n0", "n1")
  # Activities are a, a & b, b, c; what follows the last one is not known.
  assert found.dataset.inputs.tolist() == [[0, 1, 2], [0, 4, 0]]
  assert found.dataset.targets.tolist() == [[1, 2, -1], [4, -1, 0]]
  assert found.dataset.lengths.tolist() == [3, 2]
  # New activities are no inputs and no targets.
  path.write_text(make([["a", "lost", "b"], ["lost"]]))
  found = source.read(path)
  assert "log." in caplog.text
  assert "got 'lost', expected an activity of the training; 2 of 4 rows" in (
    caplog.text
  )
  assert found.dataset.inputs.tolist() == [[0, 1, 3], [0, 0, 0]]
  assert found.dataset.targets.tolist() == [[1, -1, -1], [-1, 0, 0]]
  assert found.dataset.lengths.tolist() == [3, 1]
  with pytest.raises(ValueError, match="case 1: got 'no event'"):
    source.prepare([["a"], []])


def test_a_file_that_unpacks_out_of_proportion_is_refused(
  tmp_path, monkeypatch
):
  from jaxseq import limits

  monkeypatch.setattr(limits, "FREE", 1000)
  (tmp_path / "a.xes.gz").write_bytes(gzip.compress(b" " * 10**6))
  with pytest.raises(ValueError, match=r"a\.xes\.gz"):
    data.load("event_log", path=tmp_path / "a.xes.gz")


def test_a_log_is_made():
  splits = logs.loans(cases=40, seed=1)
  for trace in _traces(splits):
    assert trace[0].startswith("apply")
    assert trace[-2] in ("accept", "refuse")
  np.testing.assert_array_equal(
    splits.test.inputs, logs.loans(cases=40, seed=1).test.inputs
  )


_TIMED = {"17": ["in", "pack", "out"], "18": ["in", "out"], "19": ["in"]}


def _timed(form, column="when", reverse=False, time=None):
  """A log whose events have times, all of a case but the last two apart."""
  time = time or (lambda case, step: f"2024-01-{case}T{min(step, 1):02}:00")
  rows = [
    (case, step, time(case, i))
    for case, steps in _TIMED.items()
    for i, step in enumerate(steps)
  ]
  rows = rows[::-1] if reverse else rows
  if form == "csv":
    lines = [",".join(row) for row in rows]
    return "\n".join([f"case:concept:name,concept:name,{column}", *lines, ""])
  traces = ""
  for case in dict.fromkeys(case for case, _, _ in rows):
    events = "".join(
      f'<event><string key="concept:name" value="{step}"/>'
      f'<date key="{column}" value="{at}"/></event>'
      for one, step, at in rows
      if one == case
    )
    name = f'<string key="concept:name" value="{case}"/>'
    traces += f"<trace>{name}{events}</trace>"
  return f"<log>{traces}</log>"


@pytest.mark.parametrize("form", ["csv", "xes"])
@pytest.mark.parametrize("option", [True, False])
def test_events_are_put_in_the_order_of_time(tmp_path, caplog, form, option):
  column = "when" if option else "time:timestamp"
  source = logs.LogSource(time=column if option else None)
  path = tmp_path / f"log.{form}"
  path.write_text(_timed(form, column, reverse=True))
  names, cases, *_ = source.log(path)
  # Also the two events of one time, as the file is newest first.
  assert dict(zip(names, cases)) == _TIMED
  assert "2 of 6 rows have an earlier time than the row before in" in (
    caplog.text
  )
  caplog.clear()
  path.write_text(_timed(form, column))
  names, cases, *_ = source.log(path)
  assert dict(zip(names, cases)) == _TIMED
  assert not caplog.text


def test_times_that_are_not_named_and_fall_are_told(tmp_path, caplog):
  path = tmp_path / "log.csv"
  path.write_text(_timed("csv", reverse=True))
  _, cases, *_ = logs.LogSource().log(path)
  assert cases[-1] == ["out", "pack", "in"]
  assert "the column 'when' falls from row to row of a case" in caplog.text
  assert "--config.data_options.time=when" in caplog.text
  caplog.clear()
  path.write_text(_timed("csv"))
  logs.LogSource().log(path)
  assert not caplog.text


@pytest.mark.parametrize("form", ["csv", "xes"])
def test_times_that_cannot_be_read_are_told_or_refused(tmp_path, caplog, form):
  path = tmp_path / f"log.{form}"
  slashes = {"reverse": True, "time": lambda case, step: f"{case}/01/24"}
  path.write_text(_timed(form, "time:timestamp", **slashes))
  names, cases, *_ = logs.LogSource().log(path)
  assert cases[names.index("18")] == ["out", "in"]
  assert "got '19/01/24', expected a date" in caplog.text
  assert "stay in the order of the file" in caplog.text
  path.write_text(_timed(form, "when", **slashes))
  with pytest.raises(ValueError, match="line .*: column 'when': got '19/01/"):
    logs.LogSource(time="when").log(path)


def test_tables_of_other_programs_and_frames_are_logs(tmp_path):
  pandas = pytest.importorskip("pandas")
  rows = [
    (case, step, f"{8 + i:02}/{case}/2024")
    for case, steps in _TIMED.items()
    for i, step in enumerate(steps)
  ]
  lines = [";".join(row) for row in ("case step when".split(), *rows[::-1])]
  text = "\n".join(["sep=;", *lines, ""])
  path = tmp_path / "log.csv.gz"
  path.write_bytes(gzip.compress(text.encode("utf-16")))
  options = {"case": "case", "activity": "step", "time": "when", **_SHARES}
  splits = data.load("event_log", path=path, **options)
  source = splits.info.preparation
  assert source.date_format == "%m/%d/%Y"
  assert dict(zip(*source.log(path)[:2])) == _TIMED
  frame = pandas.DataFrame(rows, columns="case step when".split())
  # Days and months of fewer rows could be mistaken for each other.
  early = frame.assign(when="02/01/2024")
  assert source.read(early).ids == (*_TIMED,)
  frame["when"] = pandas.to_datetime(frame["when"], format="%m/%d/%Y", utc=True)
  assert dict(zip(*source.log(frame[::-1])[:2])) == _TIMED
  frame.to_parquet(tmp_path / "log.parquet")
  assert dict(zip(*source.log(tmp_path / "log.parquet")[:2])) == _TIMED
