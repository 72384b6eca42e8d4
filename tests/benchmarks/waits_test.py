"""Calls that people wait for."""

import pytest

from benchmarks import waits


def test_every_kind_of_call_has_a_case():
  assert {case.partition(":")[0] for case in waits.CASES} == set(waits._MAKERS)


@pytest.mark.parametrize(
  "case", ["experts:8:2:1:forward", "eager:gru", "top_p:1:300", "trace:lru"]
)
def test_a_case_is_a_call(case):
  call = waits.make(case)
  call()
  call()
