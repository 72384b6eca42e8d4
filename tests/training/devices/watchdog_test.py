import time

import pytest

from jaxseq.training.devices import _watchdog
from tests import programs

_STUCK = """
import time
from jaxseq.training.devices import _watchdog

def stuck_here():
  time.sleep(100)

with _watchdog.Watchdog(0.5) as dog:
  for _ in range(4):
    dog.beat("waiting for the others")
    time.sleep(0.2)
  print("alive", flush=True)
  stuck_here()
"""


def test_a_standstill_ends_with_a_sentence():
  result = programs.run("-c", _STUCK)
  assert result.returncode == _watchdog.EXIT_CODE
  # Four beats took longer than it waits for one.
  assert result.stdout == "alive\n"
  assert (
    "process 0 of 1: nothing has happened for 0.5 seconds while waiting "
    in (result.stderr)
  )
  assert "stuck_here" in result.stderr


def test_no_patience_is_for_ever():
  with _watchdog.Watchdog(0) as dog:
    dog.beat("this")
    time.sleep(0.05)
  with pytest.raises(ValueError, match="patience: got -1"):
    _watchdog.Watchdog(-1)


def test_it_ends_with_its_owner():
  with _watchdog.Watchdog(0.1):
    pass
  # Nothing is watched any more: the test process would not survive it.
  time.sleep(0.3)
