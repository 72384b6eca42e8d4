"""The benchmark for accelerators, tiny, on the CPU."""

import json
import runpy
import sys
import types
import zipfile

import numpy as np
import pytest

from benchmarks.accelerators import arrays
from benchmarks.accelerators import correctness
from benchmarks.accelerators import measuring
from benchmarks.accelerators import peer
from benchmarks.accelerators import peers
from benchmarks.accelerators import peers_jax
from benchmarks.accelerators import problems
from benchmarks.accelerators import recurrences
from benchmarks.accelerators import report
from benchmarks.accelerators import rows
from benchmarks.accelerators import table_file
from benchmarks.accelerators import tuning
from jaxseq.recurrence.platform import table
from tests import programs as processes

LINEAR = problems.tiny("linear")


def test_arguments_are_the_same_for_everyone():
  drawn = arrays.drawn(problems.small("selective").arrays)
  again = arrays.drawn(problems.small("selective").arrays)
  for name, x in drawn.items():
    np.testing.assert_array_equal(x, again[name])
  assert drawn["reset"].dtype == bool
  assert np.all(drawn["A"] == -np.arange(1, 17))
  assert 1e-3 <= drawn["delta"].min() < drawn["delta"].max() <= 1e-1
  # No two arguments repeat themselves at the same places.
  assert not np.array_equal(drawn["B"], drawn["C"])


def test_every_recurrence_has_a_row_and_a_small_problem():
  assert {problem.op for problem in problems.MAIN} == set(recurrences.OPS)
  for op in recurrences.OPS:
    assert set(problems.small(op).arrays) == set(problems.tiny(op).arrays)


def test_floors():
  linear, selective = (
    next(row for row in problems.MAIN if row.op == op)
    for op in ("linear", "selective")
  )
  elements = 8 * 4096 * 1024
  # In come a, b and flags, out go states; backward a, b, and the states'
  # cotangents in, two cotangents out.
  flags, final = 8 * 4096, 4 * 8 * 1024
  assert linear.least_bytes("forward") == 12 * elements + flags + final
  assert linear.least_bytes("gradient") == 32 * elements + 2 * flags + final
  chip = problems.Chip(1e12, exps=1e12)
  exps = 8 * 4096 * 2048 * 16
  assert selective.floor("forward", chip) == exps / 1e12
  assert selective.floor("gradient", chip) == 3 * exps / 1e12
  assert problems.chip_of("NVIDIA H100 80GB HBM3", 3e12).exps == 3.7e12
  assert problems.chip_of("cpu", 1e10) == problems.Chip(1e10)


def test_a_wrong_method_is_found(monkeypatch):
  known = correctness.truth(LINEAR)
  check = correctness.check(LINEAR, "sequential", known)
  assert check.right
  assert max(check.forward, check.gradient) < 1e-5
  op = recurrences.OPS["linear"]

  def run(sizes, how, plain, a, b, reset):
    return op.run(sizes, how, plain, a, 1.001 * b, reset)

  wrong = recurrences.Op(op.arrays, run, op.scan)
  monkeypatch.setitem(recurrences.OPS, "linear", wrong)
  check = correctness.check(LINEAR, "sequential", known)
  assert not check.right
  assert check.forward == pytest.approx(1e-3, rel=0.01)

  def undefined(sizes, how, plain, a, b, reset):
    h, final = op.run(sizes, how, plain, a, b, reset)
    return h, final.at[0, 0].set(np.nan)

  one_nan = recurrences.Op(op.arrays, undefined, op.scan)
  monkeypatch.setitem(recurrences.OPS, "linear", one_nan)
  assert not correctness.check(LINEAR, "sequential", known).right


def test_what_does_not_run_says_why():
  known = correctness.truth(LINEAR)
  check = correctness.check(LINEAR, "fft", known)
  assert not check.right
  assert check.note.startswith("method: got 'fft'")


def test_candidates_are_what_auto_takes():
  asked = tuning.asked(LINEAR)
  assert (asked.op, asked.dtype, asked.shape) == (
    "linear",
    "float32",
    (2, 37, 8),
  )
  assert asked.takes()[0] == "sequential"
  with tuning.taking(asked, "associative", {}):
    # On a CPU no row counts: kernels are for other chips.
    assert table.ROWS[0].method == "associative"
    assert table.ROWS[0].shape == asked.shape
  assert table.ROWS == ()
  times = {("a", ""): ({}, 2.0), ("b", ""): ({"tile": 32}, 1.0)}
  row = tuning.best(asked, times, 0.5)
  assert (row.method, row.options, row.ms, row.share) == (
    "b",
    {"tile": 32},
    1.0,
    0.5,
  )


