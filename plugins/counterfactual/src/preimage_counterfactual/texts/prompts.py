"""The nearest prompt whose pictures are decided otherwise: found by a cheap stand-in, proved by drawing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs

from preimage import catalogue
from preimage.device import resolve_device
from preimage.errors import InputError
from preimage.search_space import SearchSpace
from preimage_counterfactual.texts.answer import PromptCounterfactual
from preimage_counterfactual.texts.explainer import TextExplainer
from preimage_counterfactual.texts.judging import DescriptionClassifier, nats_of
from preimage_counterfactual.texts.word_edits import whole_words
from preimage_counterfactual.texts.wording import WordChange, changed, vocabulary, words_in

if TYPE_CHECKING:
    from PIL.Image import Image

    from preimage.api import ImageGenerator, ImageTextEncoder, LanguageModel

__all__ = ["PromptExplainer"]

_MARGINS = (0.1, 1.0, 3.0, 6.0)
"""By how many nats the text itself has to be decided as wanted, search after search; the last one for the rest."""


@attrs.frozen(eq=False)
class _Drawn:
    """A prompt with its pictures, and the share of them that is decided as wanted."""

    text: str
    changes: tuple[WordChange, ...]
    pictures: tuple[Image, ...]
    share: float
    decision: str


class PromptExplainer:
    """Finds the smallest change of a prompt after which its pictures, of the same seeds, are decided otherwise.

    A picture is decided by which of several descriptions it is nearest to in an encoder's space. Drawing is dear, so
    the search runs on texts alone: the encoder says which description a prompt is nearest to (`TextExplainer`). What it
    finds is drawn. Where the pictures do not follow, the next search has to do without the words that it put in, and to
    be more certain; where they do, each changed word is put back if they still follow without it.

    Arguments:
        generator: a generator of pictures, or a reference to one, such as ``"miniworld:sd"``.
        judge: an encoder of pictures and texts, or a reference to one, such as ``"miniworld:clip"``.
        seeds: of the pictures of each prompt.
        agreement: the share of these pictures that has to be decided as wanted.
        tries: how many prompts are searched for and drawn, at most.
        language_model: says what is plausible; without one only the number of edits counts.
        generator_options: of a generator given by name, such as ``{"steps": 10}``.
        device: where models are loaded.
        **options: more of `TextExplainer`, such as ``edit_cost`` or ``method``.

    Raises:
        InputError: there is no seed, or a number is out of its range.
        UnknownNameError: there is no such model, method or distance.
    """

    def __init__(
        self,
        generator: str | ImageGenerator,
        *,
        judge: str | ImageTextEncoder,
        seeds: Sequence[int] = (0, 1),
        agreement: float = 1.0,
        tries: int = 6,
        language_model: str | LanguageModel | None = None,
        generator_options: Mapping[str, Any] | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        if not seeds or not 0 < agreement <= 1 or tries < 1:
            message = (
                f"There are {len(seeds)} seeds, the agreement is {agreement} and tries is {tries}: give at least one "
                "seed and one try, and a share of the pictures above 0 and up to 1."
            )
            raise InputError(message)
        self.device = device
        self.generator = self._model(generator, "image-generator", **(generator_options or {}))
        self.judge = self._model(judge, "image-text-encoder")
        self.language_model = None if language_model is None else self._model(language_model, "language-model")
        self.seeds = tuple(seeds)
        self.agreement = agreement
        self.tries = tries
        self.options = options
        self.words_: tuple[str, ...] = ()

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn which words may be put in, besides those of the wanted description: the words of `texts`.

        Without it they are the whole words among the encoder's tokens.

        Raises:
            InputError: the texts are no list, or hold no word.
        """
        self.words_ = vocabulary(texts)
        return self

    def explain(self, prompt: str, *, wanted: str, instead_of: str | Sequence[str]) -> PromptCounterfactual:
        """Return the nearest prompt whose pictures show what is wanted.

        Arguments:
            prompt: what the pictures are drawn from.
            wanted: a description of what they should show, ``"a blue star"``.
            instead_of: a description of what they show now, ``"a red star"``, or several to be told apart from.

        Raises:
            InputError: the prompt has no word, or a text is too long for a model.
        """
        started = time.perf_counter()
        if not words_in(prompt):
            message = f"The prompt {prompt!r} has no word that could be changed: give a prompt with words."
            raise InputError(message)
        others = [instead_of] if isinstance(instead_of, str) else list(instead_of)
        classifier = DescriptionClassifier(self.judge, [wanted, *others])
        original = self._drawn(prompt, (), classifier)
        record = PromptCounterfactual(
            original=prompt,
            wanted=wanted,
            decision=original.decision,
            status="already",
            reason=f"Pictures of the prompt are already decided {wanted!r}.",
            probability=original.share,
            nats=self._nats(prompt),
            seeds=self.seeds,
            pictures=original.pictures,
            tried=1,
        )
        if original.share >= self.agreement:
            return record
        explainer = self._explainer(wanted, classifier)
        drawn: dict[str, _Drawn] = {}
        calls = 0
        for number in range(self.tries):
            found = explainer.nearest(prompt, wanted, _MARGINS[min(number, len(_MARGINS) - 1)])
            calls += found.calls
            if found.changes and found.text not in drawn:
                drawn[found.text] = self._drawn(prompt, found.changes, classifier)
                if drawn[found.text].share >= self.agreement:
                    break
            failed = {change.after.casefold() for change in found.changes}
            explainer.words_ = tuple(word for word in explainer.words_ if word.casefold() not in failed)
            if not explainer.words_:
                break
        best = max(drawn.values(), key=lambda one: one.share, default=None)
        if best is not None and best.share >= self.agreement:
            best = self._taken_back(prompt, best, classifier, drawn)
        record = attrs.evolve(record, calls=calls, tried=1 + len(drawn), seconds=time.perf_counter() - started)
        return self._told(record, best, explainer)

    def _told(
        self, record: PromptCounterfactual, best: _Drawn | None, explainer: TextExplainer
    ) -> PromptCounterfactual:
        """Return the record with what was found, or why nothing was."""
        if best is None:
            reason = f"No other prompt was found that reads like {record.wanted!r}: let more words in (fit)."
            return attrs.evolve(record, status="none", reason=reason)
        record = attrs.evolve(record, probability_after=best.share, pictures_after=best.pictures)
        if best.share < self.agreement:
            reason = (
                f"Of the {len(self.seeds)} pictures of the nearest miss, {best.text!r}, {best.share:.0%} are decided "
                f"{record.wanted!r}: describe it otherwise, let more words in (fit), or ask for less agreement."
            )
            return attrs.evolve(record, status="none", reason=reason, nearest_miss=best.text)
        return attrs.evolve(
            record,
            status="found",
            reason="",
            text=best.text,
            changes=best.changes,
            nats_after=self._nats(best.text),
            distance=explainer.distance_between(best.text, record.original),
        )

    def _taken_back(
        self, prompt: str, best: _Drawn, classifier: DescriptionClassifier, drawn: dict[str, _Drawn]
    ) -> _Drawn:
        """Return the prompt with every change put back that the pictures do not need; each trial is drawn."""
        place = 0
        while len(best.changes) > 1 and place < len(best.changes):
            fewer = best.changes[:place] + best.changes[place + 1 :]
            text = changed(prompt, fewer)
            if text not in drawn:
                drawn[text] = self._drawn(prompt, fewer, classifier)
            if drawn[text].share >= self.agreement:
                best = drawn[text]
            else:
                place += 1
        return best

    def _drawn(self, prompt: str, changes: tuple[WordChange, ...], classifier: DescriptionClassifier) -> _Drawn:
        text = changed(prompt, changes)
        pictures = self.generator.generate([text] * len(self.seeds), self.seeds)
        log_probs = classifier.of_pictures(pictures)
        share = float((log_probs.argmax(dim=1) == 0).double().mean())
        decision = classifier.labels[int(log_probs.mean(dim=0).argmax())]
        return _Drawn(text, changes, tuple(pictures), share, decision)

    def _explainer(self, wanted: str, classifier: DescriptionClassifier) -> TextExplainer:
        explainer = TextExplainer(classifier, language_model=self.language_model, device=self.device, **self.options)
        own = [word.lower() for word in words_in(wanted)]
        known = self.words_ or whole_words(SearchSpace(self.judge.space))
        explainer.words_ = tuple(dict.fromkeys([*own, *known]))
        return explainer

    def _nats(self, text: str) -> float | None:
        return None if self.language_model is None else float(nats_of(self.language_model, [text])[0])

    def _model(self, model: Any, role: str, **options: Any) -> Any:
        if not isinstance(model, str):
            return model
        return catalogue().load_model(model, role, device=resolve_device(self.device), **options)
