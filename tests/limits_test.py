"""Bounds on memory, and places that hold no file of a set."""

import ast
import os
import pathlib

import pytest

from jaxseq import limits


def test_growth_is_bounded_by_the_size_of_the_file():
  limits.check_growth("a", limits.FREE, 1)
  limits.check_growth("a", 10**11, 10**9)
  with pytest.raises(ValueError, match="a: got 1 bytes that would take 268435"):
    limits.check_growth("a", limits.FREE + 1, 1)
  with pytest.raises(ValueError, match="expected at most 100000000000"):
    limits.check_growth("a", 10**11 + 1, 10**9)


def test_files_lie_in_their_folder(tmp_path):
  folder, outside = tmp_path / "set", tmp_path / "other"
  (folder / "part").mkdir(parents=True)
  outside.write_text("secret")
  for good in (folder / "a", folder / "part" / ".." / "a", folder / "..a"):
    assert limits.check_within(good, folder) == good
  (folder / "link").symlink_to(outside)
  (folder / "inside").symlink_to(folder / "part")
  (tmp_path / "settings").symlink_to(folder)
  (folder / "up").symlink_to(tmp_path)
  assert limits.check_within(folder / "inside" / "a", folder)
  # The folder itself may be a link, as it is the user who names it.
  assert limits.check_within(tmp_path / "settings" / "a", tmp_path / "settings")
  for bad in (
    outside,
    folder,
    folder / ".." / "other",
    folder / "link",
    folder / "up" / "other",
    folder / "part" / ".." / ".." / "other",
    tmp_path / "set-2" / "a",
  ):
    with pytest.raises(ValueError, match="expected a file of the set in"):
      limits.check_within(bad, folder)


@pytest.mark.timeout(60)
def test_pipes_and_devices_are_not_read(tmp_path):
  pipe, endless, file = (tmp_path / name for name in ("pipe", "zero", "file"))
  os.mkfifo(pipe)
  endless.symlink_to("/dev/zero")
  for path in (pipe, endless, "/dev/null"):
    with pytest.raises(ValueError, match="got a pipe or a device, expected a"):
      limits.read_bytes(path)
    with pytest.raises(ValueError, match="got a pipe or a device, expected a"):
      limits.check_regular(path)
  with pytest.raises(IsADirectoryError):
    limits.read_bytes(tmp_path)
  file.write_bytes(b"\xc3\xa9")
  assert limits.read_text(file, 2) == "é"
  with pytest.raises(ValueError, match="file: got 2 bytes, expected at most 1"):
    limits.read_text(file, 1)
  file.write_bytes(b"\xc3")
  with pytest.raises(ValueError, match="file: got .*, expected UTF-8"):
    limits.read_text(file)


@pytest.mark.parametrize(
  ("pattern", "ways"),
  [
    (r"^model\.layers\.0\.q_proj$", 1),
    (r"layers\.(1|22|30)\..*q_proj", 3 * 61),
    ("a?b{2,4}[a-z]+", 2 * 3 * 60),
    ("(?=a*)(?i:b*)(?P<c>c?)", 61 * 61 * 2),
    ("(?:ab){10}", 1),
  ],
)
def test_ways_in_which_patterns_are_tried(pattern, ways):
  assert limits.ways(pattern, 60) == ways


@pytest.mark.parametrize(
  "pattern", ["(a+)+", "(a|a)*", "((a?b?)*c?)*", "(aa|aa)" * 40, ".*" * 12]
)
def test_patterns_without_an_end_have_more_ways_than_can_be_tried(pattern):
  assert limits.ways(pattern, 60) > 10**12


# Modules that open what nobody else has written, or may be a pipe.
_OPEN_OTHERWISE = {
  "jaxseq/models/stream_mode.py": "follows a stream, such as a pipe",
  "jaxseq/training/compile_cache.py": "/proc/cpuinfo",
}


def _opens(tree):
  """Yields calls that open files to read without the common opener."""
  for node in ast.walk(tree):
    if not isinstance(node, ast.Call):
      continue
    name = ast.unparse(node.func)
    if name == "open":
      mode = node.args[1] if len(node.args) > 1 else None
      writes = isinstance(mode, ast.Constant) and set(mode.value) & set("wax")
      opener = [x.value for x in node.keywords if x.arg == "opener"]
      if not writes and list(map(ast.unparse, opener)) != ["limits.regular"]:
        yield name
    elif name in ("np.load", "np.fromfile", "np.loadtxt", "np.genfromtxt"):
      yield name
    elif name.rpartition(".")[2] in ("read_bytes", "read_text"):
      if not name.startswith("limits."):
        yield name


def test_readers_open_files_by_one_opener():
  root = pathlib.Path(__file__).resolve().parents[1]
  found = {}
  for path in sorted((root / "jaxseq").rglob("*.py")):
    calls = list(_opens(ast.parse(path.read_text())))
    if calls and path.name != "limits.py":
      found[path.relative_to(root).as_posix()] = calls
  assert found.keys() == _OPEN_OTHERWISE.keys(), found
