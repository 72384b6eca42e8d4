"""Pickles of plain containers and NumPy arrays, read without unpickling.

An unpickler calls the functions that a file names and sets the state that it
contains; with NumPy's own dtype and array that suffices to read and write
anywhere in memory. Here nothing is called: a pickle is a list of instructions,
only the ones that NumPy writes are accepted, and an array is built from bytes
after its dtype, shape and number of bytes were found to agree.
"""

import codecs
import io
import math
import os
import pickletools
import re
from typing import Any

import numpy as np

from jaxseq import limits
from jaxseq.data import _npy

_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,5}|O8?")
# A string in quotes, with the escapes that Python 2 writes.
_LITERAL = re.compile(
  rb"""(['"])(?:[^\\\n]|\\(?:x[0-9a-f]{2}|[\\'"nrt]))*\1\n"""
)
# Most characters of a name.
_LONGEST = 100
# Bound of the size of an axis.
_ABOVE = 2**40
_ENCODE = ("_codecs", "encode")
_NDARRAY = ("numpy", "ndarray")
_NAMES = {
  _ENCODE,
  _NDARRAY,
  ("numpy", "dtype"),
  # The modules of numpy 1 and numpy 2.
  ("numpy.core.multiarray", "_reconstruct"),
  ("numpy._core.multiarray", "_reconstruct"),
  ("numpy.core.multiarray", "scalar"),
  ("numpy._core.multiarray", "scalar"),
}
# Instructions that push the value that they contain, or a fixed one.
_VALUES = {
  *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
  *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
  # Python 2 and the protocols 0 and 1.
  *("INT", "LONG", "FLOAT", "STRING", "UNICODE"),
  *("BINSTRING", "SHORT_BINSTRING"),
}
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# The other accepted instructions; the first three change nothing.
_KNOWN = {
  *("PROTO", "FRAME", "STOP", "MARK", "EMPTY_LIST", "EMPTY_DICT", "TUPLE"),
  *("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD", "REDUCE"),
  *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
  *("PUT", "GET", "LIST", "DICT"),
  *("GLOBAL", "STACK_GLOBAL", *_VALUES, *_FIXED, *_TUPLES),
}
_MARK = object()


class _Name(tuple):
  """A name that the pickle mentions: (module, name)."""


class _Dtype:
  """A dtype: first its code without byte order, then the dtype."""

  def __init__(self, code: str):
    self.code = code
    self.dtype: np.dtype | None = None


class _Array:
  """An array before its state is known, and its places in the memo."""

  def __init__(self):
    self.places: list[int] | None = []


def load_object(path: str | os.PathLike) -> Any:
  """Returns what an .npy file of a single object holds, such as a dict.

  Args:
    path: the file, as from `np.save(path, np.array(content, object))`.

  Raises:
    ValueError: if it is another file, or `loads` refuses its pickle.
    FileNotFoundError: if there is no such file.
  """
  with open(path, "rb", opener=limits.regular) as file:
    header = _npy.read_header(file, kinds="O")
    if header.shape != ():
      raise ValueError(f"it is an array {header.shape} of objects")
    array = loads(file.read())
  if not isinstance(array, np.ndarray) or array.shape != ():
    raise ValueError("it is no single object")
  return array.item()


def loads(content: bytes) -> Any:
  """Returns a pickle's dicts, lists, tuples, strings, numbers and arrays.

  Args:
    content: the bytes of the pickle.

  Raises:
    ValueError: if it is damaged, or has instructions that NumPy does not write.
  """
  machine = _Machine(len(content))
  file = io.BytesIO(content)
  while code := file.read(1):
    instruction = pickletools.code2op.get(code.decode("latin1"))
    if instruction is None or instruction.name not in _KNOWN:
      name = code if instruction is None else instruction.name
      raise ValueError(f"it has the instruction {name}")
    if instruction.name == "GLOBAL":
      # The library's reader would unescape the lines.
      words = (file.readline(_LONGEST) for _ in range(2))
      argument = " ".join(word.decode("latin1").rstrip("\n") for word in words)
    elif instruction.name == "STRING":
      argument = _string(file.readline())
    elif instruction.arg is not None:
      argument = instruction.arg.reader(file)
    else:
      argument = None
    if instruction.name == "STOP":
      return machine.pop()
    machine.run(instruction.name, argument)
  raise ValueError("it ends early")


