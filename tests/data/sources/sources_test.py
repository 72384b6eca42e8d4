"""Raw data prepared as in training."""

import dataclasses
import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data.sources import base

NAN = np.nan
CASES = """@problemName small
@timeStamps false
@classLabel true low high
@data
1,2,3:4,5,6:low
{}:7,8,9:high
"""


def test_a_file_is_prepared_as_the_training_file_was(tmp_path):
  train, test = tmp_path / "train.ts", tmp_path / "test.ts"
  train.write_text(CASES.format("?,8"))
  test.write_text(CASES.format("5"))
  for options in ({}, {"normalize": False}, {"missing": "mask"}):
    options = {"missing": "forward_fill", **options}
    splits = data.load("uea", train_path=train, test_path=test, **options)
    prepared = splits.info.preparation
    # Through a file and back.
    fields = json.loads(json.dumps(prepared.to_json(), allow_nan=False))
    prepared = data.sources.from_json(fields)
    assert prepared == splits.info.preparation
    for path, part in ((train, splits.train), (test, splits.test)):
      found = prepared.read(path)
      assert found.ids == ("0", "1")
      assert found.labeled
      for array, wanted in zip(found.dataset[:3], part[:3]):
        if wanted is not None:
          np.testing.assert_array_equal(array, wanted)
      np.testing.assert_array_equal(
        found.dataset.extras.observed, part.extras.observed
      )


def test_a_file_without_labels_has_unknown_targets(tmp_path):
  path = tmp_path / "new.ts"
  path.write_text("@classLabel false\n@data\n1,2:3,4\n")
  prepared = data.sources.SeriesSource(
    classes=("a", "b"),
    mean=(0.0, 1.0),
    deviation=(1.0, 2.0),
    reader="ts",
    length=4,
  )
  found = prepared.read(path)
  assert not found.labeled
  assert found.dataset.targets.tolist() == [-1]
  assert found.dataset.inputs[0].tolist() == [[1, 1], [2, 1.5], [0, 0], [0, 0]]
  assert found.dataset.lengths.tolist() == [2]
  path.write_text("@classLabel false\n@data\n1,2\n")
  with pytest.raises(ValueError, match="new.ts: channels: got 1, expected 2"):
    prepared.read(path)


def test_series_longer_than_those_of_training_stay_whole():
  prepared = data.sources.SeriesSource(channels=("x",), length=2)
  found = prepared.prepare([np.ones((3, 1)), np.ones((1, 1))])
  assert found.inputs.shape == (2, 3, 1)
  assert found.lengths.tolist() == [3, 1]


def test_times_become_gaps():
  prepared = data.sources.SeriesSource(gaps="channel", step=2.0, length=3)
  values, times = np.zeros((1, 3, 1)), [np.array([10.0, 12.0, 18.0])]
  found = prepared.prepare(values, times=times)
  assert found.inputs[0].tolist() == [[0, 1], [0, 1], [0, 3]]
  extras = dataclasses.replace(prepared, gaps="extras")
  found = extras.prepare(values, times=times)
  assert found.inputs.shape == (1, 3, 1)
  assert found.extras.gaps.tolist() == [[1, 1, 3]]
  with pytest.raises(
    ValueError, match="times: got None, expected the times of"
  ):
    prepared.prepare(values)


def test_a_forecast_goes_on_from_the_end_of_a_series():
  prepared = data.sources.WindowSource(
    channels=("x",),
    mean=(10.0,),
    deviation=(2.0,),
    missing="forward_fill",
    fill=(0.0,),
    length=2,
    horizon=3,
  )
  found = prepared.prepare(np.array([[12.0], [14.0], [NAN]]))
  assert found.inputs.tolist() == [[[2.0], [2.0]]]
  assert found.targets.shape == (1, 3, 1)
  assert np.isnan(found.targets).all()
  np.testing.assert_array_equal(prepared.restore(found.inputs), [[[14], [14]]])
  with pytest.raises(ValueError, match="series 0: got 1, expected at least 2"):
    prepared.prepare(np.ones((1, 1)))


