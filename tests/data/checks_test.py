"""Sets that nothing can be learnt from are refused, with the place."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import checks


def dataset(n=6, time=4, **changes):
  fields = {
    "inputs": np.arange(n * time, dtype=np.float32).reshape(n, time, 1),
    "targets": np.arange(n, dtype=np.int32) % 3,
    "lengths": np.full(n, time, np.int32),
    "extras": data.Extras(subject=np.arange(n)),
  }
  return data.ArrayDataset(**(fields | changes))


def info(**changes):
  return data.Info("", "", "", **({"num_classes": 3} | changes))


def with_value(value, place=(4, 2, 0)):
  inputs = dataset().inputs.copy()
  inputs[place] = value
  return {"inputs": inputs}


def test_a_consistent_set_passes():
  for good in (
    dataset(),
    dataset(lengths=None, extras=data.Extras()),
    dataset(extras=data.Extras(more={"price": np.ones(6)})),
    dataset(inputs=np.zeros((6, 4), np.uint8)),
  ):
    assert checks.check(good) is good
    assert checks.check(good, "mine", info()) is good


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"inputs": np.zeros((6, 4))}, r"inputs: got shape \(6, 4\).*float64"),
    ({"inputs": np.zeros((6, 4, 1), int)}, "inputs: got .*int64"),
    ({"inputs": np.full((6, 4, 1), "x")}, "inputs: got .*<U1, expected"),
    ({"inputs": np.zeros((6, 4, 1), complex)}, "inputs: got .*complex128"),
    ({"inputs": np.zeros((6, 4, 1), object)}, "inputs: got .*object"),
    ({"inputs": np.zeros((6, 0, 1))}, "at least one example, one element"),
    ({"inputs": np.zeros((6, 4, 0))}, "and one feature"),
    ({"inputs": [[1.0]]}, "inputs: got 'list', expected an array"),
    ({"targets": np.zeros(5)}, r"targets: got shape \(5,\), .* 6 inputs"),
    ({"targets": np.zeros(9, int)}, r"targets: got shape \(9,\), .* 6 inputs"),
    ({"targets": np.float32(0)}, "targets: got .* expected one entry"),
    ({"targets": np.full(6, "a")}, "targets: got dtype <U1, expected numbers"),
    ({"targets": None}, "targets: got 'NoneType', expected an array"),
    ({"extras": data.Extras(gaps=np.zeros(7))}, r"gaps: got shape \(7,\)"),
    ({"extras": data.Extras(gaps=np.zeros(6, int))}, "gaps: .* floats"),
    ({"extras": data.Extras(subject=np.zeros(6))}, "subject: .* integers"),
    ({"extras": data.Extras(observed=np.zeros(6))}, "observed: .* booleans"),
    ({"extras": data.Extras(more=[np.zeros(6)])}, "more: got 'list', .* dict"),
    ({"extras": data.Extras(more={"price": 3.0})}, "price.*: got 'float'"),
    ({"extras": data.Extras(more={"price": np.full(6, "a")})}, "dtype <U1"),
    ({"extras": data.Extras(more={"price": np.zeros(5)})}, "price: got shape"),
    (
      {"extras": data.Extras(more={"gaps": np.zeros(6)})},
      "more: got 'gaps', expected a name that is not a field",
    ),
    ({"lengths": np.zeros(6)}, "lengths: got .*float64"),
    ({"lengths": np.full(6, 5, np.int32)}, "5 to 5, .*4, .* is example 0"),
    ({"lengths": np.full(6, -1, np.int32)}, "got -1 to -1"),
  ],
)
def test_what_does_not_belong_together_is_named(changes, message):
  with pytest.raises(ValueError, match=f"mine: .*{message}"):
    checks.check(dataset(**changes), "mine")


def test_no_example_is_no_set():
  with pytest.raises(ValueError, match="inputs: got .*at least one example"):
    checks.check(dataset(n=0))


@pytest.mark.parametrize(
  ("changes", "known", "message"),
  [
    (
      with_value(np.nan),
      {},
      "inputs: got nan at example 4, element 2, channel 0, expected finite",
    ),
    (
      with_value(-np.inf),
      {"channels": ("speed",)},
      "inputs: got -inf at example 4, element 2, channel 'speed'",
    ),
    (
      with_value(np.nan, (slice(2, 4), 1)),
      {},
      "inputs: got nan at example 2, element 1, channel 0 .2 such",
    ),
    (
      {"targets": np.array([0, 1, 2, 77, 2, 1])},
      {},
      "targets: got 77 at example 3, expected classes 0 to 2, as info.num_cla",
    ),
    (
      {"targets": np.arange(-2, 4)},
      {},
      "targets: got -2 at example 0 .3 such values., expected classes 0 to 2",
    ),
    ({"targets": np.arange(-2, 4)}, {"num_classes": None}, "targets: got -2"),
    (
      {"targets": np.zeros(6, np.float32)},
      {},
      "targets: got dtype float32, expected integers, as info.num_classes is 3",
    ),
    (
      {"targets": np.array([0, 0, 1, np.nan, 0, 0])},
      {"num_classes": None},
      "targets: got nan at example 3",
    ),
    (
      {"inputs": np.array([[1, 2], [3, 9]]).repeat(3, 0), "lengths": None},
      {"vocab_size": 9},
      "inputs: got 9 at example 3, element 1 .3 such values., expected tokens "
      "0 to 8, as info.vocab_size is 9",
    ),
    (
      {"inputs": np.full((6, 4), -1)},
      {"vocab_size": 9},
      "inputs: got -1 at example 0, element 0",
    ),
    (
      {"extras": data.Extras(gaps=np.full((6, 4), np.inf))},
      {},
      "gaps: got inf at example 0, element 0",
    ),
    (
      {"extras": data.Extras(more={"price": np.full((6, 4), np.nan)})},
      {},
      "price: got nan at example 0, element 0",
    ),
    (
      {
        "extras": data.Extras(
          second=np.zeros((6, 3, 1)), second_lengths=np.full(6, 4, np.int32)
        )
      },
      {},
      "second_lengths: got 4 to 4, expected 0 to 3",
    ),
    (
      {"targets": np.array([[0, 1], [1, 5]]).repeat(3, 0)},
      {"num_classes": None, "factors": data.Factors(("a", "b"), (2, 4))},
      r"targets\[1\]: got 5 at example 3 .*, expected levels 0 to 3 of 'b'",
    ),
    (
      {"targets": np.zeros((6, 3), int)},
      {"num_classes": None, "factors": data.Factors(("a", "b"), (2, 4))},
      r"targets: got shape \(6, 3\), expected \(6, 2\)",
    ),
  ],
)
def test_wrong_values_are_refused_with_the_first_place(changes, known, message):
  part = dataset(**changes)
  assert checks.check(part, "mine") is part
  with pytest.raises(ValueError, match=f"mine: .*{message}"):
    checks.check(part, "mine", info(**known))


def test_domains_have_examples_without_a_label():
  part = dataset(targets=np.array([-1, 0, 1, 2, -1, -1]))
  known = info(domains=data.Domains("subject", (1, 2), 1, "none"))
  assert checks.check(part, "mine", known) is part
  with pytest.raises(ValueError, match="targets: got -1 at example 0"):
    checks.check(part, "mine", info())


def test_parts_belong_together():
  whole = data.Splits(dataset(), None, dataset(n=4, time=3), info())
  assert checks.check_splits(whole) is whole
  with pytest.raises(ValueError, match=r"mine, test: inputs: got shape \(6, 4"):
    checks.check_splits(
      whole._replace(test=dataset(inputs=np.zeros((6, 4, 2)))), "mine"
    )
  with pytest.raises(ValueError, match="mine, valid: targets: got 5"):
    checks.check_splits(
      whole._replace(valid=dataset(targets=np.full(6, 5))), "mine"
    )
  with pytest.raises(ValueError, match="num_classes: got 0, expected an inte"):
    checks.check_splits(whole._replace(info=info(num_classes=0)))
  with pytest.raises(ValueError, match="names of classes: got 2, expected 3"):
    checks.check_splits(whole._replace(info=info(classes=("a", "b"))))


def test_one_class_is_none():
  def whole(train, test):
    parts = (dataset(targets=np.full(6, value)) for value in (train, test))
    return data.Splits(next(parts), None, next(parts), info())

  # To learn what is usual and be tested on what is not.
  checks.check_splits(whole(0, 1))
  with pytest.raises(ValueError, match="targets: got class 2 for every examp"):
    checks.check_splits(whole(2, 2))


def test_windows_at_every_step_are_looked_at_once(monkeypatch):
  values = np.zeros((1000, 2), np.float32)
  windows = data.datasets.sliding_windows(values, 100)
  part = data.ArrayDataset(windows, windows[:, -1])
  read = []
  chunks = checks.value_checks._chunks

  def counted(array):
    read.append(array.size)
    return chunks(array)

  monkeypatch.setattr(checks.value_checks, "_chunks", counted)
  known = info(num_classes=None)
  checks.check(part, "mine", known)
  assert windows.size > 90 * max(read)
  # The last value is in the last window alone.
  values[-1, 1] = np.nan
  with pytest.raises(
    ValueError, match="inputs: got nan at example 900, element 99, channel 1, "
  ):
    checks.check(part, "mine", known)
