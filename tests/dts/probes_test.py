import numpy as np
import pytest

from jaxseq.dts import probes

pytest.importorskip("sklearn")

_RNG = np.random.default_rng(0)
_SQUARE = _RNG.uniform(-1, 1, size=(400, 2))
_SAME_SIGN = (_SQUARE.prod(1) > 0).astype(int)


def test_a_line_and_what_no_line_separates():
  train, test = slice(0, 250), slice(250, None)
  right = (_SQUARE[:, 0] > 0).astype(int)
  line = probes.classify(
    _SQUARE[train], right[train], _SQUARE[test], right[test]
  )
  assert line.accuracy > 0.95
  assert line.auc > 0.99
  data = _SQUARE[train], _SAME_SIGN[train], _SQUARE[test], _SAME_SIGN[test]
  # Chance, and four standard deviations of 150 examples.
  assert probes.classify(*data).accuracy < 0.67
  assert probes.classify(*data, kind="mlp").accuracy > 0.9


def test_units_of_codes_do_not_matter():
  right = (_SQUARE[:, 0] > 0).astype(int)
  scaled = [1e6, 1e-6] * _SQUARE + 3
  seen = probes.classify(scaled, right, scaled, right)
  plain = probes.classify(_SQUARE, right, _SQUARE, right)
  # Standardized codes are the same up to rounding.
  assert seen == pytest.approx(plain, abs=1e-6)


def test_a_class_that_was_not_trained_on():
  codes = np.array([[0.0], [0.1], [1.0], [1.1], [0.0], [1.0]])
  labels = np.array([3, 3, 5, 5, 3, 7])
  seen = probes.classify(codes[:4], labels[:4], codes[4:], labels[4:])
  assert seen == (0.5, 1.0)
  alone = probes.classify(codes[:4], labels[:4], codes[:2], labels[:2])
  assert alone.accuracy == 1.0
  assert np.isnan(alone.auc)


def _windows(rng, n, domain):
  """Returns windows whose first two codes tell the class, the third a domain.

  The fourth tells nothing.
  """
  classes = rng.integers(3, size=n)
  angle = 2 * np.pi * classes / 3
  codes = np.stack(
    [np.cos(angle), np.sin(angle), np.full(n, domain), np.zeros(n)], axis=1
  )
  return probes.Windows(codes + 0.1 * rng.normal(size=(n, 4)), classes)


def _four_parts():
  rng = np.random.default_rng(1)
  # The target has a fifth of the windows.
  sizes = ((300, 0), (200, 0), (60, 1), (200, 1))
  return [_windows(rng, n, domain) for n, domain in sizes]


def test_domain_table():
  parts = _four_parts()
  segments = {"g_y": slice(0, 2), "g_d": [2], "noise": [3]}
  table = probes.domain_table(*parts, segments)
  assert list(table) == ["g_y", "g_d", "noise"]
  columns = ("Acc/D-S", "Acc/D-T", "Acc/C-S", "Acc/C-T", "AUC/C-S", "AUC/C-T")
  assert all(tuple(row) == columns for row in table.values())
  for name, informed, chance in (
    ("g_y", ("Acc/C", "AUC/C"), {"Acc/D": 0.5}),
    ("g_d", ("Acc/D",), {"Acc/C": 1 / 3, "AUC/C": 0.5}),
    ("noise", (), {"Acc/D": 0.5, "Acc/C": 1 / 3, "AUC/C": 0.5}),
  ):
    row = table[name]
    for quantity in informed:
      assert min(row[f"{quantity}-S"], row[f"{quantity}-T"]) > 0.98
    for quantity, value in chance.items():
      # 400 windows: four standard deviations of an accuracy. The domain probe
      # may prefer a side, but only at the other's cost.
      mean = (row[f"{quantity}-S"] + row[f"{quantity}-T"]) / 2
      assert abs(mean - value) < 0.1


def test_labels_of_the_target_only_score():
  parts = _four_parts()
  expected = probes.domain_table(*parts, {"z": slice(None)})
  source, source_test, target, target_test = parts
  hidden = target._replace(classes=np.zeros_like(target.classes))
  shuffled = target_test._replace(classes=(target_test.classes + 1) % 3)
  seen = probes.domain_table(
    source, source_test, hidden, shuffled, {"z": slice(None)}
  )
  for column, value in expected["z"].items():
    if column in ("Acc/C-T", "AUC/C-T"):
      assert seen["z"][column] < 0.5 < value
    else:
      assert seen["z"][column] == value


