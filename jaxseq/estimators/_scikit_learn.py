"""The parts of scikit-learn that estimators use, or an installation hint."""

try:
  from sklearn import base as base
  from sklearn import metrics as metrics
  from sklearn import model_selection as model_selection
  from sklearn.utils import multiclass as multiclass
  from sklearn.utils import validation as validation
except ModuleNotFoundError as error:
  raise ModuleNotFoundError(
    'Estimators need scikit-learn: pip install "jaxseq[estimators]".',
    name=error.name,
  ) from error
