r"""The mode "serve_stream" of experiments: answers each event as it arrives.

    python -m experiments.NAME --workdir=DIR --mode=serve_stream \
      --data=events.csv --output=answers.jsonl

The events are the rows of a CSV file in the form of the training data, or of
standard input (`--data=-`). An answer is a line of JSON, written immediately,
to standard output without `--output`. An unreadable event gets an "error" with
the number of its "row" below the header and its "user", and changes no state.
Only each user's state is kept, so an event takes constant time and memory.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import csv
import json
import pathlib
import sys
import time
from typing import Any
from typing import TextIO

from jaxseq.models import predict_mode
from jaxseq.training import errors
from jaxseq.training.comparison import experiment

MODE = "serve_stream"


def serves(program: experiment.Experiment) -> bool:
  """Answers events if the program's mode is "serve_stream".

  Args:
    program: an experiment with the mode.

  Returns:
    Whether it answered events.

  Raises:
    UserError: if a flag is missing, there is no model, or a file cannot be
      opened.
  """
  if program.mode != MODE:
    return False
  source, output, arm = (x.value for x in predict_mode.define_flags())
  with errors.setup():
    if not source:
      raise errors.UserError("--data=FILE is missing; --data=- reads the input")
    model = predict_mode.model_of(program, arm)
    answer = model.parts.stream(model)
  with contextlib.ExitStack() as files:
    with errors.setup():
      lines, out = files.enter_context(_opened(source)), sys.stdout
      if output:
        path = pathlib.Path(output)
        out = files.enter_context(path.open("x", encoding="utf-8"))
    user = getattr(model.preparation, "user", "user")
    count, seconds = _write(answers(answer, lines, user), out)
  rate = max(count - 1, 0) / max(seconds, 1e-9)
  print(f"{count:,} events, {rate:,.0f} a second", file=sys.stderr)
  return True


def _opened(source: str) -> TextIO:
  """Opens a file, or the standard input, like the training's table."""
  is_file = source != "-"
  options = {"encoding": "utf-8-sig", "errors": "replace", "newline": ""}
  return open(
    source if is_file else sys.stdin.fileno(), closefd=is_file, **options
  )


def answers(
  answer: Callable[[Mapping[str, str]], dict[str, Any]],
  lines: Iterable[str],
  user: str = "user",
) -> Iterator[dict[str, Any]]:
  """Yields the answer to each row of a CSV text, as it arrives.

  Args:
    answer: maps the entries of a row, by column name, to its answer.
    lines: lines of the text; the first one is the header.
    user: column that names the user of a row, for errors.
  """
  for number, row in enumerate(_rows(csv.DictReader(lines)), 1):
    try:
      if isinstance(row, csv.Error):
        raise ValueError(f"row: {row}.")
      if None in row:
        raise ValueError("row: got more entries than there are columns.")
      reply = answer(row)
    except (KeyError, TypeError, ValueError) as error:
      reason = f"no column {error}" if isinstance(error, KeyError) else error
      named = None if isinstance(row, csv.Error) else row.get(user)
      reply = {"row": number, "user": named, "error": str(reason)}
    yield reply


def _rows(
  reader: csv.DictReader[str],
) -> Iterator[dict[str | Any, str | Any] | csv.Error]:
  """Yields rows, and errors for rows that are not CSV."""
  # Without a header the next line would become the header.
  if reader.fieldnames is None:
    return
  while True:
    try:
      yield next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      yield error


def _write(
  answers: Iterator[dict[str, object]], out: TextIO
) -> tuple[int, float]:
  """Writes answers; returns their number and the time without the first."""
  # The first answer includes compilation.
  count, begin = 0, time.perf_counter()
  for count, one in enumerate(answers, 1):
    out.write(json.dumps(one) + "\n")
    out.flush()
    if count == 1:
      begin = time.perf_counter()
  return count, time.perf_counter() - begin
