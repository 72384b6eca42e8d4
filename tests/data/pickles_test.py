"""Pickles of arrays are read as unpickling would, and nothing else is."""

import ast
import os
import pathlib
import pickle
import pickletools

import numpy as np
import pytest

from jaxseq.data import pickles
from tests.data import memory


def content():
  return {
    "list": [np.ones((3, 6)), np.asfortranarray(np.arange(12.0).reshape(2, 6))],
    "objects": np.array([1, "a", None, [2.5, True]], object),
    "names": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "big": np.arange(3, dtype=">i4"),
    "plain": [1, -1, 300, 70_000, 2**40, -(2**40), 1.5, None, "é", (), (1, 2)],
  }


def assert_equal(found, want):
  assert type(found) is type(want)
  if isinstance(want, np.ndarray):
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(found, want)
  elif isinstance(want, dict):
    assert list(found) == list(want)
    for key in want:
      assert_equal(found[key], want[key])
  elif isinstance(want, list):
    for one, other in zip(found, want, strict=True):
      assert_equal(one, other)
  else:
    assert found == want


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_numpy_writes_is_read(protocol):
  want = content()
  found = pickles.loads(pickle.dumps(want, protocol))
  assert_equal(found, want)
  assert not found["big"].flags.writeable
  # As np.save writes an object, an array without axes around it.
  whole = pickles.loads(pickle.dumps(np.array(want, object), protocol))
  assert_equal(whole.item(), want)


def test_what_numpy_1_wrote_is_read():
  """Protocol 2, with bytes as text, and the older place of the function."""
  want = {"x": np.arange(6, dtype=np.int16).reshape(2, 3)}
  text = pickle.dumps(want, 2)
  text = text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
  names = [argument for _, argument, _ in pickletools.genops(text)]
  assert "numpy.core.multiarray _reconstruct" in names
  assert "_codecs encode" in names
  assert_equal(pickles.loads(text), want)


class _Widened:
  """What makes a one-byte array and then gives its dtype another size."""

  def __init__(self, size, fields=None):
    self.state = (3, "|", None, fields, None, size, 1, 0)

  def __reduce__(self):
    return np.dtype, ("S1", False, True), self.state


class _Array:
  """What makes an array of any shape, dtype and data."""

  def __init__(self, shape, dtype, data):
    self.state = (1, shape, dtype, False, data)

  def __reduce__(self):
    make = np.zeros(0).__reduce__()[0]
    return make, (np.ndarray, (0,), b"b"), self.state


class _Call:
  """What calls a function when it is unpickled."""

  def __init__(self, function, *arguments):
    self.called = function, arguments

  def __reduce__(self):
    return self.called


@pytest.mark.parametrize(
  ("value", "message"),
  [
    # One byte becomes a value of 4096, or 50 million, bytes of the heap.
    (_Array((1,), _Widened(4096), b"x"), "dtype S1 is made wider or of parts"),
    (_Array((1,), _Widened(50_000_000), b"x"), "is made wider or of parts"),
    (_Array((1,), _Widened(-9), b"x"), "is made wider or of parts"),
    (_Widened(1, {"a": (np.dtype("O"), 0)}), "is made wider or of parts"),
    (_Array((1000,), np.dtype("f8"), b"x" * 8), "has other data"),
    (_Array((2**62, 4), np.dtype("u1"), b""), "no dtype or no shape"),
    (_Array((-1,), np.dtype("u1"), b""), "no dtype or no shape"),
    (_Array((4,), np.dtype("O"), b"x" * 32), "has other data"),
    (_Array((4,), np.dtype("O"), [None]), "has other data"),
    (_Array((), "f8", b"x" * 8), "has another state than NumPy gives"),
    (np.dtype([("a", "i4"), ("b", "O")]), "in a way NumPy does not|of parts"),
    (_Call(os.getcwd), "it names posix.getcwd"),
    (_Call(eval, "1"), "it names builtins.eval"),
    (_Call(np.dtype, "V8"), "calls numpy.dtype in a way NumPy does not"),
    (_Call(np.dtype, "O,O"), "calls numpy.dtype in a way NumPy does not"),
    (_Call(np.ndarray, (10**9,)), "calls numpy.ndarray in a way NumPy does"),
    ({1: 2}, "a dict has another key than a string"),
    ({"set": {1}}, "it has the instruction EMPTY_SET"),
    (pickle.PickleBuffer, "it names pickle.PickleBuffer|_pickle.PickleBuffer"),
  ],
)
def test_nothing_else_is_made(value, message):
  with pytest.raises(ValueError, match=message):
    pickles.loads(pickle.dumps(value, 4))


@pytest.mark.parametrize(
  "text",
  [
    b"",
    b".",
    b"K\x01",
    b"(.",
    b"t.",
    b"\x85.",
    b"Ra.",
    b"]K\x01s.",
    b"K\x01K\x02a.",
    b"h\x07.",
    b"]]b.",
    b"]]R.",
    b"}(K\x01u.",
    b"}(X\x01\0\0\0au.",
    b"cnumpy\ndtype\n(lR.",
    b"cos\nsystem\n.",
    b"]]\x93.",
    b"X\xff\xff\xff\x7fabc.",
    b"I" + b"9" * 5000 + b"\n.",
    b"\x80\x05\x97.",
    b"\xff",
    b"S'\\q'\n.",
  ],
)
def test_damaged_ones_are_refused(text):
  with pytest.raises(ValueError):
    pickles.loads(text)


def test_one_value_is_not_copied_any_number_of_times():
  long = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\0"
  encode = b"c_codecs\nencode\nq\x01" + long + b"X\6\0\0\0latin1\x86q\x02"
  # 8 kB of instructions that would make 2 GB.
  text = encode + b"]" + b"h\x01h\x02R" * 2000 + b"."
  with memory.at_most(20):
    with pytest.raises(ValueError, match="more out of its values than it hold"):
      pickles.loads(text)
  deep = b"]" * 100_000 + b"a" * 99_999 + b"."
  assert len(pickles.loads(deep)) == 1


def test_nothing_in_the_package_unpickles_or_reads_formats_with_links():
  """HDF5 files can name other files, as archives can places to unpack to."""
  root = pathlib.Path(pickles.__file__).parents[1]
  refused = {"dill", "h5py", "joblib", "marshal", "pickle", "shelve", "tarfile"}
  for path in sorted(root.rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      names = set()
      if isinstance(node, ast.Import):
        names = {alias.name.partition(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        names = {(node.module or "").partition(".")[0]}
      elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
        assert node.value.value is False, path
      assert not names & refused, path
