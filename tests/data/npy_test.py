"""Array files as NumPy writes them, and those that ask for too much."""

import io
import zipfile

import numpy as np
import pytest

from jaxseq.data import _npy
from tests.data import memory

_GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def file(header, data=b"", version=1, length=None):
  text = header.encode("latin1")
  size = len(text) if length is None else length
  return (
    b"\x93NUMPY"
    + bytes([version, 0])
    + size.to_bytes(2 if version == 1 else 4, "little")
    + text
    + data
  )


@pytest.mark.parametrize(
  "array",
  [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(3.5),
    np.zeros((0, 4), np.uint8),
    np.array([True, False]),
    np.array(["ab", "c"]),
    np.arange(4, dtype=">i2"),
  ],
)
def test_what_numpy_writes_is_read(tmp_path, array):
  path = tmp_path / "a.npy"
  np.save(path, array)
  found = _npy.open_map(path)
  assert found.dtype == array.dtype
  assert found.shape == array.shape
  np.testing.assert_array_equal(found, array)
  np.savez_compressed(tmp_path / "a.npz", a=array, b=array)
  stored = _npy.read_archive(tmp_path / "a.npz")
  assert list(stored) == ["a", "b"]
  np.testing.assert_array_equal(stored["b"], array)
  assert stored["b"].dtype == array.dtype
  assert stored["b"].flags.writeable
  assert stored["b"].flags.f_contiguous == array.flags.f_contiguous


def test_headers_of_all_versions(tmp_path):
  path = tmp_path / "a.npy"
  for version in (1, 2, 3):
    path.write_bytes(file(_GOOD + "\n", bytes(24), version))
    assert _npy.open_map(path).shape == (2, 3)


def with_shape(shape):
  return _GOOD.replace("(2, 3)", shape)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "does not begin as"),
    (b"\x93NUMPY\x09\0", "does not begin as"),
    (b"\x93NUMPY\1\0\x01", "ends in its header"),
    (file(_GOOD, length=2**31, version=2), "its header has 2147483648 bytes"),
    (file(_GOOD, bytes(23)), "23 bytes behind its header, which says 24"),
    (file(_GOOD, bytes(25)), "25 bytes behind its header, which says 24"),
    (file(with_shape("(1000000000000,)")), "which says 4000000000000"),
    (file(with_shape("(9999999999999999999999,)")), "its header is"),
    (file(with_shape("(-1, 3)")), "its header is"),
    (file(with_shape("(2, 3")), "its header is"),
    (file(with_shape("(" + "1, " * 40 + "1)")), "it is an array"),
    (file("(" * 3000), "its header is"),
    (file("__import__('os')"), "its header is"),
    (file("{'descr': [('a', 'O')], 'fortran_order': False}"), "its header is"),
    (file(_GOOD.replace("<f4", "|O")), "it is an array .* of object"),
    (file(_GOOD.replace("<f4", "|V8")), "it is an array .* of .*V8"),
    (file(_GOOD.replace("<f4", "<f3")), "its dtype is '<f3'"),
    (file(_GOOD.replace("<f4", "|S0")), "it is an array"),
  ],
)
def test_wrong_files_are_refused(tmp_path, content, message):
  path = tmp_path / "a.npy"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message):
    _npy.open_map(path)


def archive(path, members, method=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, "w", method) as file:
    for name, content in members.items():
      file.writestr(name, content)


def test_wrong_archives_are_refused(tmp_path):
  path = tmp_path / "a.npz"
  buffer = io.BytesIO()
  np.save(buffer, np.zeros(9))
  good = buffer.getvalue()
  for members, method, message in (
    ({"a.npy": good[:-1]}, zipfile.ZIP_STORED, "not as long as its header"),
    ({"a.npy": b"no"}, zipfile.ZIP_STORED, "does not begin as an .npy"),
    ({"a.txt": good}, zipfile.ZIP_STORED, "'a.txt' is no array"),
    ({"a.npy": good}, zipfile.ZIP_LZMA, "is compressed in another way"),
  ):
    archive(path, members, method)
    with pytest.raises(ValueError, match=f"a.npz is no whole .npz .*{message}"):
      _npy.read_archive(path)
  # `zipfile` warns of it, and so writes it with another name of that length.
  archive(path, {"a.npy": good, "b.npy": good})
  path.write_bytes(path.read_bytes().replace(b"b.npy", b"a.npy"))
  with pytest.raises(
    ValueError, match="no whole .npz archive: it holds 'a' tw"
  ):
    _npy.read_archive(path)
  archive(path, {"a.npy": good})
  content = bytearray(path.read_bytes())
  # The version that is needed to read it, in the list at its end.
  content[content.index(b"PK\1\2") + 6] = 99
  path.write_bytes(content)
  with pytest.raises(ValueError, match="no whole .npz archive: zip file vers"):
    _npy.read_archive(path)


def test_small_archives_do_not_become_large(tmp_path):
  path = tmp_path / "a.npz"
  np.savez_compressed(path, a=np.zeros(300 * 2**20, np.uint8))
  with memory.at_most(5):
    with pytest.raises(ValueError, match="would take 314572928 in memory"):
      _npy.read_archive(path)
