"""Readers of the file formats that published data sets come in."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.data.files import columns as columns
  from jaxseq.data.files import ett as ett
  from jaxseq.data.files import log_files as log_files
  from jaxseq.data.files import movielens as movielens
  from jaxseq.data.files import table_files as table_files
  from jaxseq.data.files import text_forms as text_forms
  from jaxseq.data.files import uea as uea
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
