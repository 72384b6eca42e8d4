"""Contents of whole files, to be damaged."""

import io
from typing import Any
import zipfile
import zlib

import numpy as np
import pyarrow
import pyarrow.parquet


def lines(*words: str) -> bytes:
  return "\n".join([*words, ""]).encode()


def npy(array: np.ndarray, **options: Any) -> bytes:
  buffer = io.BytesIO()
  np.save(buffer, array, **options)
  return buffer.getvalue()


def zipped(name: str, method: int = zipfile.ZIP_DEFLATED):
  def wrap(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
      archive.writestr(name, content)
    return buffer.getvalue()

  return wrap


def _chunk(name: bytes, content: bytes) -> bytes:
  check = zlib.crc32(name + content)
  size = len(content).to_bytes(4, "big")
  return size + name + content + check.to_bytes(4, "big")


def png(content: bytes) -> bytes:
  """A header of 13 bytes and rows, with checksums that are right."""
  return (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", content[:13])
    + _chunk(b"IDAT", zlib.compress(content[13:]))
    + _chunk(b"IEND", b"")
  )


def wav(count: int) -> bytes:
  values = (
    np.random.default_rng(0).integers(-99, 99, count).astype("<i2").tobytes()
  )
  form = b"fmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data"
  body = b"WAVE" + form + len(values).to_bytes(4, "little") + values
  return b"RIFF" + len(body).to_bytes(4, "little") + body


def idx(array: np.ndarray) -> bytes:
  shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
  return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def table(rows: int = 40) -> bytes:
  times = [f"2020-01-{1 + i // 24:02} {i % 24:02}:00:00" for i in range(rows)]
  return lines("date,a,b", *(f"{t},{i}.5,{-i}" for i, t in enumerate(times)))


def panel(rows: int = 40) -> bytes:
  """Two shops, whose last two rows are to come."""
  return lines(
    "day,shop,sales,price,holiday",
    *(
      f"{i},{shop},{i * 1.5 if i < rows - 2 else ''},{i % 3},{'h' * (i % 2)}"
      for shop in "AB"
      for i in range(rows)
    ),
  )


def ts(*cases: str, stamps: str = "false") -> bytes:
  header = ("@problemName T", f"@timeStamps {stamps}", "@classLabel true a b")
  return lines("# comment", *header, "@data", *cases)


def walks() -> bytes:
  rows = [
    f"{i},2024-01-0{1 + t} 00:00,{i}.5,{-t},{'ab'[i % 2]}"
    for i in range(8)
    for t in range(3)
  ]
  return lines("id,time,x,y,label", *rows)


def wide() -> bytes:
  rows = [f"{i},1.5,2,,{-i},3,,{'ab'[i % 2]}" for i in range(8)]
  return lines("id,x_0,x_1,x_2,y_0,y_1,y_2,label", *rows)


def parquet() -> bytes:
  buffer = io.BytesIO()
  table = {
    "id": [str(i // 3) for i in range(24)],
    "x": [i / 2 for i in range(24)],
    "label": ["ab"[i // 3 % 2] for i in range(24)],
  }
  pyarrow.parquet.write_table(pyarrow.table(table), buffer)
  return buffer.getvalue()


def events() -> bytes:
  rows = [f"{i % 6},{i + 1}.5,{'vb'[i // 6 % 2]}" for i in range(24)]
  return lines("stream,time,mark", *rows)


def npz() -> bytes:
  buffer = io.BytesIO()
  values = np.random.default_rng(0).normal(size=(8, 3, 2))
  lengths = np.array([3, 2] * 4)
  np.savez(buffer, X=values, y=np.array(["a", "b"] * 4), lengths=lengths)
  return buffer.getvalue()


def recorded() -> bytes:
  buffer = io.BytesIO()
  steps = np.arange(9)
  np.savez(
    buffer,
    observations=np.stack([steps, -steps], 1).astype(np.float32),
    actions=steps % 3,
    rewards=steps / 2,
    dones=steps % 3 == 2,
  )
  return buffer.getvalue()
