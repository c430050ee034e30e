"""A user's model, seen as a function from rows to scores: estimators, torch modules, callables.

Scores are what decides; of a classifier those of its functions that agree with `predict`. Where the model can be
followed, there is also a function of the encoded row through which gradients flow: torch modules bring it, linear
estimators and multilayer perceptrons are rebuilt from their weights, behind any preprocessing that is affine in the
encoded row. Whether a rebuilt function is the model is found out by trying it, and what leaves a search is always
decided by the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
import torch

from preimage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.space import TableSpace

__all__ = ["Form", "ModelView", "view"]

Form = Literal["probabilities", "logits", "values"]

_AGREES = 1e-6
_ROWS, _WAYS, _HALVINGS = 2000, 100, 10
"""How many known rows a classifier's scores are tried on, and on how many ways between them, halved how often."""


@attrs.frozen(eq=False, kw_only=True)
class ModelView:
    """What a search needs of a model.

    Attributes:
        scores: from a table, or from a tensor in the table's units where `reads_tensors`, to ``(B, C)``.
        form: what the scores are: probabilities, logits, or one value of a regression; what only compares, such as
            votes, counts as logits.
        classes: what each score stands for.
        smooth: from encoded rows, ``(B, D)``, to logits or values, ``(B, C)``, with a gradient; None if there is none.
        smooth_form: what `smooth` answers.
        linear: whether `smooth` is affine.
        reads_tensors: whether `scores` reads tensors.
        noise: how much a score may differ from batch to batch.
    """

    scores: Callable[[Any], Tensor]
    form: Form
    classes: tuple[Any, ...]
    smooth: Callable[[Tensor], Tensor] | None = None
    smooth_form: Form = "logits"
    linear: bool = False
    reads_tensors: bool = False
    noise: float = 1e-9


def view(
    model: Any,
    space: TableSpace,
    *,
    inputs: Literal["raw", "encoded"] = "raw",
    outputs: Literal["auto"] | Form = "auto",
    classes: tuple[Any, ...] | None = None,
) -> ModelView:
    """Return a model as a search sees it.

    Arguments:
        model: a scikit-learn estimator or pipeline, a torch module, or a function of a table.
        space: the columns.
        inputs: what a torch module reads: rows in the table's units (one-hot blocks in place of categorical columns)
            or as they are encoded.
        outputs: what a function or module answers, where that cannot be told.
        classes: the names of the classes, where the model does not tell them.

    Raises:
        InputError: it is none of these, or its answers cannot be used.
    """
    if isinstance(model, torch.nn.Module):
        return _module_view(model, space, inputs, outputs, classes)
    if hasattr(model, "predict") and (hasattr(model, "fit") or hasattr(model, "predict_proba")):
        return _estimator_view(model, space, classes)
    if callable(model):
        return _function_view(model, space, outputs, classes)
    message = (
        f"{type(model).__name__} is no model that can be asked: give a scikit-learn estimator, a torch module, or a "
        "function that answers a table with probabilities."
    )
    raise InputError(message)


def _function_view(model: Any, space: TableSpace, outputs: Any, classes: Any) -> ModelView:
    def scores(table: Any) -> Tensor:
        return _two_sided(_as_scores(model(table)), form)

    form: Form = "probabilities"
    first = _as_scores(model(space.decode(space.data[: min(64, len(space.data))])))
    form = _form(first) if outputs == "auto" else outputs
    return ModelView(scores=scores, form=form, classes=_classes(classes, _two_sided(first, form), form))


def _module_view(model: torch.nn.Module, space: TableSpace, inputs: Any, outputs: Any, classes: Any) -> ModelView:
    if model.training and any(
        isinstance(part, torch.nn.modules.dropout._DropoutNd | torch.nn.modules.batchnorm._BatchNorm)
        for part in model.modules()
    ):
        message = "The module is in training mode, so that it decides a row differently each time: call model.eval()."
        raise InputError(message)
    parameter = next(model.parameters(), torch.zeros(0, dtype=torch.float32))

    def answer(rows: Tensor) -> Tensor:
        return _as_scores(model(rows.to(dtype=parameter.dtype, device=parameter.device))).to(rows.device)

    def scores(raw: Tensor) -> Tensor:
        return _two_sided(answer(space.from_raw(raw) if inputs == "encoded" else raw).detach(), form)

    def smooth(rows: Tensor) -> Tensor:
        found = _two_sided(answer(rows if inputs == "encoded" else rows * space.scale + space.offset), form)
        return found.clamp_min(1e-30).log() if form == "probabilities" else found

    form: Form = "logits"
    with torch.no_grad():
        first = answer(space.data if inputs == "encoded" else space.data * space.scale + space.offset)
    form = _form(first, _ends_in_sigmoid(model)) if outputs == "auto" else outputs
    named = _classes(classes, _two_sided(first, form), form)
    smooth_form: Form = "values" if form == "values" else "logits"
    noise = 1e-9 if parameter.dtype == torch.float64 else 1e-5
    return ModelView(
        scores=scores,
        form=form,
        classes=named,
        smooth=smooth,
        smooth_form=smooth_form,
        linear=isinstance(model, torch.nn.Linear),
        reads_tensors=True,
        noise=noise,
    )


