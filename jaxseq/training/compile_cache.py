"""Compiled programs of earlier processes, kept in a folder of the user's.

Compiling is most of the time of a short run. JAX can keep what it has compiled
on disk, by a key of the program, the versions and the compiler's options; here
that is switched on, once for a process. The folder is

    $JAXSEQ_COMPILATION_CACHE, if it is set; "off" keeps nothing
    $XDG_CACHE_HOME/jaxseq/jax, or ~/.cache/jaxseq/jax

A folder that JAX already has (JAX_COMPILATION_CACHE_DIR) stays.
"""

from collections.abc import Mapping
import functools
import hashlib
import os
import pathlib
import platform
import tempfile

import jax
from jax.experimental.compilation_cache import compilation_cache

# The variable that moves the folder, or turns it off.
VARIABLE = "JAXSEQ_COMPILATION_CACHE"
_OFF = ("off", "0", "false", "no")
# Where the folder is larger, what was not used for longest goes.
_BYTES = 2**30
# How the line of a processor's instruction sets begins, on x86 and on ARM.
_FLAGS = ("flags", "featu")


def enable() -> pathlib.Path | None:
  """Switches the folder on, if that is safe.

  It is where nobody has chosen a folder already, and the folder can be written.
  Calling it again changes nothing.

  Returns:
    The folder that JAX uses; None without a cache.
  """
  chosen = jax.config.jax_compilation_cache_dir
  if chosen or not jax.config.jax_enable_compilation_cache:
    return pathlib.Path(chosen) if chosen else None
  place = folder(os.environ)
  if place is None or not _is_writable(place):
    return None
  _make_room(place)
  jax.config.update("jax_compilation_cache_dir", str(place))
  # Small programs are kept, too: a run has dozens of them, and a later process
  # that finds all of them compiles nothing.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
  # What has been compiled before has settled that there is no folder.
  compilation_cache.reset_cache()
  return place


def folder(environment: Mapping[str, str]) -> pathlib.Path | None:
  """Returns the folder that environment variables name; None for none.

  Each kind of processor has one of its own within it: home directories may be
  shared by machines, and XLA compiles for the one that it runs on.
  """
  chosen = environment.get(VARIABLE)
  if chosen is not None and chosen.strip().lower() in ("", *_OFF):
    return None
  if chosen is None:
    home = environment.get("HOME")
    cache = environment.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    if not cache or not pathlib.Path(cache).is_absolute():
      return None
    chosen = f"{cache}/jaxseq/jax"
  return pathlib.Path(chosen).expanduser().absolute() / _processor()


@functools.cache
def _processor() -> str:
  """Returns a name of the processor's instruction sets."""
  flags = platform.processor()
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(errors="replace")
    flags = next(
      line for line in lines.splitlines() if line[:5].lower() in _FLAGS
    )
  except (OSError, StopIteration):
    pass
  digest = hashlib.sha256(flags.encode()).hexdigest()[:8]
  return f"{platform.machine() or 'machine'}-{digest}"


def _is_writable(place: pathlib.Path) -> bool:
  """Makes the folder, for its user alone; returns whether files can be made."""
  try:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=place):
      return True
  except OSError:
    return False


def _make_room(place: pathlib.Path) -> None:
  """Removes the files that were used least lately where there are too many."""
  try:
    files = [(file.stat(), file) for file in place.iterdir() if file.is_file()]
    size = sum(stat.st_size for stat, _ in files)
    if size <= _BYTES:
      return
    for stat, file in sorted(files, key=lambda pair: pair[0].st_atime):
      if size > _BYTES // 2:
        file.unlink(missing_ok=True)
        size -= stat.st_size
  except OSError:
    return
