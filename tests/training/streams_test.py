"""Standard output that is closed, full, or read by nobody."""

import os
import subprocess
import sys

import pytest

from jaxseq.training import _streams
from tests import programs

_PROGRAM = """
from jaxseq.training import app
from jaxseq.training import tables
def main(argv):
  for _ in range(2000):
    tables.show(["a"], [["b"]])
  open("done", "w").close()
app.run_main(main)
"""


@pytest.mark.parametrize(
  ("redirection", "code", "said"),
  [
    (">&-", 0, ""),
    ("> /dev/full", 2, "error: the standard output could not be written (No "),
    ("| true", 0, ""),
    ("> /dev/null 2> /dev/full", 0, ""),
  ],
)
def test_a_program_whose_output_is_lost(tmp_path, redirection, code, said):
  (tmp_path / "program.py").write_text(_PROGRAM)
  done = subprocess.run(
    [
      "bash",
      "-c",
      f"set -o pipefail; {sys.executable} program.py {redirection}",
    ],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": os.getcwd()},
    stderr=subprocess.PIPE,
    text=True,
    timeout=60,
  )
  assert (tmp_path / "done").exists()
  assert done.returncode == code, done.stderr
  assert done.stderr.startswith(said)
  assert "Traceback" not in done.stderr
  assert "Exception" not in done.stderr


def test_a_stream_stays_what_it_is(capfd):
  stream = _streams.Tolerant(sys.__stdout__)
  assert stream.encoding == sys.__stdout__.encoding
  assert stream.write("abc\n") == 4
  stream.flush()
  assert stream.lost() is None
  assert capfd.readouterr().out == "abc\n"


def test_what_an_encoding_lacks_is_escaped(tmp_path):
  (tmp_path / "program.py").write_text(
    "from jaxseq.training import app\n"
    "app.run_main(lambda argv: print('a n\\xf6te'))\n"
  )
  plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
  env = {**os.environ, "PYTHONPATH": os.getcwd(), **plain}
  done = programs.run("program.py", cwd=tmp_path, env=env)
  assert (done.returncode, done.stdout) == (0, "a n\\xf6te\n"), done.stderr