def _estimator_view(model: Any, space: TableSpace, classes: Any) -> ModelView:
    native = _native(model, space)
    known = getattr(model, "classes_", None)
    if known is None or getattr(model, "_estimator_type", "") == "regressor":
        function: Any = model.predict
        form: Form = "values"
        named: tuple[Any, ...] = ()
        _one_each(model.predict(native(space.decode(space.data[:2]))))
    else:
        _one_each(known)
        labels = tuple(np.asarray(known).tolist())
        named = labels if classes is None else tuple(classes)
        if len(named) < 2:
            message = f"The model knows one class only, {named}: nothing can be decided otherwise."
            raise InputError(message)
        function, form = _deciding(model, space, native, labels)

    def scores(table: Any) -> Tensor:
        return _two_sided(_as_scores(function(native(table))), form)

    smooth, linear = _rebuilt(model, space, native, scores, form)
    return ModelView(
        scores=scores,
        form=form,
        classes=named,
        smooth=smooth,
        smooth_form="values" if form == "values" else "logits",
        linear=linear,
    )


def _deciding(model: Any, space: TableSpace, native: Any, labels: tuple[Any, ...]) -> tuple[Any, Form]:
    """Return the function by whose scores a classifier decides, and what they are.

    A calibration of its own, a moved threshold or ties may let the order of probabilities contradict what `predict`
    says, which is what counts. The first scores are taken that never do; where there are none, its votes.
    """
    places = {label: place for place, label in enumerate(labels)}

    def predicted(table: Any) -> np.ndarray:
        said = _one_each(model.predict(table)).tolist()
        strange = [label for label in said if label not in places]
        if strange:
            message = (
                f"The model predicts {strange[0]!r}, and its classes are {list(labels)}: give a function of a table "
                "that answers their probabilities."
            )
            raise InputError(message)
        return np.array([places[label] for label in said])

    def votes(table: Any) -> np.ndarray:
        one_hot: np.ndarray = np.eye(len(labels))[predicted(table)]
        return one_hot

    rows, said = _trials(space, lambda rows: torch.from_numpy(predicted(native(space.decode(rows)))))
    table = native(space.decode(rows))
    forms: tuple[tuple[str, Form], ...] = (("predict_proba", "probabilities"), ("decision_function", "logits"))
    for name, form in forms:
        function = getattr(model, name, None)
        if function is None:
            continue
        scores = _two_sided(_as_scores(function(table)), form)
        if scores.shape[1] == len(labels) and torch.equal(scores.argmax(dim=1), said):
            return function, form
    return votes, "logits"


