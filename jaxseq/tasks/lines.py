"""The tasks that programs know by name, and the kinds of their models.

Modules are imported only when used.
"""

from collections.abc import Mapping
from typing import NamedTuple

_PLAYED = ("train", "evaluate")
MODES = (*_PLAYED, "predict")


class Line(NamedTuple):
  """A task as a program.

  Attributes:
    body: name of its module, see `comparison.experiment`.
    kinds: kinds of its models, mapped to the modules with their `TASK`, or to
      "module:NAME" of their outputs.
    modes: modes of the program.
    mesh: whether it has the flag `--mesh` for the devices that share a run.
    flags: name of a module whose `define` defines further flags.
    data: data sets for users' own files, by file extension; "/" for
      directories, and "" for all others.
  """

  body: str
  kinds: Mapping[str, str] = {}
  modes: tuple[str, ...] = MODES
  mesh: bool = True
  flags: str = ""
  data: Mapping[str, str] = {}


def _task(name):
  """Returns the kind of a task's models, which has the name of its folder."""
  return {name: f"jaxseq.tasks.{name}.task"}


_PROGRAMS = "jaxseq.programs"
LINES = {
  "adapt": Line(f"{_PROGRAMS}.adapt", mesh=False),
  "classify": Line(
    f"{_PROGRAMS}.classify",
    _task("classification") | _task("regression"),
    data={".npz": "npz", ".ts": "ts", "/": "image_folders", "": "table"},
  ),
  "compare": Line(f"{_PROGRAMS}.compare"),
  "decision": Line(f"{_PROGRAMS}.decision", modes=_PLAYED),
  "dts": Line(f"{_PROGRAMS}.dts", {"codes": "jaxseq.dts.code_task"}),
  "events": Line(
    "jaxseq.tasks.events.event_windows",
    _task("events"),
    data={"": "event_table"},
  ),
  "forecast": Line(
    f"{_PROGRAMS}.forecast", _task("forecasting"), data={"": "forecast_table"}
  ),
  "icrl": Line(f"{_PROGRAMS}.icrl", modes=_PLAYED),
  "icrl_suite": Line(f"{_PROGRAMS}.icrl_suite", modes=_PLAYED),
  "language_model": Line(
    f"{_PROGRAMS}.language_model",
    _task("language"),
    (*MODES, "generate"),
    flags=f"{_PROGRAMS}.text_flags",
    data={".bin": "token_file", ".idx": "token_file", "": "text_files"},
  ),
  "masked_language": Line(
    f"{_PROGRAMS}.masked_language",
    _task("masked_language"),
    data={"": "letters"},
  ),
  "next_element": Line(
    "jaxseq.tasks.next_element.task",
    _task("next_element"),
    data={"": "event_log"},
  ),
  "pictures": Line(
    f"{_PROGRAMS}.pictures",
    _task("pictures")
    | {"picture_codes": "jaxseq.tasks.pictures.picture_codes"},
    (*MODES, "generate"),
    data={"": "image_folders"},
  ),
  "recommend": Line(
    "jaxseq.tasks.recommendation.task",
    _task("recommendation")
    | {
      "semantic_ids": "jaxseq.tasks.recommendation.task:CODES",
      "item_sentences": "jaxseq.tasks.recommendation.task:SENTENCES",
    },
    (*MODES, "serve_stream"),
    data={"": "interaction_table"},
  ),
  "segmentation": Line(
    "jaxseq.tasks.segmentation.task",
    _task("segmentation"),
    data={"": "paragraphs"},
  ),
  "spr": Line(f"{_PROGRAMS}.spr", modes=_PLAYED, mesh=False),
  "temporal_graph": Line(
    "jaxseq.tasks.temporal_graph.task",
    _task("temporal_graph"),
    mesh=False,
    data={"": "graph_table"},
  ),
}
