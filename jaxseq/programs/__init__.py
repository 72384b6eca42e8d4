"""Programs for your own data, as `jaxseq train` and as binaries.

`line` is the shared program of all tasks; each of the other modules adds a
task's configuration, and perhaps further columns or pictures.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.programs import adapt as adapt
  from jaxseq.programs import adapted_files as adapted_files
  from jaxseq.programs import classify as classify
  from jaxseq.programs import command as command
  from jaxseq.programs import compare as compare
  from jaxseq.programs import decision as decision
  from jaxseq.programs import dts as dts
  from jaxseq.programs import forecast as forecast
  from jaxseq.programs import icrl as icrl
  from jaxseq.programs import icrl_suite as icrl_suite
  from jaxseq.programs import language_model as language_model
  from jaxseq.programs import line as line
  from jaxseq.programs import masked_language as masked_language
  from jaxseq.programs import own_data as own_data
  from jaxseq.programs import own_files as own_files
  from jaxseq.programs import pictures as pictures
  from jaxseq.programs import serve as serve
  from jaxseq.programs import serve_flags as serve_flags
  from jaxseq.programs import spr as spr
  from jaxseq.programs import text_flags as text_flags
  from jaxseq.programs import token_command as token_command
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