def test_rows_are_written_into_the_table(tmp_path):
  """A newer one of a problem in the place of the older; formatted as ours."""
  path = tmp_path / "table.py"
  path.write_text(table_file.default().read_text())
  row = table.Row(
    *("linear", "sm_90", "float32", (8, 4096, 1024), "pallas"),
    *({"tile": 32, "stages": 3}, 0.5, 0.27, "0.11.2", "2026-01-31"),
  )
  other = row._replace(op="lti", shape=(8, 4096, 256, 128), options={})
  table_file.write([row, other], path)
  newer = row._replace(ms=0.4)
  table_file.write([newer], path)
  module = runpy.run_path(str(path))
  assert tuple(map(tuple, module["ROWS"])) == (tuple(newer), tuple(other))
  nearest = module["find"]("linear", "sm_90", "float32", (8, 2048, 1024))
  assert tuple(nearest) == tuple(newer)
  before, after = table_file.default().read_text(), path.read_text()
  for text in before.split("ROWS: tuple[Row, ...] = ()\n"):
    assert text in after


def test_samples_and_their_spread():
  found = measuring.summary([0.001 * i for i in range(1, 12)])
  assert found.ms == pytest.approx(6.0)
  assert found.spread == pytest.approx(8 / 6)
  assert measuring.copies(2**30) == 1
  assert measuring.copies(2**20) == 3
  calls = []
  timing = measuring.timed(calls.append, [(1,), (2,)], 0.0, wait=lambda _: None)
  assert timing.ms > 0
  # The first two warm up; then each sample begins with the first again.
  assert calls == [1, 2] + [1] * (1 + measuring.SAMPLES)


def fake(call, **options):
  """A library with one peer of the linear scan."""
  one = peers_jax.Peer("one", "linear", (), call, **options)
  absent = peers_jax.Peer("two", "linear", ("no_such_module",), call)
  return types.SimpleNamespace(
    PEERS=(one, absent),
    prepare=lambda peer, problem, platform: peer.call(problem.arguments()),
    timed=lambda call, kind: measuring.Timing(1.0, 0.1),
  )


def requested(tmp_path):
  known = correctness.truth(LINEAR, resets=False)
  path = tmp_path / "truth.npz"
  sizes = np.array(json.dumps(LINEAR.sizes))
  np.savez(path, sizes=sizes, y=known.results[0])
  return {
    "op": "linear",
    "label": "tiny",
    "dtype": "float32",
    "sizes": LINEAR.sizes,
    "truth": str(path),
  }


def test_peers_answer_with_times_and_errors(tmp_path):
  def right(given):
    a, b = np.float64(given["a"]), np.float64(given["b"])
    h = np.zeros_like(b)
    for t in range(b.shape[1]):
      h[:, t] = a[:, t] * (h[:, t - 1] if t else 0) + b[:, t]
    return peers_jax.Call((), lambda: h, np.asarray)

  found = list(peer.answers(fake(right), "cpu", requested(tmp_path)))
  forward, gradient, absent = found
  assert (forward["kind"], gradient["kind"]) == ("forward", "gradient")
  assert forward["error"] < 1e-6
  assert absent["peer"] == "two"
  assert "no_such_module" in absent["note"]


def test_a_peer_that_fails_says_so_in_one_line(tmp_path):
  def broken(given):
    raise RuntimeError("no such\nchip")

  first, _ = peer.answers(fake(broken), "cpu", requested(tmp_path))
  assert first == {"peer": "one", "note": "RuntimeError: no such"}


def test_wheels_are_unpacked_behind_what_is_installed(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "path", list(sys.path))
  wheels, place = tmp_path / "wheels", tmp_path / "place"
  wheels.mkdir()
  with zipfile.ZipFile(wheels / "peer_of_ours-1-py3-none-any.whl", "w") as file:
    file.writestr("peer_of_ours.py", "SIZE = 3\n")
  assert peer.unpack(wheels, place) == ["peer_of_ours-1-py3-none-any"]
  module = __import__("peer_of_ours")
  assert module.SIZE == 3
  monkeypatch.delitem(sys.modules, "peer_of_ours")


