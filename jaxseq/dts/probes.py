"""Probes: what a simple model can read off a representation.

A probe is trained on frozen codes, standardized by its training examples, and
scored on others. Windows that overlap, or that are cut from one recording, must
not lie on both sides.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts import _sklearn

KINDS = ("linear", "mlp")
# Of `domain_table`: domain or class, on test windows of source or target.
COLUMNS = ("Acc/D-S", "Acc/D-T", "Acc/C-S", "Acc/C-T", "AUC/C-S", "AUC/C-T")
_HIDDEN = (128,)
_STEPS = 1000


class Classification(NamedTuple):
  """Scores of a classifier.

  Attributes:
    accuracy: share of the test examples that are right.
    auc: one-vs-rest area under the ROC curve, mean over those classes that were
      trained on and that some, and not all, test examples are of; NaN if there
      is no such class.
  """

  accuracy: float
  auc: float


class Windows(NamedTuple):
  """Codes of windows, with their labels.

  Attributes:
    codes: (n, D) float, means of q(z|x).
    classes: (n,) int.
    recordings: (n,) int, the recording that each window was cut from; None if
      that is not known.
  """

  codes: np.ndarray
  classes: np.ndarray
  recordings: np.ndarray | None = None


def require() -> None:
  """Raises ModuleNotFoundError, in one sentence, without scikit-learn."""
  _sklearn.load("linear_model")


def classify(
  codes: np.ndarray,
  labels: np.ndarray,
  codes_test: np.ndarray,
  labels_test: np.ndarray,
  *,
  kind: str = "linear",
  seed: int = 0,
) -> Classification:
  """Trains a classifier of codes and scores it on others.

  Args:
    codes: (n, D) float.
    labels: (n,) int, of at least two classes.
    codes_test: (m, D) float.
    labels_test: (m,) int. A class that is not in `labels` counts as wrong.
    kind: "linear", logistic regression; "mlp", one hidden layer of 128 ReLUs.
    seed: of an MLP's weights and batches.

  Raises:
    ValueError: shapes, dtypes or the kind are wrong, or there is one class.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  codes = _arrays.code_array(codes)
  codes_test = _arrays.code_array(codes_test, "codes_test")
  _arrays.alike("codes_test", codes_test, "codes", codes, "codes")
  labels_test = _arrays.label_array(labels_test, len(codes_test), "labels_test")
  model = _trained_classifier(codes, labels, kind, seed)
  return _scores(model, codes_test, labels_test)