def _trials(space: TableSpace, decide: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return rows that tell what decides, encoded, ``(n, D)``, and how they are decided, ``(n,)``.

    They are known rows, and rows on the way from one to another that is decided otherwise, ever nearer to where the
    decision changes: answers lie there, and scores that are not quite those that decide show it there first.
    """
    rows = space.data[:: -(-len(space.data) // _ROWS)]
    said = decide(rows)
    # In the order of the classes, rows half the table apart differ as often as they can.
    left = said.argsort(stable=True)
    right = left.roll(len(left) // 2)
    unlike = (said[left] != said[right]).nonzero().flatten()
    unlike = unlike[:: max(1, -(-len(unlike) // _WAYS))]
    near, far, here = rows[left[unlike]], rows[right[unlike]], said[left[unlike]]
    tried, found = [rows], [said]
    for _ in range(_HALVINGS if len(unlike) else 0):
        middle = (near + far) / 2
        decided = decide(middle)
        stays = (decided == here)[:, None]
        near, far = torch.where(stays, middle, near), torch.where(stays, far, middle)
        tried.append(middle)
        found.append(decided)
    return torch.cat(tried), torch.cat(found)


def _one_each(answer: Any) -> np.ndarray:
    """Return what a model answers, one value for each row or class, ``(n,)``.

    Raises:
        InputError: there are several for each.
    """
    if not (isinstance(answer, Sequence) and any(np.ndim(one) for one in answer)):
        found = np.asarray(answer)
        if found.ndim == 1 or found.shape[1:] == (1,):
            return found.reshape(len(found))
    message = (
        "The model answers several things of each row at once, and one of them is to be decided otherwise: give a "
        "model of that one, or a function of a table that answers it."
    )
    raise InputError(message)


def _native(model: Any, space: TableSpace) -> Callable[[Any], Any]:
    """Return what makes of a table of the space the table that an estimator was fitted to.

    Raises:
        InputError: the columns are not those that it was fitted to.
    """
    names = getattr(model, "feature_names_in_", None)
    width = getattr(model, "n_features_in_", len(space.names))
    if space.table.library is None or names is None:
        if width != len(space.names):
            message = f"The table has {len(space.names)} columns and the model was fitted to {width}: give it those."
            raise InputError(message)
        return (lambda table: table) if space.table.library is None else _readable(model, space)
    chosen = list(names)
    missing = [name for name in chosen if name not in space.names]
    if missing:
        message = f"The table lacks columns that the model was fitted to, {', '.join(missing)}: add them."
        raise InputError(message)
    strange = [str(name) for name in space.names if name not in chosen]
    if strange:
        message = (
            f"The model was fitted without the columns {', '.join(strange)}, so that it cannot matter what answers say "
            "of them: leave them out of the table."
        )
        raise InputError(message)
    return (lambda table: table) if chosen == list(space.names) else (lambda table: table[chosen])


def _readable(model: Any, space: TableSpace) -> Callable[[Any], Any]:
    """Return what makes of a frame what an estimator reads that does not say which columns it was fitted to.

    One that counts its columns has most likely been fitted to an array; one that does not, such as a pipeline that
    begins with a transformer of one's own, to a frame. Which of the two it reads is found out by trying.
    """
    few = space.decode(space.data[:2])
    ways: list[Callable[[Any], Any]] = [lambda table: table, lambda table: table.to_numpy()]
    if hasattr(model, "n_features_in_"):
        ways.reverse()
    failures = []
    for way in ways:
        try:
            model.predict(way(few))
        except Exception as error:  # whatever a model raises that is given what it does not read
            failures.append(f"{type(error).__name__}: {error}")
        else:
            return way
    message = (
        f"The model can predict neither from a frame nor from an array of its numbers ({'; '.join(failures)}): give "
        "columns like those that it was fitted to."
    )
    raise InputError(message)


def _rebuilt(
    model: Any, space: TableSpace, native: Any, scores: Callable[[Any], Tensor], form: Form
) -> tuple[Callable[[Tensor], Tensor] | None, bool]:
    """Return an estimator as a function of encoded rows with a gradient, and whether it is affine; or None."""
    steps = getattr(model, "steps", None)
    final = model if steps is None else steps[-1][1]
    layers = _layers(final)
    if layers is None:
        return None, False
    rows = _probes(space)
    table = native(space.decode(rows))
    before = table if steps is None or len(steps) == 1 else model[:-1].transform(table)
    try:
        # A copy, since the numbers of a frame may be its own and not to be written to.
        inputs = torch.from_numpy(
            np.array(before.toarray() if hasattr(before, "toarray") else before, dtype=np.float64)
        )
    except (TypeError, ValueError):
        return None, False  # words, which some models read themselves
    affine = _affine(rows, inputs)
    if affine is None or layers[0][0].shape[0] != inputs.shape[1]:
        return None, False
    weights, activation = layers[:-1], layers[-1][0]

    def smooth(features: Tensor) -> Tensor:
        hidden = features @ affine[0] + affine[1]
        for place, (matrix, bias) in enumerate(weights):
            hidden = hidden @ matrix + bias
            hidden = activation(hidden) if place < len(weights) - 1 else hidden
        return _two_sided(hidden, "logits" if form != "values" else "values")

    theirs, ours = scores(space.decode(rows)), smooth(rows)
    if form == "probabilities":
        ours = torch.softmax(ours, dim=1)
        # One-versus-rest models share the logits' order, but not their softmax; the order is what decides.
        same = (theirs - ours).abs().max() < _AGREES or bool(
            (ours.argmax(dim=1) == theirs.argmax(dim=1)).all() and len(weights) == 1
        )
    else:
        same = bool((theirs - ours).abs().max() <= _AGREES * max(1.0, float(theirs.abs().max())))
    return (smooth, len(weights) == 1) if same else (None, False)


def _layers(final: Any) -> list[Any] | None:
    """Return weights and biases of each layer, ``[(matrix, bias), …, (activation,)]``, or None."""
    activations = {
        "identity": lambda hidden: hidden,
        "relu": torch.relu,
        "tanh": torch.tanh,
        "logistic": torch.sigmoid,
    }
    if hasattr(final, "coefs_") and hasattr(final, "intercepts_") and final.activation in activations:
        pairs = zip(final.coefs_, final.intercepts_, strict=True)
        return [tuple(_tensor(part) for part in pair) for pair in pairs] + [(activations[final.activation],)]
    coefficients, intercept = getattr(final, "coef_", None), getattr(final, "intercept_", None)
    # Support vectors have coefficients for each pair of classes, not for each class.
    if not isinstance(coefficients, np.ndarray) or intercept is None or type(final).__name__ in ("SVC", "NuSVC"):
        return None
    matrix = np.atleast_2d(coefficients).T
    return [(_tensor(matrix), _tensor(np.broadcast_to(intercept, matrix.shape[1:]))), (activations["identity"],)]


def _probes(space: TableSpace) -> Tensor:
    """Return rows whose columns are independent of each other, so that they span everything, ``(n, D)``.

    A column may be the same in all rows but one, and draws of rows would miss that one: beside them, each float has
    its least and its greatest value in a row of its own. A number that is the same in all rows is raised by one.
    """
    rng = torch.Generator().manual_seed(0)
    extremes = torch.cat([space.data.argmin(dim=0), space.data.argmax(dim=0)])
    moved = torch.arange(space.width).repeat(2)
    count = 2 * space.width + 20 + len(extremes)
    pick = torch.randint(len(space.data), (count, len(space.units)), generator=rng)
    pick[torch.arange(len(extremes)), space.column_of[moved]] = extremes
    rows = space.data[pick[:, space.column_of], torch.arange(space.width)]
    same = space.data.amin(dim=0) == space.data.amax(dim=0)
    for column, span in zip(space.columns, space.spans, strict=True):
        if column.scalar and not column.levels and same[span].all():
            rows[span.start, span] += 1.0
    return space.from_raw(space.to_raw(rows))


def _affine(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the matrix and bias with ``rows @ matrix + bias == values``, or None where there are none."""
    extended = torch.cat([rows, torch.ones(len(rows), 1).double()], dim=1)
    solution = torch.linalg.lstsq(extended, values, driver="gelsd").solution
    if (extended @ solution - values).abs().max() > 1e-8 * max(1.0, float(values.abs().max())):
        return None
    return solution[:-1], solution[-1]


def _as_scores(answer: Any) -> Tensor:
    """Return an answer as ``(B, C)`` float64.

    Raises:
        InputError: it does not hold numbers.
    """
    try:
        found = answer if isinstance(answer, torch.Tensor) else torch.from_numpy(np.array(answer, dtype=np.float64))
    except (TypeError, ValueError) as error:
        message = (
            f"The model answers what is no array of numbers ({error}): give an estimator instead of its predict, or a "
            "function that answers probabilities."
        )
        raise InputError(message) from error
    found = found.double()
    return found[:, None] if found.ndim == 1 else found


def _two_sided(scores: Tensor, form: Form) -> Tensor:
    """Return scores with a column for each of two classes where one stood for both."""
    if scores.shape[1] > 1 or form == "values":
        return scores
    if form == "probabilities":
        return torch.cat([1 - scores, scores], dim=1)
    return torch.cat([torch.zeros_like(scores), scores], dim=1)


def _form(scores: Tensor, sigmoid: bool = True) -> Form:
    """Return whether scores are probabilities or logits."""
    inside = bool((scores >= 0).all() and (scores <= 1).all())
    if scores.shape[1] == 1:
        return "probabilities" if inside and sigmoid else "logits"
    return "probabilities" if inside and bool((scores.sum(dim=1) - 1).abs().max() < 1e-3) else "logits"


def _ends_in_sigmoid(model: torch.nn.Module) -> bool:
    return any(isinstance(part, torch.nn.Sigmoid) for part in list(model.modules())[-1:])


def _classes(given: Any, scores: Tensor, form: Form) -> tuple[Any, ...]:
    if form == "values":
        return ()
    if given is not None and len(given) != scores.shape[1]:
        message = f"The model answers {scores.shape[1]} scores and there are {len(given)} classes: name one for each."
        raise InputError(message)
    return tuple(range(scores.shape[1])) if given is None else tuple(given)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))