@pytest.mark.parametrize("length", [-1, 3, 1.5])
def test_lengths_are_those_of_rows(length):
  prepared = data.sources.SeriesSource(channels=("x",))
  lengths = np.array([2, length])
  with pytest.raises(ValueError, match="lengths.* got .* expected an integer"):
    prepared.prepare(np.ones((2, 2, 1)), lengths)


def test_a_text_is_its_own_target():
  prepared = data.sources.TextSource(vocab_size=256)
  found = prepared.prepare("abc")
  assert found.inputs.tolist() == [[97, 98]]
  assert found.targets.tolist() == [[98, 99]]
  assert prepared.prepare([b"abc", b"de"]).lengths.tolist() == [2, 1]


def test_events_have_gaps_and_marks():
  prepared = data.sources.EventSource(classes=("in", "out"), horizon=9)
  found = prepared.prepare([["out", "in"], []], times=[[1.0, 3.5], []])
  assert found.inputs[..., 0].tolist() == [[1, 2.5], [0, 0]]
  assert found.targets.tolist() == [[1, 0], [0, 0]]
  assert found.lengths.tolist() == [2, 0]
  # A stream goes on behind the time at which those of the training ended.
  assert prepared.prepare([[0]], times=[[10.0]]).extras.times.tolist() == [[10]]
  with pytest.raises(ValueError, match="sequence 0: got 1 for event 1, expec"):
    prepared.prepare([[0, 1]], times=[[1.0, 1.0]])


def test_images_are_rows_of_pixels():
  prepared = data.sources.ImageSource(classes=("a", "b"), image_size=(2, 3))
  found = prepared.prepare(np.full((1, 2, 3), 255, np.uint8), targets=["b"])
  assert found.inputs.tolist() == [[[1, 1, 1], [1, 1, 1]]]
  assert found.targets.tolist() == [1]


def test_targets_of_a_regression_come_back_in_their_units():
  prepared = data.sources.SeriesSource(
    targets=("age",), target_mean=(40.0,), target_deviation=(10.0,)
  )
  found = prepared.prepare(np.zeros((2, 3, 1)), targets=[[50.0], [40.0]])
  assert found.targets.tolist() == [[1], [0]]
  assert prepared.restore_targets(found.targets).tolist() == [[50], [40]]
  assert np.isnan(prepared.prepare(np.zeros((2, 3, 1))).targets).all()


def test_sets_without_a_file_form_have_a_preparation_of_arrays():
  splits = data.load("mnist1d", train=20, test=20)
  prepared = splits.info.preparation
  assert prepared.kind == "series"
  found = prepared.prepare(splits.test.inputs, targets=splits.test.targets)
  np.testing.assert_array_equal(found.inputs, splits.test.inputs)
  np.testing.assert_array_equal(found.targets, splits.test.targets)
  with pytest.raises(
    ValueError, match="set.csv: the model was trained on data"
  ):
    prepared.read("set.csv")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ([], "preparation: got 'list', expected an object"),
    ({}, "got no kind"),
    ({"kind": "odd"}, "kind: got 'odd', expected one of 'events', "),
    ({"kind": "series", "mode": 1}, "field: got 'mode', expected one of"),
    ({"kind": "series", "mean": [0.0]}, "deviation: got None"),
    ({"kind": "series", "mean": [0.0], "deviation": [0]}, "numbers above 0"),
    ({"kind": "series", "fill": ["a"]}, "fill: got .*expected finite numbers"),
    ({"kind": "series", "classes": "ab"}, "classes: got 'ab', expected names"),
    ({"kind": "series", "length": True}, "length: got True"),
    ({"kind": "series", "gaps": "x"}, "gaps: got 'x'"),
    ({"kind": "series", "reader_options": 3}, "expected an object"),
    ({"kind": "series", "columns": [1]}, "columns: got 'list', expected an"),
    ({"kind": "series", "columns": {"layout": 3}}, "layout: got 3, expected"),
    ({"kind": []}, "kind: got .., expected one of"),
    ({"kind": "events", "unit": "week"}, "unit: got 'week', expected one of"),
    ({"kind": "events", "start": {}}, "start: got {}, expected a text"),
    ({"kind": "text", "length": 3}, "field: got 'length', expected one of"),
  ],
)
def test_a_damaged_preparation_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    data.sources.from_json(fields)