def _string(line):
  """The text of a Python 2 string literal, one character per byte."""
  if not _LITERAL.fullmatch(line):
    raise ValueError("it has a string without quotes, or with other escapes")
  return codecs.escape_decode(line[1:-2])[0].decode("latin1")


class _Machine:
  """The stack and memo of a pickle machine.

  Args:
    size: bytes of the pickle, which bound the values that are copied.
  """

  def __init__(self, size: int):
    self.stack: list[Any] = []
    self.memo: dict[int, Any] = {}
    self.left = size

  def pop(self) -> Any:
    """Removes and returns the value on top."""
    if not self.stack or self.stack[-1] is _MARK:
      raise ValueError("an instruction has no value to work on")
    return self.stack.pop()

  def pop_mark(self) -> list[Any]:
    """Removes and returns the values above the last mark."""
    values = []
    while self.stack and self.stack[-1] is not _MARK:
      values.append(self.stack.pop())
    if not self.stack:
      raise ValueError("an instruction has no mark to go back to")
    self.stack.pop()
    return values[::-1]

  def run(self, name: str, argument: Any) -> None:
    """Executes one instruction."""
    stack = self.stack
    if name in _VALUES:
      stack.append(argument)
    elif name in _FIXED:
      stack.append(_FIXED[name])
    elif name in _TUPLES:
      values = [self.pop() for _ in range(_TUPLES[name])]
      stack.append(tuple(values[::-1]))
    elif name == "MARK":
      stack.append(_MARK)
    elif name == "EMPTY_LIST":
      stack.append([])
    elif name == "EMPTY_DICT":
      stack.append({})
    elif name in ("TUPLE", "LIST"):
      values = self.pop_mark()
      stack.append(tuple(values) if name == "TUPLE" else values)
    elif name == "DICT":
      values = self.pop_mark()
      stack.append({})
      self._set_items(values)
    elif name in ("APPEND", "APPENDS"):
      values = [self.pop()] if name == "APPEND" else self.pop_mark()
      self._top(list).extend(values)
    elif name in ("SETITEM", "SETITEMS"):
      values = self.pop_mark() if name == "SETITEMS" else self._pair()
      self._set_items(values)
    elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
      self._remember(len(self.memo) if name == "MEMOIZE" else argument)
    elif name in ("GET", "BINGET", "LONG_BINGET"):
      if argument not in self.memo:
        raise ValueError(f"it has nothing at place {argument}")
      stack.append(self.memo[argument])
    elif name in ("GLOBAL", "STACK_GLOBAL"):
      words = self._pair() if name == "STACK_GLOBAL" else argument.split(" ")
      if not all(type(word) is str for word in words):
        raise ValueError("it names something that is not a string")
      if tuple(words) not in _NAMES:
        raise ValueError(f"it names {'.'.join(words)[:80]}")
      stack.append(_Name(words))
    elif name == "REDUCE":
      named, arguments = self._pair()
      stack.append(self._reduce(named, arguments))
    elif name == "BUILD":
      self._build(*self._pair())

  def _pair(self):
    second = self.pop()
    return [self.pop(), second]

  def _top(self, kind):
    if not self.stack or type(self.stack[-1]) is not kind:
      raise ValueError(
        f"it puts values into something that is not a {kind.__name__}"
      )
    return self.stack[-1]

  def _set_items(self, values):
    keys = values[::2]
    if len(values) % 2 or not all(type(key) is str for key in keys):
      raise ValueError("a dict has another key than a string")
    self._top(dict).update(zip(keys, values[1::2]))

  def _remember(self, place):
    value = self.pop()
    self.stack.append(value)
    self.memo[place] = value
    if isinstance(value, _Array) and value.places is not None:
      value.places.append(place)

  def _reduce(self, named, arguments):
    """Returns the result that a call to NumPy or Python would have."""
    if not isinstance(named, _Name) or type(arguments) is not tuple:
      raise ValueError("it calls something that is not a name")
    kinds = tuple(map(type, arguments))
    if named == _ENCODE and kinds == (str, str) and arguments[1] == "latin1":
      self._spend(len(arguments[0]))
      return arguments[0].encode("latin1")
    if named[1] == "_reconstruct" and kinds == (_Name, tuple, bytes):
      if arguments == (_NDARRAY, (0,), b"b"):
        return _Array()
    if named[1] == "dtype" and arguments and kinds[0] is str:
      if _DTYPE.fullmatch(arguments[0]):
        return _Dtype(arguments[0])
    if named[1] == "scalar" and kinds in ((_Dtype, bytes), (_Dtype, str)):
      return _scalar(*arguments)
    raise ValueError(f"it calls {'.'.join(named)} in a way NumPy does not")

  def _spend(self, size):
    """Bounds copies: a value could be copied any number of times."""
    self.left -= size
    if self.left < 0:
      raise ValueError("it makes more out of its values than it holds")

  def _build(self, target, state):
    """Sets the byte order of a dtype, or the elements of an array."""
    if type(state) is not tuple:
      raise ValueError("a state is no tuple")
    if isinstance(target, _Dtype):
      target.dtype = _ordered(target.code, state)
      self.stack.append(target)
    elif isinstance(target, _Array) and target.places is not None:
      array = _array(state)
      if array.dtype.hasobject:
        self._spend(array.size)
      for place in target.places:
        self.memo[place] = array
      target.places = None
      self.stack.append(array)
    else:
      raise ValueError("it gives a state to what waits for none")


