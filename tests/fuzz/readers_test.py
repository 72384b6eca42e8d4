"""Damaged files: readers raise a ValueError or read, within bounds.

`make test-fuzz` runs this; FUZZ_EXAMPLES is the number of damaged files for
each reader. What is found is kept in .hypothesis and tried first the next time.
"""

import os
import pathlib
import time
import tracemalloc
import warnings

import hypothesis
from hypothesis import strategies
import pytest

from jaxseq.training import integrity
from tests.fuzz import readers
from tests.fuzz.reader import write

pytestmark = pytest.mark.fuzz

_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
# What any file may take, twice where it is looked at in two forms, and what
# comes with that.
_MEGABYTES = 700
_SECONDS = 20
# Words that readers of text or headers may not expect.
_WORDS = [
  *(b"nan", b"inf", b"-1", b"0", b"1e999", b"1e39", b"2147483648"),
  *(b"9" * 5000, b"[" * 2000, b"," * 200, b":" * 200, b"(" * 200),
  *(b"18446744073709551616", b"1000000000", b"\xff", b"\0", b"\r", b'"', b"{"),
  *(
    b"../..",
    b"/etc/hostname",
    b"[" * 2000,
    b"," * 200,
    b":" * 200,
    b"(" * 200,
  ),
  *(b"\t", b" ", b"\n", b"\xc2\xb2", b"null", b"true", b"<f8", b"|O", b"<U9"),
]
_place = strategies.integers(0, 10**6)
_bytes = strategies.binary(max_size=9)
_change = strategies.one_of(
  strategies.tuples(strategies.just("flip"), _place, strategies.integers(0, 7)),
  strategies.tuples(
    strategies.just("byte"), _place, strategies.binary(max_size=9)
  ),
  strategies.tuples(
    strategies.just("insert"), _place, strategies.sampled_from(_WORDS)
  ),
  strategies.tuples(
    strategies.just("number"), _place, strategies.sampled_from(_WORDS)
  ),
  strategies.tuples(strategies.just("cut"), _place, _place),
  strategies.tuples(strategies.just("copy"), _place, _place),
  strategies.tuples(strategies.just("end"), _place, strategies.none()),
)
_changes = strategies.lists(_change, min_size=1, max_size=4)


def _run_of_digits(content, start):
  """Where a number near a place begins and ends."""
  while start < len(content) and not content[start : start + 1].isdigit():
    start += 1
  end = start
  while content[end : end + 1].isdigit():
    end += 1
  return start, end


def damaged(content, changes):
  """Returns the content after changes, whose places are in millionths."""
  for kind, place, what in changes:
    at = place * len(content) // 10**6
    if kind == "flip" and content:
      at = min(at, len(content) - 1)
      content = (
        content[:at] + bytes([content[at] ^ 1 << what]) + content[at + 1 :]
      )
    elif kind == "byte":
      content = content[:at] + what + content[at + len(what) :]
    elif kind == "insert":
      content = content[:at] + what + content[at:]
    elif kind == "number":
      start, end = _run_of_digits(content, at)
      content = content[:start] + what + content[end:]
    elif kind == "cut":
      other = what * len(content) // 10**6
      content = content[: min(at, other)] + content[max(at, other) :]
    elif kind == "copy":
      other = what * len(content) // 10**6
      content = (
        content[:at] + content[min(at, other) : max(at, other)] + (content[at:])
      )
    elif kind == "end":
      content = content[:at]
  return content


@pytest.mark.parametrize("name", readers.READERS)
def test_damaged_files_are_read_or_refused(name, tmp_path):
  reader = readers.READERS[name]
  if reader.needs:
    pytest.importorskip(reader.needs)
  write(reader, tmp_path)
  # The files are whole to begin with.
  reader.read(tmp_path)

  @hypothesis.settings(
    max_examples=max(1, int(_EXAMPLES * reader.share)),
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    print_blob=True,
  )
  @hypothesis.given(strategies.sampled_from(sorted(reader.files)), _changes)
  def run(file, changes):
    path: pathlib.Path = tmp_path / file
    whole = reader.files[file]
    content = reader.wrap(damaged(whole, changes))
    path.write_bytes(content)
    tracemalloc.reset_peak()
    start = time.process_time()
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.read(tmp_path)
    except (ValueError, integrity.DamagedError):
      pass
    finally:
      path.write_bytes(reader.wrap(whole))
    assert time.process_time() - start < _SECONDS
    assert tracemalloc.get_traced_memory()[1] < _MEGABYTES * 2**20

  tracemalloc.start()
  try:
    run()
  finally:
    tracemalloc.stop()
