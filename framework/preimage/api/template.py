"""Where in a longer text the optimised prompt stands."""

from __future__ import annotations

import attrs

from preimage.errors import InputError

__all__ = ["SLOT", "Template"]

SLOT = "{optim_str}"


@attrs.frozen
class Template:
    """A text with one or several slots for the prompt, each written ``{optim_str}``.

    Every slot receives the same prompt. White space around a slot belongs to the slot: the prompt is set
    off by single spaces, which is how a person would type it.

    Raises:
        InputError: the text has no slot.

    >>> Template("an image of {optim_str}").fill("a red circle")
    'an image of a red circle'
    >>> Template("{optim_str}, or {optim_str}").pieces
    ('', ', or', '')
    """

    text: str = attrs.field(default=SLOT)

    @text.validator
    def _has_slot(self, _attribute: object, text: str) -> None:
        if SLOT not in text:
            message = (
                f"The template {text!r} has no slot, so there would be nothing to optimise: "
                f"write {SLOT} where the prompt belongs, for example 'an image of {SLOT}'."
            )
            raise InputError(message)

    @property
    def pieces(self) -> tuple[str, ...]:
        """The fixed texts before, between and after the slots, without the white space that touches a slot.

        The piece after a slot keeps a leading space if the template has one, because tokenizers that mark
        word starts would otherwise read it as the end of the prompt's last word.
        """
        first, *rest = self.text.split(SLOT)
        return (first.strip(), *(piece.rstrip() for piece in rest))

    def fill(self, prompt: str) -> str:
        """Return the whole text with `prompt` in every slot."""
        return self.text.replace(SLOT, prompt.strip()).strip()