def test_rare_domains_count_alike():
  rows = probes._balanced_rows(np.array([0, 1, 1, 1, 1, 1, 0]), seed=0)
  assert sorted(rows[:5]) in ([0, 0, 0, 6, 6], [0, 0, 6, 6, 6])
  assert sorted(rows[5:]) == [1, 2, 3, 4, 5]


def test_wrong_arguments():
  codes, labels = np.eye(3), np.arange(3)
  with pytest.raises(
    ValueError, match="kind: got 'tree', expected one of 'linear', 'mlp'"
  ):
    probes.classify(codes, labels, codes, labels, kind="tree")
  with pytest.raises(
    ValueError, match=r"labels: got \[0\], expected at least two classes"
  ):
    probes.classify(codes, 0 * labels, codes, labels)
  with pytest.raises(
    ValueError, match=r"labels_test: got .*, expected \(3,\) integers"
  ):
    probes.classify(codes, labels, codes, labels[:2])
  with pytest.raises(ValueError, match="codes_test: got .*, expected 3 codes"):
    probes.classify(codes, labels, codes[:, :2], labels)
  parts = [probes.Windows(codes, labels)] * 4
  with pytest.raises(ValueError, match="at least one segment"):
    probes.domain_table(*parts, {})
  with pytest.raises(ValueError, match=r"segment 'g': got \[7\], expected"):
    probes.domain_table(*parts, {"g": [7]})
  with pytest.raises(ValueError, match=r"segment 'g': got 1, expected"):
    probes.domain_table(*parts, {"g": 1})
  parts[2] = probes.Windows(codes[:, :2], labels)
  with pytest.raises(ValueError, match="target.codes: got .* expected 3 codes"):
    probes.domain_table(*parts, {"g": [0]})


def test_the_domain_is_not_told_from_the_recording():
  """Windows of a recording are alike; domains differ in nothing else."""
  rng = np.random.default_rng(2)

  def windows(first):
    recordings = np.repeat(first + np.arange(10), 20)
    codes = rng.normal(size=(10, 8))[recordings - first]
    codes = codes + 1e-3 * rng.normal(size=(200, 8))
    return probes.Windows(codes, rng.integers(2, size=200), recordings)

  source, target = windows(0), windows(10)
  (seen,) = probes.domain_table(
    source, source, target, target, {"z": slice(None)}, kind="mlp"
  ).values()
  parts = [w._replace(recordings=None) for w in (source, target)]
  (alike,) = probes.domain_table(
    *(parts[i] for i in (0, 0, 1, 1)), {"z": slice(None)}, kind="mlp"
  ).values()
  assert (alike["Acc/D-S"] + alike["Acc/D-T"]) / 2 == 1.0
  # 20 recordings, of each of which all windows are told alike: chance, and
  # three standard deviations of as many coins.
  assert abs((seen["Acc/D-S"] + seen["Acc/D-T"]) / 2 - 0.5) < 0.34
  for column in probes.COLUMNS[2:]:
    assert seen[column] == alike[column]
  alone = source._replace(recordings=np.zeros(200, int))
  (row,) = probes.domain_table(
    alone, alone, target, target, {"z": slice(None)}
  ).values()
  assert np.isnan(row["Acc/D-S"])
  assert np.isnan(row["Acc/D-T"])


def test_a_domain_is_told_of_recordings_that_were_not_fitted_on():
  parts = [
    windows._replace(recordings=np.arange(len(windows.codes)) % 6 + 10 * part)
    for windows, part in zip(_four_parts(), (0, 0, 1, 1))
  ]
  table = probes.domain_table(*parts, {"g_d": [2], "noise": [3]})
  assert min(table["g_d"]["Acc/D-S"], table["g_d"]["Acc/D-T"]) > 0.98
  sides = table["noise"]["Acc/D-S"], table["noise"]["Acc/D-T"]
  assert abs(np.mean(sides) - 0.5) < 0.1


def test_halves_have_the_same_classes():
  rng = np.random.default_rng(3)
  classes = np.arange(20) % 2

  def windows(first):
    recordings = rng.permutation(20)
    return probes.Windows(
      np.zeros((20, 1)), classes[recordings], recordings + first
    )

  parts = [windows(0), windows(20)]
  folds = probes._folds(parts, parts, seed=0)
  assert len(folds) == 2
  scored = np.zeros((2, 20), int)
  for fit, test in folds:
    for part, there, others in zip(parts, fit, test):
      assert np.all(there != others)
      assert np.bincount(part.classes[there]).tolist() == [5, 5]
    scored += np.array(test)
  assert np.all(scored == 1)