@dataclasses.dataclass(frozen=True)
class _Numbers(base.Source):
  """A source whose fields may be any numbers, but for two."""

  kind = "numbers"

  _: dataclasses.KW_ONLY
  mean: tuple[float, ...] = (0.0,)
  sizes: tuple[int, ...] = (0,)
  offset: float = -1.0
  seed: int = 0
  scale: base.Positive = 1.0
  items: base.Count | None = None


def test_numbers_of_a_source_have_the_bounds_of_their_types():
  source = _Numbers(mean=(0.5, -2.0), sizes=(0, 3), offset=-0.5, items=2)
  fields = json.loads(json.dumps(source.to_json()))
  assert (
    _Numbers.of_json({k: fields[k] for k in fields if k != "kind"}) == source
  )
  for options, message in (
    ({"mean": (0.5, NAN)}, "mean: got .*, expected finite numbers"),
    ({"sizes": (0.5,)}, "sizes: got .*, expected integers"),
    ({"offset": NAN}, "offset: got nan, expected a finite number"),
    ({"scale": 0.0}, "scale: got 0.0, expected a finite number above 0"),
    ({"scale": "1"}, "scale: got '1', expected a finite number"),
    ({"items": 0}, "items: got 0, expected an integer from 1"),
    ({"items": 1.5}, "items: got 1.5, expected an integer"),
  ):
    with pytest.raises(ValueError, match=message):
      _Numbers(**options)


def test_a_file_of_an_unknown_reader_is_refused():
  with pytest.raises(ValueError, match="reader: got 'os:system', expected one"):
    data.sources.SeriesSource(reader="os:system")


@pytest.mark.parametrize(
  ("kind", "fields"),
  [
    ("series", {"length": 10**9}),
    ("forecast", {"horizon": 10**9}),
    ("images", {"image_size": [100_000, 100_000]}),
    ("tokens", {"vocab_size": 10**10}),
  ],
)
def test_sizes_that_no_array_has_are_refused(kind, fields):
  with pytest.raises(ValueError, match=f"{next(iter(fields))}: got .*expected"):
    data.sources.from_json({"kind": kind, **fields})


@pytest.mark.parametrize(
  "fields",
  [
    {
      "kind": "series",
      "channels": ["x"],
      "stepwise": False,
      "missing": "refuse",
      "reader": "table",
      "reader_options": {
        "layout": "long",
        "id": "id",
        "time": None,
        "label": ["label"],
        "channels": ["x"],
        "ignore": [],
        "delimiter": None,
        "window": None,
        "target": "class",
      },
    },
    {
      "kind": "events",
      "classes": ["a"],
      "horizon": 3.0,
      "length": 2,
      "reader": "event_table",
      "reader_options": {"time": "at", "start": 1.5, "unit": "day"},
    },
    {
      "kind": "forecast",
      "channels": ["x"],
      "length": 2,
      "horizon": 1,
      "reader": "forecast_table",
      "reader_options": {"time": "at", "channels": ["x"], "steps": "insert"},
    },
    {
      "kind": "images",
      "reader": "image_folders",
      "reader_options": {"color": True, "order": "pixel"},
    },
    {
      "kind": "text",
      "reader": "text_files",
      "reader_options": {"pattern": "*"},
    },
  ],
)
def test_descriptions_of_earlier_files_are_read(fields):
  source = data.sources.from_json(fields)
  assert source.kind == fields["kind"]
  options = fields["reader_options"]
  for name in options.keys() & {"unit", "steps", "color", "pattern"}:
    assert getattr(source, name) == options[name]
  assert data.sources.from_json(json.loads(json.dumps(source.to_json()))) == (
    source
  )
