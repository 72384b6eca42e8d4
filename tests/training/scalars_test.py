"""metrics.jsonl and TensorBoard: what is written is what was measured."""

import json
import math
import os
import pathlib
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.training import errors
from jaxseq.training import scalars
from tests import programs


def write(directory, rows, **options):
  settings = {"tensorboard": False, **options}
  with scalars.MetricWriter(directory, **settings) as writer:
    for step, values in rows:
      writer.write(step, values)


def lines(directory):
  return (pathlib.Path(directory) / "metrics.jsonl").read_text().splitlines()


def reject_constant(name):
  raise AssertionError(f"{name} is no JSON")


def test_rows_are_read_back_exactly(tmp_path):
  values = {
    "float32": np.float32(0.1),
    "vector": jnp.asarray([0.25, -0.0]),
    "bfloat16": jnp.asarray(0.1, jnp.bfloat16),
    "int": 2**40,
    "bool": jnp.asarray(True),
    "nested": {"deep": {"er": 1.5}},
    "bad": np.asarray([np.nan, np.inf, -np.inf, 1e-45], np.float32),
  }
  write(tmp_path, [(7, values)])
  (row,) = scalars.read(tmp_path)
  assert row["step"] == 7
  assert abs(row["wall_time"]) > 1e9
  assert np.float32(row["float32"]) == values["float32"]
  assert row["vector"] == [0.25, 0.0]
  assert math.copysign(1, row["vector"][1]) == -1
  assert row["bfloat16"] == float(values["bfloat16"])
  assert row["int"] == 2**40
  assert row["bool"] is True
  assert row["nested/deep/er"] == 1.5
  np.testing.assert_array_equal(
    np.asarray(row["bad"], np.float32), values["bad"]
  )


def test_every_line_is_valid_json(tmp_path):
  write(tmp_path, [(1, {"x": math.nan}), (2, {"x": [math.inf, -math.inf]})])
  rows = [
    json.loads(line, parse_constant=reject_constant) for line in lines(tmp_path)
  ]
  assert rows[0]["x"] == "NaN"
  assert rows[1]["x"] == ["Infinity", "-Infinity"]


def test_a_row_is_in_the_file_at_once(tmp_path):
  writer = scalars.MetricWriter(tmp_path / "new" / "run", tensorboard=False)
  writer.write(1, {"x": 1.0})
  assert len(lines(tmp_path / "new" / "run")) == 1
  writer.close()


def test_hooks_get_every_row_once_it_is_written(tmp_path):
  seen = []

  def hook(directory, step, row):
    seen.append((directory, step, row))
    assert len(lines(directory)) == len(seen)

  write(
    tmp_path,
    [(1, {"a": {"b": jnp.float32(2)}}), (2, {"c": np.ones(2)})],
    hooks=[hook],
  )
  assert seen == [(tmp_path, 1, {"a/b": 2.0}), (tmp_path, 2, {"c": [1.0, 1.0]})]


def test_resume_drops_later_rows_and_a_cut_line(tmp_path, caplog):
  write(tmp_path, [(step, {"x": step}) for step in (10, 20, 30, 40)])
  file = tmp_path / "metrics.jsonl"
  before = file.read_bytes()
  file.write_bytes(before + b'{"step": 20, "x"')
  writer = scalars.MetricWriter(tmp_path, tensorboard=False)
  writer.resume(20)
  writer.write(30, {"x": 31})
  writer.close()
  rows = scalars.read(tmp_path)
  assert [(r["step"], r["x"]) for r in rows] == [(10, 10), (20, 20), (30, 31)]
  # What is kept is kept as it was, clock and all.
  assert before.startswith(b"\n".join(file.read_bytes().splitlines()[:2]))
  assert not caplog.records


def test_resume_from_the_start_drops_all(tmp_path):
  write(tmp_path, [(0, {"x": 1}), (10, {"x": 1})])
  writer = scalars.MetricWriter(tmp_path, tensorboard=False)
  writer.resume(None)
  writer.close()
  assert scalars.read(tmp_path) == []


@pytest.mark.parametrize("damage", [b'"step: 2', b"[" * 200_000])
def test_a_damaged_line_is_told_and_left_out(tmp_path, caplog, damage):
  write(tmp_path, [(step, {"x": step}) for step in (1, 2, 3)])
  file = tmp_path / "metrics.jsonl"
  file.write_bytes(file.read_bytes().replace(b'"step": 2', damage))
  assert [row["step"] for row in scalars.read(file)] == [1, 3]
  assert "line 2 is damaged" in caplog.text


@pytest.mark.parametrize(
  ("values", "match"),
  [
    ({"x": np.ones((2, 2))}, r"'x': got float64\[2, 2\], expected a number"),
    ({"x": "text"}, "'x': got .*, expected a number or a vector"),
    ({"a": {"x": None}}, "'a/x': got .*, expected a number or a vector"),
    ({"step": 1}, "cannot be called 'step'"),
  ],
)
def test_what_is_no_metric_is_named(tmp_path, values, match):
  writer = scalars.MetricWriter(tmp_path, tensorboard=False)
  with pytest.raises(ValueError, match=match):
    writer.write(1, values)
  assert not (tmp_path / "metrics.jsonl").exists()


def test_resume_after_write_is_an_error(tmp_path):
  with scalars.MetricWriter(tmp_path, tensorboard=False) as writer:
    writer.write(1, {"x": 1})
    with pytest.raises(ValueError, match="before the first write"):
      writer.resume(None)


def test_other_processes_write_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(scalars.jax, "process_index", lambda: 1)
  writer = scalars.MetricWriter(tmp_path)
  writer.resume(None)
  writer.write(1, {"x": 1})
  writer.flush()
  writer.close()
  assert list(tmp_path.iterdir()) == []


