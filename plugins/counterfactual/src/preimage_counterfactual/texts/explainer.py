"""The nearest text that a classifier decides otherwise: a search over words, taken back as far as it can be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import attrs

from preimage import Budget, Pipeline, Stage, Term, catalogue
from preimage.device import resolve_device
from preimage.errors import InputError
from preimage_counterfactual.texts.answer import TextCounterfactual
from preimage_counterfactual.texts.judging import class_log_probs, label_named, nats_of
from preimage_counterfactual.texts.wording import WordChange, changed, vocabulary, word_changes, words_in

if TYPE_CHECKING:
    from preimage.api import Classifier, LanguageModel
    from preimage.result import Result

__all__ = ["TextExplainer"]

_EDITS = 20
_NATS = 20.0
"""Answers have fewer edits than that, and fewer nats per token: what costs more is not yet decided as wanted."""
_UNDECIDED = 1000.0
"""How many times more than that a text costs that lacks the whole margin."""


@attrs.frozen(eq=False)
class _Found:
    """A text with what is known of it: `lead` is by how many nats the wanted class leads the likeliest other one."""

    text: str
    changes: tuple[WordChange, ...]
    lead: float
    cost: float
    distance: float
    calls: int = 0


class TextExplainer:
    """Finds for each text the nearest one that a classifier gives another class.

    Near is what changes few words and what a language model finds likely. In nats, an edited word costs `edit_cost`::

        cost = edit_cost * distance(text, original) + likelihood of the text under the language model, -log p

    which is minus the log-density of the text and the original drawn together: closeness times plausibility, as for
    rows of a table. Words of the answer are put back one by one as long as the class stays and the cost falls, and what
    is left has been put to the classifier as it is written down.

    Arguments:
        model: a classifier of texts, or a reference to one, such as ``"hf:./sentiment"``.
        language_model: says what is plausible; without one only the distance counts.
        distance: between texts, by name.
        distance_options: of the distance; edited words are counted, not divided by the length, without them.
        distance_model: of a distance that asks for one, such as ``text-similarity``.
        method: an optimizer of texts by name: ``word-edits``, or one of tokens such as ``gcg`` or ``random-search``.
        method_options: of the method.
        edit_cost: how many nats of the text's likelihood an edited word is worth.
        margin: the lead over the likeliest other class, in nats, that the search aims at; any lead decides.
        budget: of each search; without it, ``word-edits`` ends when it has an answer, and others after 50 steps.
        device: where models are loaded.
        random_state: same state, same answers.

    Raises:
        InputError: a number is out of its range.
        UnknownNameError: there is no such model, method or distance.

    >>> explainer = TextExplainer("miniworld:mood").fit(["a sad blue star at night", "a happy red heart in the snow"])
    >>> answer = explainer.explain("a gloomy pink heart on a beach", desired_class="positive")
    >>> answer.marked, answer.decision
    ('a [gloomy → happy] pink heart on a beach', 'negative')
    """

    def __init__(
        self,
        model: str | Classifier,
        *,
        language_model: str | LanguageModel | None = None,
        distance: str = "edit-distance",
        distance_options: Mapping[str, Any] | None = None,
        distance_model: Any = None,
        method: str = "word-edits",
        method_options: Mapping[str, Any] | None = None,
        edit_cost: float = 10.0,
        margin: float = 0.1,
        budget: Budget | None = None,
        device: str | None = None,
        random_state: int = 0,
    ) -> None:
        for name, value in (("edit_cost", edit_cost), ("margin", margin)):
            if not value > 0:
                message = f"{name} is {value!r}: give a number above 0."
                raise InputError(message)
        self.device = device
        self.classifier = self._model(model, "classifier")
        self.language_model = None if language_model is None else self._model(language_model, "language-model")
        self.method = method
        self.method_options = dict(method_options or {})
        self.edit_cost = edit_cost
        self.margin = margin
        self.budget = budget
        self.random_state = random_state
        self.words_: tuple[str, ...] = ()
        self.distance = distance
        self.distance_options = {"normalised": False} if distance == "edit-distance" else {}
        self.distance_options.update(distance_options or {})
        asks = catalogue().describe("distance", distance).component.trait("role")
        self._distance_model = self._model(distance_model, asks[0]) if asks else self.classifier
        parts = {"model": self._distance_model} if asks else {}
        self._distance = catalogue().build("distance", distance, parts, **self.distance_options)

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn which words may be put in: those of `texts`, the frequent ones first.

        Without it they are the whole words among the classifier's tokens, which say nothing of how people write.

        Raises:
            InputError: the texts are no list, or hold no word.
        """
        self.words_ = vocabulary(texts)
        return self

    @overload
    def explain(self, texts: str, *, desired_class: str = ...) -> TextCounterfactual: ...
    @overload
    def explain(self, texts: list[str] | tuple[str, ...], *, desired_class: str = ...) -> list[TextCounterfactual]: ...
    def explain(self, texts: Any, *, desired_class: str = "opposite") -> Any:
        """Return the nearest text that is decided otherwise; a list of them for a list of texts.

        Arguments:
            texts: a text or a list of them.
            desired_class: a class, or ``"opposite"``: the nearest answer of all classes but the one decided now.

        Raises:
            InputError: a text has no word, or is too long for a model.
            UnknownNameError: the classifier has no such class.
        """
        if not isinstance(texts, str):
            return [self.explain(text, desired_class=desired_class) for text in texts]
        started = time.perf_counter()
        if not words_in(texts):
            message = f"The text {texts!r} has no word that could be changed: give a text with words."
            raise InputError(message)
        labels = self.classifier.labels
        log_probs = class_log_probs(self.classifier, [texts])[0]
        decision = labels[int(log_probs.argmax())]
        if desired_class == "opposite" and "opposite" not in labels:
            classes = [label for label in labels if label != decision]
        else:
            classes = [label_named(desired_class, self.classifier)]
        record = TextCounterfactual(
            original=texts,
            wanted=classes[0],
            decision=decision,
            status="already",
            reason=f"The text is already decided {decision}.",
            probability=float(log_probs[labels.index(classes[0])].exp()),
            nats=None if self.language_model is None else float(nats_of(self.language_model, [texts])[0]),
        )
        if decision in classes:
            return record
        found = [(self.nearest(texts, wanted, self.margin), wanted) for wanted in classes]
        best, wanted = min(found, key=lambda pair: (pair[0].lead <= 0, pair[0].cost))
        record = attrs.evolve(
            record,
            wanted=wanted,
            probability=float(log_probs[labels.index(wanted)].exp()),
            calls=sum(one.calls for one, _ in found),
            seconds=time.perf_counter() - started,
        )
        return self._told(record, best)

    def nearest(self, text: str, wanted: str, margin: float) -> _Found:
        """Return the nearest text found in which a class leads by a margin, or the one that came nearest to that."""
        result = self._search(text, wanted, margin)
        (found,) = self._judged(text, [word_changes(text, result.text)], wanted)
        calls = result.spent.candidates + 1
        least = min(found.lead, margin)
        while found.changes and least > 0:
            shorter = [found.changes[:place] + found.changes[place + 1 :] for place in range(len(found.changes))]
            candidates = [one for one in shorter if words_in(changed(text, one))]
            judged = self._judged(text, candidates, wanted)
            calls += len(candidates)
            held = [one for one in judged if one.lead >= least and one.cost <= found.cost]
            if not held:
                break
            found = min(held, key=lambda one: one.cost)
        return attrs.evolve(found, calls=calls)

    def distance_between(self, text: str, original: str) -> float:
        """Return how far a text is from another, as the search measures it."""
        return float(self._distance([text], [original])[0])

    def _told(self, record: TextCounterfactual, best: _Found) -> TextCounterfactual:
        """Return the record with what was found, or why nothing was."""
        after = float(
            class_log_probs(self.classifier, [best.text])[0, self.classifier.labels.index(record.wanted)].exp()
        )
        if best.lead <= 0:
            reason = (
                f"No text that was tried is decided {record.wanted}; the nearest miss, {best.text!r}, lacks "
                f"{-best.lead:.3g} nats: let more words in (fit), allow more edits, or try another method."
            )
            return attrs.evolve(record, status="none", reason=reason, nearest_miss=best.text, probability_after=after)
        nats = None if self.language_model is None else float(nats_of(self.language_model, [best.text])[0])
        return attrs.evolve(
            record,
            status="found",
            reason="",
            text=best.text,
            changes=best.changes,
            probability_after=after,
            nats_after=nats,
            distance=best.distance,
        )

    def _search(self, text: str, wanted: str, margin: float) -> Result:
        """Return what the method finds when it starts from the text itself."""
        n_tokens = 0 if self.language_model is None else len(self.language_model.space.encode([text])[0])
        most = _EDITS * self.edit_cost + _NATS * n_tokens
        terms = [
            Term(
                objective="class-likelihood",
                model=self.classifier,
                weight=_UNDECIDED * most / margin,
                targets=[wanted],
                options={"margin": margin},
            ),
            Term(
                objective="text-distance",
                model=self._distance_model,
                weight=self.edit_cost,
                targets=[text],
                options={"distance": self.distance, "options": self.distance_options},
            ),
        ]
        if self.language_model is not None:
            terms.append(
                Term(
                    objective="fluency",
                    model=self.language_model,
                    weight=float(n_tokens),
                    # The language model has tokens of its own, so that its gradient has to be carried over.
                    adapter="fuse" if self._follows_gradients() else None,
                )
            )
        options: dict[str, Any] = {"optim_str_init": text, **self.method_options}
        if self.method == "word-edits" and self.words_:
            options.setdefault("words", self.words_)
        # Each step of word-edits has one edit more, so that its first answer has the fewest.
        enough = most if self.method == "word-edits" else None
        budget = self.budget or Budget(num_steps=50, target_loss=enough)
        stage = Stage(optimizer=self.method, budget=budget, options=options)
        pipeline = Pipeline(stages=[stage], terms=terms, device=self.device)
        (result,) = pipeline.run([text], seed=self.random_state)
        return result

    def _follows_gradients(self) -> bool:
        return "gradient" in catalogue().describe("optimizer", self.method).component.trait("requires")

    def _judged(self, original: str, versions: Sequence[tuple[WordChange, ...]], wanted: str) -> list[_Found]:
        """Return what is known of a text with some words changed, for each choice of changes."""
        if not versions:
            return []
        texts = [changed(original, version) for version in versions]
        log_probs = class_log_probs(self.classifier, texts)
        place = self.classifier.labels.index(wanted)
        others = log_probs.clone()
        others[:, place] = -float("inf")
        leads = log_probs[:, place] - others.amax(dim=1)
        distances = self._distance(texts, [original] * len(texts))
        costs = self.edit_cost * distances
        if self.language_model is not None:
            (ids,) = self.language_model.space.encode([original])
            costs = costs + len(ids) * nats_of(self.language_model, texts)
        facts = zip(texts, versions, leads.tolist(), costs.tolist(), distances.tolist(), strict=True)
        return [_Found(*fact) for fact in facts]

    def _model(self, model: Any, role: str) -> Any:
        if not isinstance(model, str):
            return model
        return catalogue().load_model(model, role, device=resolve_device(self.device))