def _scalar(described, data):
  """Converts a NumPy scalar to Python's; Python 2 stores bytes as text."""
  dtype = described.dtype
  data = data.encode("latin1") if isinstance(data, str) else data
  if dtype is None or dtype.hasobject or len(data) != dtype.itemsize:
    raise ValueError("a number has other data than its dtype")
  return np.frombuffer(data, dtype)[0].item()


def _ordered(code, state):
  """Returns the dtype with the byte order of its state."""
  kinds = [type(value) for value in state]
  if len(state) not in (8, 9) or kinds[1] is not str or kinds[5] is not int:
    raise ValueError("a dtype has another state than NumPy gives")
  dtype = np.dtype(code)
  if state[1] not in ("<", ">", "=", "|"):
    raise ValueError(f"a dtype {code} has no order of bytes")
  dtype = dtype.newbyteorder(state[1])
  # Reject structured dtypes and other item sizes.
  sizes = (-1, dtype.itemsize)
  if state[2:5] != (None, None, None) or state[5] not in sizes:
    raise ValueError(f"a dtype {code} is made wider or of parts")
  return dtype


def _array(state):
  """Builds an array from its state (version, shape, dtype, order, data)."""
  kinds = (int, tuple, _Dtype, bool)
  if len(state) != 5 or tuple(map(type, state[:4])) != kinds:
    raise ValueError("an array has another state than NumPy gives")
  _, shape, described, by_columns, data = state
  dtype = described.dtype
  if dtype is None or not all(
    type(size) is int and 0 <= size < _ABOVE for size in shape
  ):
    raise ValueError("an array has no dtype or no shape")
  objects = dtype.hasobject
  size = math.prod(shape) * (1 if objects else dtype.itemsize)
  if type(data) is not (list if objects else bytes) or len(data) != size:
    raise ValueError(f"an array {shape} of {dtype} has other data")
  if objects:
    array = np.empty(size, object)
    # One by one: NumPy would nest lists and arrays assigned together.
    for place, value in enumerate(data):
      array[place] = value
  else:
    array = np.frombuffer(data, dtype)
  return array.reshape(shape, order="F" if by_columns else "C")
