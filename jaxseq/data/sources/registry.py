"""Kinds of data by name, and the sources of files and data sets."""

from collections.abc import Mapping
from typing import Any

from jaxseq import _registry
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data.sources import base

# Classes of `base.Source`, by their names in files.
KINDS = _registry.Registry(
  "kind",
  {
    "events": "jaxseq.data.sources.events:EventSource",
    "forecast": "jaxseq.data.sources.windows:WindowSource",
    "graph": "jaxseq.data.sources.graphs:GraphSource",
    "images": "jaxseq.data.sources.images:ImageSource",
    "interactions": "jaxseq.data.sources.interactions:InteractionSource",
    "letters": "jaxseq.data.sources.letters:LetterSource",
    "log": "jaxseq.data.sources.logs:LogSource",
    "panel": "jaxseq.data.sources.panels:PanelSource",
    "paragraphs": "jaxseq.data.sources.paragraphs:ParagraphSource",
    "series": "jaxseq.data.sources.series:SeriesSource",
    "text": "jaxseq.data.sources.text:TextSource",
    "tokens": "jaxseq.data.sources.tokens:TokenSource",
  },
)


def from_json(fields: Mapping[str, Any]) -> base.Source:
  """Builds the source that `Source.to_json` described.

  Args:
    fields: parsed JSON, possibly from an untrusted file.

  Raises:
    ValueError: naming the invalid field.
  """
  if not isinstance(fields, Mapping):
    expected = "an object of its fields"
    raise validate.error("preparation", type(fields).__name__, expected)
  fields = dict(fields)
  if "kind" not in fields:
    raise ValueError("preparation: got no kind, expected one.")
  source = KINDS.get(validate.choice("kind", fields.pop("kind"), KINDS))
  return source.of_json(_flat(fields))


def _flat(fields):
  """Converts fields of old files, in which reader options were separate."""
  options = fields.pop("reader_options", {})
  if not isinstance(options, Mapping):
    raise validate.error(
      "reader_options", type(options).__name__, "an object of options"
    )
  if fields.get("reader") == "table" and "layout" in options:
    options = dict(options)
    target = options.pop("target", "none")
    options = {"columns": options, "target": target}
  # Old files also wrote False for sources that are not stepwise, and the like.
  if fields.get("stepwise") is False:
    del fields["stepwise"]
  if "missing" in fields and fields["missing"] == "refuse":
    del fields["missing"]
  return {**fields, **options}


def derive(splits: datasets.Splits) -> base.Source:
  """Returns the source of a set that is read from no known file format.

  Args:
    splits: the set, whose loader does not declare a preparation.

  Returns:
    A source for arrays that already are like this set's inputs.
  """
  inputs, info = splits.train.inputs, splits.info
  fields: dict[str, Any] = {"classes": info.classes, "length": inputs.shape[1]}
  if inputs.ndim == 2:
    kind = "text" if splits.train.targets.ndim == 2 else "tokens"
    fields = fields if kind == "tokens" else {}
    fields |= {"vocab_size": info.vocab_size, "tokens": info.tokens}
  elif splits.train.extras.times is not None:
    kind = "events"
    fields["horizon"] = info.horizon
  else:
    kind = "series"
    fields["channels"] = info.channels
  return KINDS.get(kind)(**fields)
