"""Bounds on memory, and files of a set that lie elsewhere."""

import pytest

from jaxseq import _limits


def test_growth_is_bounded_by_the_size_of_the_file():
  _limits.check_growth("a", _limits.FREE, 1)
  _limits.check_growth("a", 10**11, 10**9)
  with pytest.raises(ValueError, match="a: got 1 bytes that would take 268435"):
    _limits.check_growth("a", _limits.FREE + 1, 1)
  with pytest.raises(ValueError, match="expected at most 100000000000"):
    _limits.check_growth("a", 10**11 + 1, 10**9)


def test_files_lie_in_their_folder(tmp_path):
  folder, outside = tmp_path / "set", tmp_path / "other"
  (folder / "part").mkdir(parents=True)
  outside.write_text("secret")
  for good in (folder / "a", folder / "part" / ".." / "a", folder / "..a"):
    assert _limits.check_within(good, folder) == good
  (folder / "link").symlink_to(outside)
  (folder / "inside").symlink_to(folder / "part")
  (tmp_path / "settings").symlink_to(folder)
  (folder / "up").symlink_to(tmp_path)
  assert _limits.check_within(folder / "inside" / "a", folder)
  # The folder itself may be a link, as it is the user who names it.
  assert _limits.check_within(
    tmp_path / "settings" / "a", tmp_path / "settings"
  )
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
      _limits.check_within(bad, folder)
