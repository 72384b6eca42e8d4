"""Files of arrays: dtypes, damage, and writing them as a whole."""

import importlib
import json
import os
import pathlib
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq
from jaxseq.interop import network_file
from jaxseq.interop import safetensors_file
from jaxseq.rl import conditioned_players
from jaxseq.rl import policies


def _arrays():
  rng = np.random.default_rng(0)
  values = rng.integers(-100, 100, (3, 5))
  kinds = (bool, "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
  kinds = (*kinds, "f2", jnp.bfloat16, "f4", "f8")
  arrays = {f"array {i}": values.astype(kind) for i, kind in enumerate(kinds)}
  arrays["scalar"] = np.float32(1.5)
  arrays["empty"] = np.zeros((0, 4), np.float16)
  arrays["transposed"] = values.astype(np.float32).T
  arrays["big-endian"] = values.astype(">f4")
  return arrays


def _file(path, header, data=b""):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + data)
  return path


def _entry(dtype="F32", shape=(2,), begin=0, end=8):
  return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_round_trip(tmp_path):
  arrays = _arrays()
  path = tmp_path / "arrays"
  safetensors_file.write(path, arrays, {"format": "pt"})
  again = safetensors_file.read(path)
  assert again.keys() == arrays.keys()
  for name, array in arrays.items():
    assert again[name].dtype == array.dtype.newbyteorder("=")
    assert again[name].shape == array.shape
    np.testing.assert_array_equal(again[name], array)
    assert again[name].flags.aligned
  assert [file.name for file in tmp_path.iterdir()] == ["arrays"]
  safetensors_file.write(path, {"one": np.ones(3)})
  assert safetensors_file.read(path).keys() == {"one"}


def test_stored_arrays_are_those_of_the_file(tmp_path):
  arrays = _arrays()
  safetensors_file.write(tmp_path / "file", arrays)
  found = safetensors_file.stored(tmp_path / "file")
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    read = found[name].read()
    assert found[name].shape == read.shape == np.shape(array)
    assert read.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("dtype", ["f2", jnp.bfloat16, "f4", "f8"])
def test_numbers_that_are_not_finite_are_found(dtype):
  most = jnp.finfo(dtype).max
  for value in (0.0, -0.0, most, -most, np.inf, -np.inf, np.nan, -np.nan):
    array = np.array([[1.0, value], [0.5, 2.0]]).astype(dtype)
    assert safetensors_file.is_finite(array.T) == bool(np.isfinite(value))
  assert safetensors_file.is_finite(np.zeros((0, 2), dtype))


def test_bytes_are_those_of_the_format(tmp_path):
  path = tmp_path / "file"
  safetensors_file.write(path, {"x": np.array([[1.0], [-2.0]], np.float32)})
  data = path.read_bytes()
  (length,) = struct.unpack("<Q", data[:8])
  assert length % 8 == 0
  assert json.loads(data[8 : 8 + length]) == {"x": _entry(shape=[2, 1])}
  assert data[8 + length :] == struct.pack("<2f", 1.0, -2.0)


def test_unaligned_data_are_read(tmp_path):
  data = b"\x07" + struct.pack("<2f", 1.0, -2.0)
  header = {"u": _entry("U8", (1,), 0, 1), "x": _entry(begin=1, end=9)}
  arrays = safetensors_file.read(_file(tmp_path / "file", header, data))
  np.testing.assert_array_equal(arrays["x"], [1.0, -2.0])


@pytest.mark.parametrize(
  ("header", "data", "message"),
  [
    (b"{", b"", "invalid JSON in header"),
    ([1], b"", "invalid JSON in header"),
    ({"x": 1}, b"", "invalid JSON in header"),
    ({"x": _entry(shape=[-2])}, b"", "invalid JSON in header"),
    ({"x": _entry("F8_E5M2", (8,))}, b"\0" * 8, "float8_e5m2"),
    (b"[" * 200_000, b"", "invalid JSON in header: it is nested more than"),
    (b'{"x":' * 100_000, b"", "invalid JSON in header: it is nested more"),
    (
      b'{"x": %s, "x": %s}' % ((json.dumps(_entry()).encode(),) * 2),
      b"\0" * 8,
      "it holds the name 'x' twice",
    ),
    ({"x": _entry(shape=[2**70])}, b"\0" * 8, "1180591620717411303424 is bey"),
    ({"x": _entry(end=4)}, b"\0" * 4, "invalid shape, data type, or offset"),
    ({"x": _entry()}, b"\0" * 7, "file not fully covered"),
    ({"x": _entry()}, b"\0" * 9, "file not fully covered"),
    ({"x": _entry(begin=4, end=12)}, b"\0" * 12, "offset for tensor `x`"),
    (
      {"x": _entry(), "y": _entry(begin=4, end=12)},
      b"\0" * 12,
      "offset for tensor `y`",
    ),
  ],
)
def test_damaged_files(header, data, message, tmp_path):
  path = _file(tmp_path / "file", header, data)
  with pytest.raises(
    ValueError, match="file is no .*, or is damaged: "
  ) as said:
    safetensors_file.read(path)
  assert message in str(said.value)


def test_short_and_missing_files(tmp_path):
  path = tmp_path / "file"
  safetensors_file.write(path, {"x": np.ones(100)})
  whole = path.read_bytes()
  for content, message in (
    (b"1234", "it has 4 bytes, and is empty or cut short"),
    (b"", "it has 0 bytes, and is empty or cut short"),
    (whole[:20], "it ends before its header, which has .* and is cut short"),
    (whole[:-20], "file not fully covered"),
    (struct.pack("<Q", 2**40) + b"{}", "it does not begin with the length of"),
    (b"Some text that is none.", "it does not begin with the length of"),
  ):
    path.write_bytes(content)
    with pytest.raises(
      ValueError,
      match=f"file is no safetensors file, or is damaged: .*{message}",
    ):
      safetensors_file.read(path)
  with pytest.raises(FileNotFoundError):
    safetensors_file.read(tmp_path / "no_such_file")


def test_a_failed_write_leaves_the_old_file(tmp_path):
  path = tmp_path / "file"
  safetensors_file.write(path, {"x": np.ones(2)})
  with pytest.raises(ValueError, match="tensors: got dtypes complex128"):
    safetensors_file.write(path, {"y": np.ones(2, np.complex128)})
  assert safetensors_file.read(path).keys() == {"x"}
  assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_without_safetensors_a_sentence_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "safetensors", None)
  monkeypatch.delitem(sys.modules, safetensors_file.__name__)
  with pytest.raises(
    ModuleNotFoundError,
    match=r'by safetensors: pip install "jaxseq\[interop\]"',
  ):
    importlib.import_module(safetensors_file.__name__)


@pytest.mark.parametrize(
  "load",
  [
    jaxseq.load,
    network_file.load,
    policies.load,
    conditioned_players.load,
    safetensors_file.read,
  ],
)
def test_what_is_no_file_gets_one_sentence(load, tmp_path):
  pipe, loop = tmp_path / "pipe", tmp_path / "loop"
  os.mkfifo(pipe)
  loop.symlink_to(loop)
  for path, message in (
    (pipe, "got a pipe or a device, expected a file"),
    (tmp_path, "is a directory, expected"),
    (pathlib.Path("/dev/zero"), "got a pipe or a device"),
    (loop, "is a symbolic link to itself"),
  ):
    with pytest.raises(ValueError, match=message):
      load(path)