def read_events(directory):
  """Returns (step, tag, value) of TensorBoard event files."""
  pytest.importorskip("tensorboardX")
  from tensorboardX.proto import event_pb2

  out = []
  for file in sorted((directory / "tensorboard").iterdir()):
    data = file.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      out += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
      if event.HasField("session_log"):
        out.append((event.step, "session", event.session_log.status))
      data = data[16 + length :]
  return out


def test_tensorboard_gets_a_tag_per_seed(tmp_path):
  rows = [(10, {"loss": [0.5, 0.25], "lr": 0.125}), (20, {"lr": 1.0})]
  write(tmp_path, rows, tensorboard=True)
  assert read_events(tmp_path) == [
    (10, "loss/seed_0", 0.5),
    (10, "loss/seed_1", 0.25),
    (10, "lr", 0.125),
    (20, "lr", 1.0),
  ]


def test_tensorboard_is_told_which_steps_are_written_again(tmp_path):
  write(tmp_path, [(10, {"x": 1}), (20, {"x": 2})], tensorboard=True)
  with scalars.MetricWriter(tmp_path) as writer:
    writer.resume(10)
    writer.write(20, {"x": 3})
  events = read_events(tmp_path)
  # TensorBoard drops what it has from the step of a session's start on.
  (start,) = [e for e in events if e[1] == "session"]
  assert start[0] == 11
  assert events[-1] == (20, "x", 3.0)


def test_without_tensorboardx_a_note_says_so_once(
  tmp_path, monkeypatch, caplog
):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    write(tmp_path / name, [(1, {"x": 1}), (2, {"x": 2})], tensorboard=True)
    assert len(lines(tmp_path / name)) == 2
    assert not (tmp_path / name / "tensorboard").exists()
  records = [r for r in caplog.records if "tensorboardX" in r.getMessage()]
  assert len(records) == 1


def test_a_full_disk_ends_the_event_files_alone(tmp_path, monkeypatch, caplog):
  record_writer = pytest.importorskip("tensorboardX.record_writer")
  monkeypatch.setattr(
    record_writer, "open_file", lambda path: open("/dev/full", "wb")
  )
  with scalars.MetricWriter(tmp_path) as writer:
    for step in range(4):
      writer.write(step, {"x": 1})
      writer.flush()
  assert len(lines(tmp_path)) == 4
  (record,) = caplog.records
  assert "No more event files" in record.getMessage()
  assert "No space left on device" in record.getMessage()


def test_a_full_disk_ends_a_program_in_one_sentence(tmp_path):
  (tmp_path / "program.py").write_text(
    "from jaxseq.training import app\n"
    "from jaxseq.training import scalars\n"
    "def main(argv):\n"
    "  with scalars.MetricWriter('.', tensorboard=False) as writer:\n"
    "    writer.write(1, {'x': 1})\n"
    "app.run_main(main)\n"
  )
  (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
  env = {**os.environ, "PYTHONPATH": str(programs.ROOT)}
  done = programs.run("program.py", cwd=tmp_path, env=env)
  assert done.returncode == 2
  assert done.stderr.startswith("error: No space left on device: ")
  assert done.stderr.count("\n") == 1


def test_column(tmp_path):
  write(
    tmp_path,
    [(1, {"x": [1, 2]}), (2, {"y": 5}), (3, {"x": [3, math.nan]})],
  )
  rows = scalars.read(tmp_path)
  steps, values = scalars.column(rows, "x")
  np.testing.assert_array_equal(steps, [1, 3])
  np.testing.assert_array_equal(values, [[1, 3], [2, math.nan]])
  steps, values = scalars.column(rows, "y")
  assert (steps.shape, values.shape) == ((1,), (1, 1))
  steps, values = scalars.column(rows, "absent")
  assert (steps.shape, values.shape) == ((0,), (1, 0))


def test_split_updates():
  stacked = {"a": np.arange(6).reshape(2, 3), "b": {"c": np.arange(3)[None]}}
  rows = list(scalars.split_updates(stacked, 3, axis=1))
  assert [r["a"].tolist() for r in rows] == [[0, 3], [1, 4], [2, 5]]
  assert [r["b"]["c"].tolist() for r in rows] == [[0], [1], [2]]
  rows = list(scalars.split_updates(stacked, 3, axis=-1))
  assert rows[2]["a"].tolist() == [2, 5]
  (row,) = scalars.split_updates(stacked, 3, axis=None)
  assert row["a"].shape == (2, 3)
  with pytest.raises(ValueError, match=r"'a': got shape \(2, 3\)"):
    list(scalars.split_updates(stacked, 3, axis=0))


def test_a_file_that_was_removed_is_begun_anew(tmp_path, caplog):
  with scalars.MetricWriter(tmp_path, tensorboard=False) as writer:
    writer.write(1, {"x": 1.0})
    writer.flush()
    (tmp_path / scalars.FILE).unlink()
    writer.write(2, {"x": 2.0})
    writer.flush()
    assert "was moved or removed" in caplog.text
    writer.write(3, {"x": 3.0})
  assert [row["step"] for row in scalars.read(tmp_path)] == [3]


def test_rows_that_are_gone_are_none(tmp_path, caplog):
  assert scalars.read(tmp_path) == []
  assert f"{scalars.FILE} does not exist" in caplog.text


def test_a_directory_that_was_moved_is_not_made_anew(tmp_path):
  with scalars.MetricWriter(tmp_path / "run", tensorboard=False) as writer:
    writer.write(1, {"x": 1})
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(errors.UserError, match="run' was moved or removed"):
      writer.flush()
  assert not (tmp_path / "run").exists()
