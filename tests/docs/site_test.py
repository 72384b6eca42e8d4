"""The documentation site is built strictly, and is complete."""

import importlib
import pkgutil
import re

import pytest

import jaxseq
from tests.docs import builds


def public_modules():
  for found in pkgutil.walk_packages(jaxseq.__path__, "jaxseq."):
    if not any(part.startswith("_") for part in found.name.split(".")):
      yield found


@pytest.mark.slow
# One test, for a build takes a third of a minute.
@pytest.mark.timeout(600)
def test_the_site_is_built_and_nothing_in_it_leads_nowhere(tmp_path):
  site = builds.build(tmp_path)
  assert builds.broken(site) == []
  packages = {"jaxseq": site / "api" / "index.html"}
  for found in public_modules():
    place = site.joinpath("api", *found.name.split(".")[1:])
    page = place / "index.html" if found.ispkg else place.with_suffix(".html")
    assert page.is_file(), found.name
    if found.ispkg:
      packages[found.name] = page
  # Names that packages offer are linked to where they are explained.
  for name, page in packages.items():
    linked = set(
      re.findall(
        r'<a [^>]*href="[^"]+"><code>(\w+)</code></a>', page.read_text()
      )
    )
    offered = set(importlib.import_module(name).__all__)
    assert offered <= linked, (name, offered - linked)
  # Decorators complete the docstrings of mixers.
  text = (site / "api" / "mixers" / "state_space" / "s5.html").read_text()
  assert "before the first element" in text