def test_rows_are_written_at_once_and_skipped_when_the_time_is_up(tmp_path):
  found = report.Report(tmp_path)
  chip = problems.Chip(1e10)
  measured = rows.Rows(found, chip, 5.0, problems.tiny)
  measured.first(LINEAR)
  (written,) = (tmp_path / "rows.jsonl").read_text().splitlines()
  assert "linear tiny: skipped" in json.loads(written)["note"]
  assert "linear tiny: skipped" in found.finish()


def test_the_table_has_ours_and_peers_side_by_side():
  ours = {
    "what": "time",
    "name": "linear",
    "kind": "forward",
    "method": "auto",
    "floor": 0.13,
    "auto": "associative",
    "ms": 0.26,
    "spread": 0.02,
    "gb_s": 1500.0,
    "temporary": 2_000_000,
    "compile": 3.0,
  }
  theirs = {
    "what": "time",
    "name": "linear",
    "kind": "forward",
    "peer": "other",
    "ms": 0.2,
    "spread": 0.2,
    "error": 0.5,
  }
  wrong = {"what": "time", "name": "linear", "kind": "forward"}
  wrong |= {"method": "pallas", "note": "wrong", "floor": 0.13, "auto": "x"}
  text = report.markdown([ours, theirs, wrong])
  (line,) = (x for x in text.splitlines() if x.startswith("| linear"))
  assert "| 0.13 | 0.5 | 1,500 | associative |" in line
  assert "auto 0.26 2MB 3s; pallas: wrong" in line
  assert "other 0.2 ±20% (error 0.5)" in line


def run(tmp_path, *arguments):
  """Runs the benchmark in a process; its rows and what it printed."""
  out = tmp_path / "out"
  done = processes.run(
    "-m",
    "benchmarks.accelerators",
    f"--out={out}",
    *arguments,
    timeout=1700,
  )
  assert done.returncode == 0, done.stderr
  lines = (out / "rows.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines], done.stdout


@pytest.mark.slow
def test_processes_of_peers_answer_and_end(tmp_path):
  others = peers.Peers(tmp_path, "cpu")
  found = others.timed(problems.tiny("window"), 300.0)
  others.close()
  ran = [row for row in found if row["peer"] == "jax cuDNN"]
  assert [row["kind"] for row in ran] == list(problems.KINDS)
  # JAX's own form on a CPU, against ours in float64.
  assert all(row["error"] < 1e-5 and row["ms"] > 0 for row in ran)
  # Without torch its process ends, and the log says why.
  rest = [row for row in found if row["peer"] != "jax cuDNN"]
  assert all("ms" in row or row["note"] for row in rest)


@pytest.mark.slow
def test_who_does_not_answer_in_time_is_ended(tmp_path):
  others = peers.Peers(tmp_path, "cpu")
  found = others.timed(problems.tiny("window"), 0.1)
  others.close()
  assert {row["peer"] for row in found} == set(peers.LIBRARIES)
  assert all("no further answer" in row["note"] for row in found)


@pytest.mark.slow
def test_the_whole_benchmark_on_a_cpu(tmp_path):
  found, printed = run(tmp_path, "--minutes=25", "--nopeers")
  of = {
    what: [r for r in found if r["what"] == what]
    for what in ("machine", "check", "time", "program")
  }
  (machine,) = of["machine"]
  assert machine["platform"] == "cpu"
  assert machine["copy_gb_s"] > 0
  ran = [row for row in of["check"] if not row["note"]]
  assert all(row["right"] for row in ran), ran
  assert {row["op"] for row in ran} == set(recurrences.OPS)
  timed = {(row["name"], row["kind"]) for row in of["time"] if "ms" in row}
  assert timed == {
    (f"{op} tiny", kind) for op in recurrences.OPS for kind in problems.KINDS
  }
  assert len(of["program"]) == len(rows.programs_of(True))
  assert "| linear tiny | gradient |" in printed[-12_000:]


@pytest.mark.slow
def test_tuning_prints_and_writes_rows(tmp_path):
  path = tmp_path / "table.py"
  path.write_text(table_file.default().read_text())
  arguments = "--minutes=5", "--only=linear", "--tune", f"--table={path}"
  found, _ = run(tmp_path, *arguments)
  notes = [row["note"] for row in found if row["what"] == "note"]
  assert any("associative" in note and note.endswith("ms") for note in notes)
  kernel = [note for note in notes if "pallas" in note]
  assert all(
    note.endswith("no kernel of this recurrence runs here") for note in kernel
  )
  (row,) = (row["row"] for row in found if row["what"] == "tuned")
  assert row.startswith("Row(op='linear'")
  assert runpy.run_path(str(path))["ROWS"][0].op == "linear"
