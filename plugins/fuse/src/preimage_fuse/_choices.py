"""Names that the options and the code that obeys them share; imports nothing."""

from typing import Literal

__all__ = ["Context"]

Context = Literal["both", "with", "without"]
