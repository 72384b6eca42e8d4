"""Sequence mixers: files of pure functions that all keep one contract.

`get("s5")` returns the module of a mixer, `names()` lists them; the contract is
written down in `jaxseq.mixers.registry`.
"""

from jaxseq.mixers.registry import get
from jaxseq.mixers.registry import make_config
from jaxseq.mixers.registry import module_of
from jaxseq.mixers.registry import names
from jaxseq.mixers.registry import register

__all__ = ["get", "make_config", "module_of", "names", "register"]
