from absl import flags
from absl.testing import flagsaver
import pytest

from jaxseq.training import errors
from jaxseq.training.devices import process_flags
from jaxseq.training.devices import processes


@pytest.fixture(autouse=True)
def _parsed():
  process_flags.define()
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      {"coordinator": "here:1", "num_processes": 2},
      "--process_id=None: expected all three",
    ),
    (
      {"coordinator": "here", "num_processes": 2, "process_id": 0},
      "--coordinator: got 'here', expected HOST:PORT",
    ),
    (
      {"coordinator": "here:1", "num_processes": 2, "process_id": 2},
      "--process_id: got 2, expected 0 to 1",
    ),
    (
      {"distributed": True, "process_id": 0},
      "--distributed: finds the other processes by itself",
    ),
  ],
)
def test_flags_that_do_not_go_together(values, message):
  with flagsaver.flagsaver(**values):
    with pytest.raises(errors.UserError, match=message):
      processes.start()


def test_a_single_process_is_left_alone(capsys):
  processes.start()
  print("heard")
  assert capsys.readouterr().out == "heard\n"
  assert processes.is_first()
  assert processes.first_then_rest(lambda: 3, "here") == 3
