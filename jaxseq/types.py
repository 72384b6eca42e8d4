"""Names of types that all packages share."""

from typing import Any
from typing import TypeAlias
from typing import TypeVar

# Arrays in dicts, tuples and registered classes; no checker follows them.
PyTree: TypeAlias = Any
# Whatever comes, and is returned in the same shape.
T = TypeVar("T")
