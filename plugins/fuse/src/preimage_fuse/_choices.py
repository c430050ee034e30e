"""Names that the options and the code that obeys them share; imports nothing."""

from typing import Literal

__all__ = ["Context", "Padding"]

Context = Literal["both", "with", "without"]
Padding = Literal["free", "zero"]
