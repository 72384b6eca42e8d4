"""The format itself; `transformers_test.py` has the library's own reader."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.interop import safetensors_file


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
    assert not again[name].flags.writeable
  assert [file.name for file in tmp_path.iterdir()] == ["arrays"]
  safetensors_file.write(path, {"one": np.ones(3)})
  assert safetensors_file.read(path).keys() == {"one"}


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
    (b"{", b"", "its header is not JSON"),
    ([1], b"", "its header: got list, expected a JSON object"),
    ({"x": 1}, b"", "the header's entry of tensor 'x': got 1, expected"),
    ({"x": _entry(shape=[-2])}, b"", "the header's entry of tensor 'x': got"),
    ({"x": _entry("F8_E5M2")}, b"", "tensor 'x': got 'F8_E5M2', expected one"),
    ({"x": _entry(end=4)}, b"", "'x' of shape .* must have 8 bytes"),
    ({"x": _entry()}, b"\0" * 7, "its tensors have 8 bytes, the file has 7"),
    ({"x": _entry()}, b"\0" * 9, "its tensors have 8 bytes, the file has 9"),
    ({"x": _entry(begin=4, end=12)}, b"\0" * 12, "'x' must begin at byte 0"),
    (
      {"x": _entry(), "y": _entry(begin=4, end=12)},
      b"\0" * 12,
      "'y' must begin at byte 8",
    ),
  ],
)
def test_damaged_files(header, data, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    safetensors_file.read(_file(tmp_path / "file", header, data))


def test_short_and_missing_files(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"1234")
  with pytest.raises(ValueError, match="4 bytes, too few for a header"):
    safetensors_file.read(path)
  path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
  with pytest.raises(ValueError, match="is cut off: its header should have"):
    safetensors_file.read(path)
  with pytest.raises(FileNotFoundError):
    safetensors_file.read(tmp_path / "no_such_file")


def test_a_failed_write_leaves_the_old_file(tmp_path):
  path = tmp_path / "file"
  safetensors_file.write(path, {"x": np.ones(2)})
  with pytest.raises(
    ValueError, match="tensor 'y': got dtype.'complex64'., expected one of"
  ):
    safetensors_file.write(path, {"y": np.ones(2, np.complex64)})
  assert safetensors_file.read(path).keys() == {"x"}
  assert [file.name for file in tmp_path.iterdir()] == ["file"]