def domain_table(
  source: Windows,
  source_test: Windows,
  target: Windows,
  target_test: Windows,
  segments: Mapping[str, slice | jax.typing.ArrayLike],
  *,
  kind: str = "linear",
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """Returns how well each segment of z predicts the domain and the class.

  The class probe is trained on `source` only; labels of the target are used to
  score it, and to halve recordings, and for nothing else. The domain probe,
  source against target, is trained on `source` and `target` together, weighted
  so that both count alike, and scored on `source_test` and `target_test` alone:
  chance is 0.5 on average over the two, but 1 and 0 are possible for a probe
  that knows nothing. Where recordings are known it is fitted twice, each time
  on half of the recordings of each domain, and scored on windows of the others:
  `target_test` may then hold the windows of `target`. These columns are NaN if
  the windows of a domain to train on are of a single recording.

  A segment that holds the class has C near 1 and D near chance; one that holds
  the domain has the reverse. Report both segments: a slice of z that no loss
  made different passes neither.

  Args:
    source: windows of the source domain to train on.
    source_test: other windows of it.
    target: windows of the target domain to train the domain probe on.
    target_test: other windows of it.
    segments: names to columns of the codes, each a slice or indices, as
      {"g_y": slice(0, 12), "g_d": slice(12, 16)}.
    kind: of both probes, one of `KINDS`.
    seed: of an MLP's weights and batches.

  Returns:
    For each segment "Acc/D-S", "Acc/D-T", "Acc/C-S", "Acc/C-T", "AUC/C-S" and
    "AUC/C-T": accuracy of the domain (D) and accuracy and area under the ROC
    curve of the class (C), on test windows of source (S) and target (T). An
    area is NaN where all test windows are of one class.

  Raises:
    ValueError: shapes, dtypes or the kind are wrong, there is no segment, or
      the source has one class.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  names = "source", "source_test", "target", "target_test"
  windows = source, source_test, target, target_test
  parts = [_windows(name, part) for name, part in zip(names, windows)]
  first = parts[0].codes
  for name, part in zip(names, parts):
    _arrays.alike(f"{name}.codes", part.codes, "source.codes", first, "codes")
  if not segments:
    raise validate.error("segments", segments, "at least one segment")
  rows = {}
  for name, columns in segments.items():
    codes = (_columns(part.codes, columns, name) for part in parts)
    seen = [part._replace(codes=x) for part, x in zip(parts, codes)]
    rows[name] = _segment_row(*seen, kind, seed)
  return rows


def _segment_row(source, source_test, target, target_test, kind, seed):
  """Returns the row of one segment."""
  domain_s, domain_t = _domain_accuracies(
    (source, target), (source_test, target_test), kind, seed
  )
  label = _trained_classifier(source.codes, source.classes, kind, seed)
  (class_s, auc_s), (class_t, auc_t) = (
    _scores(label, x.codes, x.classes) for x in (source_test, target_test)
  )
  row = domain_s, domain_t, class_s, class_t, auc_s, auc_t
  return dict(zip(COLUMNS, row))


def _domain_accuracies(fitted, tested, kind, seed):
  """Returns the domain classifier's accuracy on source and target windows."""
  right = [np.full(len(windows.codes), np.nan) for windows in tested]
  for fit, test in _folds(fitted, tested, seed):
    codes = [windows.codes[rows] for windows, rows in zip(fitted, fit)]
    is_target = np.repeat([0, 1], list(map(len, codes)))
    model = _trained_classifier(
      np.concatenate(codes), is_target, kind, seed, balanced=True
    )
    for number, (windows, rows) in enumerate(zip(tested, test)):
      if rows.any():
        right[number][rows] = model.predict(windows.codes[rows]) == number
  return [float(each.mean()) for each in right]


def _folds(fitted, tested, seed):
  """Returns windows to fit on and to score, from different recordings."""
  # Both halves have as many recordings of each class: if a domain had more of
  # one class, the class would predict the domain.
  if any(windows.recordings is None for windows in (*fitted, *tested)):
    parts = fitted, tested
    return [[[np.ones(len(x.codes), bool) for x in part] for part in parts]]
  folds = [([], []), ([], [])]
  for fit, test in zip(fitted, tested):
    # Only test windows of the target tell their classes.
    recordings = np.concatenate([test.recordings, fit.recordings])
    classes = np.concatenate([test.classes, fit.classes])
    names, rows = np.unique(recordings, return_index=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(classes[rows[order]], kind="stable")]
    first = names[order[::2]]
    fit, test = (np.isin(x.recordings, first) for x in (fit, test))
    if fit.all() or not fit.any():
      return []
    for fold, sides in zip(folds, ((fit, ~test), (~fit, test))):
      for rows, side in zip(fold, sides):
        rows.append(side)
  return folds


def _windows(name: str, windows: Windows) -> Windows:
  codes = _arrays.code_array(windows.codes, f"{name}.codes")
  classes = _arrays.label_array(windows.classes, len(codes), f"{name}.classes")
  recordings, label = windows.recordings, f"{name}.recordings"
  if recordings is not None:
    recordings = _arrays.label_array(recordings, len(codes), label)
  return Windows(codes, classes, recordings)


def _columns(
  codes: np.ndarray, columns: slice | jax.typing.ArrayLike, name: str
) -> np.ndarray:
  wrong = validate.error(
    f"segment {name!r}",
    columns,
    f"a slice or a list of columns, at least one of {codes.shape[1]}",
  )
  try:
    out = codes[:, columns]
  except IndexError as error:
    raise wrong from error
  if out.ndim != 2 or not out.shape[1]:
    raise wrong
  return out


def _trained_classifier(codes, labels, kind, seed, balanced=False):
  """Returns a classifier of standardized codes."""
  labels = _arrays.label_array(labels, len(codes), "labels")
  classes = np.unique(labels)
  if len(classes) < 2:
    raise validate.error("labels", classes.tolist(), "at least two classes")
  if balanced:
    rows = _balanced_rows(labels, seed)
    codes, labels = codes[rows], labels[rows]
  if validate.choice("kind", kind, KINDS) == "linear":
    model = _sklearn.load("linear_model").LogisticRegression(max_iter=_STEPS)
  else:
    model = _sklearn.load("neural_network").MLPClassifier(
      hidden_layer_sizes=_HIDDEN, max_iter=_STEPS, random_state=seed
    )
  model = _sklearn.load("pipeline").make_pipeline(
    _sklearn.load("preprocessing").StandardScaler(), model
  )
  # One that is stopped after its last step is good enough.
  with _sklearn.may_stop_early():
    return model.fit(codes, labels)


def _scores(model, codes, labels) -> Classification:
  probabilities = model.predict_proba(codes)
  accuracy = float(np.mean(model.classes_[probabilities.argmax(1)] == labels))
  if len(np.unique(labels)) < 2 or not np.isin(labels, model.classes_).any():
    return Classification(accuracy, float("nan"))
  area = _sklearn.area_under_roc(labels, probabilities, model.classes_)
  return Classification(accuracy, area)


def _balanced_rows(labels: np.ndarray, seed: int) -> np.ndarray:
  """Returns rows in which each label is as often as the most frequent one."""
  rng = np.random.default_rng(seed)
  members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
  most = max(map(len, members))
  rows = []
  for each in members:
    times, rest = divmod(most, len(each))
    rows += [np.tile(each, times), rng.choice(each, rest, replace=False)]
  return np.concatenate(rows)
