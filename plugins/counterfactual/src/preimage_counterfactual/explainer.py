"""The explainer: a model and a table go in, the nearest rows that the model decides otherwise come out."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from preimage import catalogue
from preimage.budget import Budget
from preimage.errors import InputError
from preimage_counterfactual.decision import Decision
from preimage_counterfactual.explanation import Explanation
from preimage_counterfactual.rescue import completed, lost, picked, some_rows
from preimage_counterfactual.search import search
from preimage_counterfactual.space import TableSpace

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.search import Answers

__all__ = ["CounterfactualExplainer"]

_PREFIX = "counterfactual-"
_FALLBACK = "blackbox"


class CounterfactualExplainer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Finds for each row the nearest rows that a model decides otherwise.

    Every answer has been put to the model itself as it is written down, rounded and in the table's own types; a row
    for which there is none says why. A clone shares the model, which is neither fitted nor changed.

    Arguments:
        model: a fitted scikit-learn estimator or pipeline, a torch module, or a function of a table.
        distance: between rows: a name, such as ``joint``, ``mahalanobis``, ``l2`` or ``gower``, or a distance.
        distance_options: of a distance given by name.
        method: how to search: ``gradient``, ``linear``, ``blackbox``, ``evolution``, ``draw`` or any other optimizer
            of features; ``auto`` takes the fastest that fits the model and the distance, and ``blackbox`` for the rows
            that it has found nothing for.
        method_options: of a method given by name.
        threshold: the probability that the desired class must reach, or some other than the present one where none is
            named, of a model that decides by its probabilities; without it, it must be the likeliest.
        desired_range: for regressions, ``(least, greatest)``.
        outputs: what a function or module answers: ``probabilities``, ``logits`` or ``values``.
        inputs: what a torch module reads: rows in the table's units, ``raw``, or ``encoded``.
        classes: the names of the classes, where the model does not tell them.
        columns: of `TableSpace`, such as ``{"immutable": ["age"], "change": {"education": "increase"}}``.
        max_seconds: when the search for a batch of rows stops.
        random_state: same state, same answers; None draws one for each call of `explain`.

    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> table, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, labels)
    >>> explainer = CounterfactualExplainer(model).fit(table)
    >>> explanation = explainer.explain(table.head(3))
    >>> model.predict(table.head(3)).tolist(), model.predict(explanation.table()).tolist()
    ([0, 0, 0], [1, 1, 1])
    """

    def __init__(
        self,
        model: Any,
        *,
        distance: Any = "joint",
        distance_options: Mapping[str, Any] | None = None,
        method: Any = "auto",
        method_options: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        desired_range: Sequence[float | None] | None = None,
        outputs: Literal["auto", "probabilities", "logits", "values"] = "auto",
        inputs: Literal["raw", "encoded"] = "raw",
        classes: Sequence[Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        max_seconds: float | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.distance = distance
        self.distance_options = distance_options
        self.method = method
        self.method_options = method_options
        self.threshold = threshold
        self.desired_range = desired_range
        self.outputs = outputs
        self.inputs = inputs
        self.classes = classes
        self.columns = columns
        self.max_seconds = max_seconds
        self.random_state = random_state

    def __sklearn_clone__(self) -> Self:
        # Cloning the model, as scikit-learn would, would give one that has learned nothing.
        return type(self)(**self.get_params(deep=False))

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  # scikit-learn's names
        """Learn what rows look like: columns, bounds, and how columns go together.

        Arguments:
            X: rows like those that the model was trained on; a pandas or polars frame or an array.
            y: ignored; distances that know classes learn those that the model itself gives the rows.

        Raises:
            InputError: the table, a column's declaration or the model cannot be used.
            UnknownNameError: there is no such distance or method.
        """
        space = TableSpace(X, **(self.columns or {}))
        self.decision_ = Decision(
            self.model,
            space,
            threshold=self.threshold,
            desired_range=self.desired_range,
            inputs=self.inputs,
            outputs=self.outputs,
            classes=self.classes,
        )
        self.space_ = space
        self.distance_ = self._distance()
        self.distance_.fit(space.data, labels=self._labels(), space=space)
        self.method_, self.optimizer_ = self._optimizer()
        return self

    def explain(
        self,
        X: Any,  # noqa: N803  # scikit-learn's name
        *,
        desired_class: Any = "opposite",
        total_cfs: int = 1,
        features_to_vary: Sequence[Any] | None = None,
        permitted_range: Mapping[Any, Sequence[Any]] | Sequence[Mapping[Any, Sequence[Any]]] | None = None,
        max_changed: int | None = None,
    ) -> Explanation:
        """Return what would have been decided otherwise, for all rows at once.

        Arguments:
            X: the rows, as a table or a single row of one; columns that `fit` has not seen are left out.
            desired_class: a class, one for each row as a list, array or series, or ``"opposite"``: the nearest answer
                of all classes but the one decided now.
            total_cfs: answers to each row, near to it and unlike each other.
            features_to_vary: the columns that may change; without it all that are not immutable.
            permitted_range: by column ``(least, greatest)`` or the permitted levels; for all rows, or one for each.
            max_changed: how many columns an answer may change, besides those that follow others.

        Raises:
            InputError: a row or a limit cannot be used.
            NotFittedError: the explainer knows no rows yet.
        """
        self._require_fitted()
        desired_class = _as_list(desired_class)
        seed = secrets.randbelow(2**31) if self.random_state is None else self.random_state

        def searched(optimizer: Any, table: Any, desired: Any, ranges: Any, seconds: float | None) -> Answers:
            return search(
                self.decision_,
                self.distance_,
                optimizer,
                table,
                desired=desired,
                ranges=ranges,
                vary=features_to_vary,
                max_changed=max_changed,
                count=total_cfs,
                budget=None if seconds is None else Budget(max_seconds=seconds),
                seed=seed,
            )

        answers = searched(self.optimizer_, X, desired_class, permitted_range, self.max_seconds)
        method, places = self.method_, lost(answers)
        left = None if self.max_seconds is None else self.max_seconds - answers.seconds
        if self.method == "auto" and method != _FALLBACK and places and (left is None or left > 0):
            # The fast searches follow one boundary; rows that exist lead behind others.
            optimizer = catalogue().build("optimizer", _PREFIX + _FALLBACK)
            desired, ranges = picked(desired_class, places), picked(permitted_range, places)
            answers = completed(answers, searched(optimizer, some_rows(X, places), desired, ranges, left), places)
            method = f"{method}, then {_FALLBACK}"
        return Explanation(answers, self.distance_, self.space_.read(X), method=method)

    def _require_fitted(self) -> None:
        if not hasattr(self, "decision_"):
            message = "The explainer knows no rows yet: call fit(X) with rows like those that the model was trained on."
            raise NotFittedError(message)

    def _distance(self) -> Any:
        if not isinstance(self.distance, str):
            return self.distance
        return catalogue().build("distance", self.distance, **(self.distance_options or {}))

    def _labels(self) -> Tensor | None:
        if not self.decision_.classes:
            return None
        return self.decision_.known_scores.argmax(dim=1)

    def _optimizer(self) -> tuple[str, Any]:
        """Return the search and what it is called."""
        if not isinstance(self.method, str):
            return type(self.method).__name__, self.method
        name = self._suitable() if self.method == "auto" else self.method
        known = catalogue().names("optimizer")
        full = _PREFIX + name if _PREFIX + name in known else name
        if full not in known:
            methods = sorted(one.removeprefix(_PREFIX) for one in known if one.startswith(_PREFIX))
            message = f"There is no method {self.method!r}: use auto, {', '.join(methods)}, or another optimizer."
            raise InputError(message)
        return full.removeprefix(_PREFIX), catalogue().build("optimizer", full, **(self.method_options or {}))

    def _suitable(self) -> str:
        """Return the fastest method that fits the model and the distance."""
        view = self.decision_.view
        if view.linear and self._has_form():
            return "linear"
        if view.smooth is not None and self.distance_.differentiable:
            return "gradient"
        return _FALLBACK

    def _has_form(self) -> bool:
        """Tell whether the distance is a quadratic form, asked with classes, which some distances need."""
        if not hasattr(self.distance_, "quadratic"):
            return False
        labels = self._labels()
        label = None if labels is None else labels[:1]
        return self.distance_.quadratic(self.space_.data[:1], label, label) is not None


def _as_list(given: Any) -> Any:
    """Return an array or a series as a list, so that classes compare as the model's do; anything else as it is."""
    convert = getattr(given, "tolist", None) or getattr(given, "to_list", None)
    return given if convert is None else convert()
