"""The comparison of two checkouts."""

import pathlib

import pytest

from benchmarks import checkouts


def test_every_kind_of_call_has_a_case():
  assert checkouts.cases(["gru"]) == [
    "ppo",
    "agent:pqn",
    "agent:r2d2",
    "agent:sac",
    *checkouts.TEXTS,
    "s5:1024:forward",
    "s5:1024:gradient",
    "s5:16384:forward",
    "s5:16384:gradient",
    "mixer:gru:forward",
    "mixer:gru:gradient",
    "step:gru",
  ]


@pytest.mark.slow
@pytest.mark.parametrize("case", checkouts.TEXTS)
def test_a_call_of_generation_can_be_repeated(case):
  function = checkouts.make(case)
  for _ in range(2):
    function()


@pytest.mark.slow
def test_a_checkout_beside_itself():
  root = pathlib.Path(checkouts.__file__).parents[1]
  both = [checkouts.Checkout(root) for _ in range(2)]
  for case in ("mixer:elman:forward", "step:elman"):
    numbers = checkouts.compared(both, case, 3)
    # The same program: a factor of three is left to a busy machine.
    assert all(x > 0 for x in numbers[:2])
    assert 1 / 3 < numbers[3] < 3
  for each in both:
    each.close()
