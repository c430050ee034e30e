"""How good counterfactuals are: one plain function a measure, on arrays, whoever made them.

Rows are encoded as the distances see them, ``(Q, D)``; a query without an answer is a row of NaN and gives NaN, so
that means leave it out (`numpy.nanmean`) and only `validity` holds it against the method. Nothing here looks at a
distance that was searched by, unless it is handed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from preimage.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from preimage.api.events import Spent
    from preimage_counterfactual.distances import FeatureDistance

    Array = NDArray[np.float64]

__all__ = [
    "agreement",
    "changed_columns",
    "component_share",
    "distinguishability",
    "diversity",
    "local_outlier_factor",
    "log_density",
    "model_rows",
    "neighbour_agreement",
    "neighbour_distance",
    "outliers",
    "proximity",
    "robustness",
    "seconds",
    "validity",
    "violations",
]

OUTLIER = 1.5
"""The local outlier factor above which a row counts as an outlier, scikit-learn's threshold."""


def validity(labels: Any, wanted: Any) -> float:
    """Return the share of queries whose answer the model decides as wanted.

    Arguments:
        labels: what the model decides about each answer, ``(Q,)``; any label that is never wanted (None, -1) where
            there is no answer.
        wanted: the label wanted for each query, ``(Q,)``.

    >>> validity([1, 0, 1, -1], [1, 1, 1, 1])
    0.5
    """
    return float(np.mean(_agree(labels, wanted)))


def agreement(labels: Any, wanted: Any, answered: Any = None) -> float:
    """Return the share of answers that a model trained independently decides as wanted, too.

    Adversarial points flip the model that they were made for and few others.

    Arguments:
        labels: what the other model decides, ``(Q,)``.
        wanted: the label wanted for each query, ``(Q,)``.
        answered: which queries have an answer, bool ``(Q,)``; all without.
    """
    agree = _agree(labels, wanted)
    kept = np.ones(len(agree), bool) if answered is None else np.asarray(answered, bool)
    return float(agree[kept].mean()) if kept.any() else float("nan")


def proximity(
    distances: Mapping[str, FeatureDistance],
    answers: Any,
    queries: Any,
    labels: Any = None,
    query_labels: Any = None,
) -> dict[str, Array]:
    """Return how far each answer is from its query, ``(Q,)``, under every distance by its name.

    Arguments:
        distances: fitted.
        answers: ``(Q, D)``.
        queries: ``(Q, D)``.
        labels: the class of each answer, where a distance asks.
        query_labels: the class of each query, where a distance asks.
    """
    left, right = _rows(answers), _rows(queries)
    return {
        name: distance(torch.from_numpy(left), torch.from_numpy(right), labels, query_labels).detach().numpy()
        for name, distance in distances.items()
    }


def changed_columns(answers: Any, queries: Any, groups: Sequence[slice] = (), tolerance: float = 1e-5) -> Array:
    """Return how many columns each answer changes, ``(Q,)``; a one-hot group counts as one.

    >>> changed_columns([[0.0, 1.0, 0.0, 1.0]], [[2.0, 1.0, 1.0, 0.0]], groups=[slice(2, 4)])
    array([2.])
    """
    left, right = _rows(answers), _rows(queries)
    changed = np.abs(left - right) > tolerance
    grouped = np.zeros(left.shape[1], bool)
    count = np.zeros(len(left))
    for group in groups:
        grouped[group] = True
        count += changed[:, group].any(axis=1)
    return _blank(count + changed[:, ~grouped].sum(axis=1), left)


def neighbour_distance(answers: Any, rows: Any, neighbours: int = 5) -> Array:
    """Return the mean Euclidean distance of each answer to its nearest rows of the data, ``(Q,)``.

    Raises:
        InputError: there are fewer rows than neighbours.
    """
    distances, _ = _nearest(answers, rows, neighbours)
    mean: Array = distances.mean(axis=1)
    return mean


def neighbour_agreement(answers: Any, rows: Any, labels: Any, wanted: Any, neighbours: int = 5) -> Array:
    """Return 1 where most of an answer's nearest rows have the label wanted, else 0, ``(Q,)``.

    Arguments:
        answers: ``(Q, D)``.
        rows: the data, ``(N, D)``.
        labels: the true label of each row, ``(N,)``.
        wanted: the label wanted for each query, ``(Q,)``.
        neighbours: how many are asked; ties go against the answer.

    Raises:
        InputError: there are fewer rows than neighbours.
    """
    _, places = _nearest(answers, rows, neighbours)
    votes = np.asarray(labels)[places] == np.asarray(wanted)[:, None]
    return _blank((2 * votes.sum(axis=1) > neighbours).astype(float), _rows(answers))


def local_outlier_factor(answers: Any, rows: Any, neighbours: int = 20) -> Array:
    """Return how much sparser the data are around each answer than around its neighbours, ``(Q,)``; 1 is usual.

    Breunig, Kriegel, Ng and Sander, "LOF: identifying density-based local outliers", 2000; answers are judged by the
    data and not by each other.

    Raises:
        InputError: there are not more rows than neighbours.
    """
    from sklearn.neighbors import LocalOutlierFactor

    data = _enough(rows, neighbours + 1)
    judge = LocalOutlierFactor(n_neighbors=neighbours, novelty=True).fit(data)
    return _each(answers, lambda found: -judge.score_samples(found))


def outliers(answers: Any, rows: Any, neighbours: int = 20) -> Array:
    """Return 1 where an answer is a local outlier, else 0, ``(Q,)``: a factor above 1.5.

    Raises:
        InputError: there are not more rows than neighbours.
    """
    factor = local_outlier_factor(answers, rows, neighbours)
    return np.where(np.isnan(factor), np.nan, (factor > OUTLIER).astype(float))


def log_density(answers: Any, held_out: Any, bandwidth: float | None = None) -> Array:
    """Return the log density at each answer by Gaussian kernels on rows that nobody has searched with, ``(Q,)``.

    Take the queries' own off for the gain in plausibility.

    Arguments:
        answers: ``(Q, D)``.
        held_out: rows used for nothing else, ``(N, D)``.
        bandwidth: the kernels' standard deviation; by Scott's rule, N^(-1 / (D + 4)) of the mean column's, without.

    Raises:
        InputError: there are fewer than two rows.
    """
    from sklearn.neighbors import KernelDensity

    data = _enough(held_out, 2)
    if bandwidth is None:
        bandwidth = float(data.std(axis=0).mean() * len(data) ** (-1 / (data.shape[1] + 4)))
    judge = KernelDensity(bandwidth=bandwidth).fit(data)
    return _each(answers, judge.score_samples)


def component_share(answers: Any, queries: Any, rows: Any, components: int = 20) -> Array:
    """Return the share of each squared step that lies along the data's leading principal components, ``(Q,)``.

    Adversarial steps lie in the many directions that hardly vary. A step of zero gives NaN.

    Raises:
        InputError: there are no more columns than components, so that the share is 1 for everything.
    """
    data, steps = _rows(rows), _rows(answers) - _rows(queries)
    if not 0 < components < data.shape[1]:
        message = (
            f"The leading {components} components of {data.shape[1]} columns tell no step from another: ask for at "
            f"least 1 and at most {data.shape[1] - 1}."
        )
        raise InputError(message)
    _, _, directions = np.linalg.svd(data - data.mean(axis=0), full_matrices=False)
    inside, whole = ((steps @ directions[:components].T) ** 2).sum(axis=1), (steps**2).sum(axis=1)
    share: Array = np.divide(inside, whole, out=np.full(len(steps), np.nan), where=whole > 0)
    return share


def diversity(answers: Any, distance: FeatureDistance | None = None) -> Array:
    """Return the mean distance between a query's answers, ``(Q,)``; NaN where there is one or none.

    Arguments:
        answers: ``(Q, K, D)``, NaN where there is none.
        distance: fitted and symmetric; Euclid's without.
    """
    sets = np.asarray(answers, dtype=float)
    spread = np.full(len(sets), np.nan)
    for place, members in enumerate(sets):
        found = torch.from_numpy(members[np.isfinite(members).all(axis=1)])
        if len(found) > 1:
            between = torch.cdist(found, found) if distance is None else distance.pairwise(found, found)
            spread[place] = float(between.sum() / (len(found) * (len(found) - 1)))
    return spread


def violations(
    answers: Any,
    queries: Any,
    *,
    lower: Any = None,
    upper: Any = None,
    frozen: Any = None,
    rising: Any = None,
    falling: Any = None,
    groups: Sequence[slice] = (),
    tolerance: float = 1e-9,
) -> Array:
    """Return how many floats or groups of each answer break a constraint, ``(Q,)``.

    Arguments:
        answers: ``(Q, D)``.
        queries: ``(Q, D)``.
        lower: the least that each float may be, ``(D,)`` or ``(Q, D)``.
        upper: the greatest.
        frozen: which floats must be the query's own, bit for bit, bool ``(D,)``.
        rising: which floats may not fall, bool ``(D,)``.
        falling: which floats may not rise, bool ``(D,)``.
        groups: one-hot blocks, of which exactly one float must be 1 and the others 0.
        tolerance: what rounding is forgiven at bounds and directions.
    """
    left, right = _rows(answers), _rows(queries)
    broken = np.zeros(left.shape, bool)
    if lower is not None:
        broken |= left < np.asarray(lower) - tolerance
    if upper is not None:
        broken |= left > np.asarray(upper) + tolerance
    if frozen is not None:
        broken |= np.asarray(frozen, bool) & (left != right)
    if rising is not None:
        broken |= np.asarray(rising, bool) & (left < right - tolerance)
    if falling is not None:
        broken |= np.asarray(falling, bool) & (left > right + tolerance)
    count = broken.sum(axis=1).astype(float)
    for group in groups:
        block = left[:, group]
        count += ~(((block == 0) | (block == 1)).all(axis=1) & (block.sum(axis=1) == 1))
    return _blank(count, left)


def robustness(retrained: Sequence[Callable[[Array], Any]], answers: Any, wanted: Any) -> Array:
    """Return the share of models trained again that decide each answer as wanted, ``(Q,)``.

    Arguments:
        retrained: functions from rows to labels: the same kind of model, from another seed or resampled data.
        answers: ``(Q, D)``.
        wanted: the label wanted for each query, ``(Q,)``.

    Raises:
        InputError: there is no model.
    """
    if not retrained:
        message = "Robustness to retraining asks models that were trained again, and none was given: train some."
        raise InputError(message)
    rows, target = _rows(answers), np.asarray(wanted)
    found = np.isfinite(rows).all(axis=1)
    shares = np.full(len(rows), np.nan)
    if found.any():
        shares[found] = np.mean([_agree(predict(rows[found]), target[found]) for predict in retrained], axis=0)
    return shares


def distinguishability(answers: Any, rows: Any, seed: int = 0) -> float:
    """Return how well a forest tells answers from as many rows of the data: 0.5 not at all, 1 always.

    The area under the receiver operating characteristic, cross-validated in five parts. Optima of a plausible
    distance are more typical than real rows, and told apart for that; draws are not.

    Raises:
        InputError: there are fewer than ten answers, or fewer rows than answers.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    made = _rows(answers)
    made = made[np.isfinite(made).all(axis=1)]
    if len(made) < 10:
        message = f"{len(made)} answers are too few to learn what tells them from rows: give at least 10."
        raise InputError(message)
    rng = np.random.default_rng(seed)
    data = _enough(rows, len(made))
    real = data[rng.permutation(len(data))[: len(made)]]
    both, kind = np.concatenate([made, real]), np.repeat([1, 0], len(made))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    forest = RandomForestClassifier(50, min_samples_leaf=2, random_state=seed)
    chances = cross_val_predict(forest, both, kind, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(kind, chances))


def seconds(spent: Sequence[Spent]) -> Array:
    """Return the seconds that each query took, ``(Q,)``: queries that are searched for together share them alike.

    Arguments:
        spent: what each query has cost, `Answers.spent`.

    >>> from preimage.api.events import Spent
    >>> seconds([Spent(seconds=3.0), Spent(seconds=3.0)])
    array([1.5, 1.5])
    """
    return np.array([one.seconds / len(spent) for one in spent], dtype=np.float64)


def model_rows(spent: Sequence[Spent]) -> Array:
    """Return how many rows went through the model for each query, ``(Q,)``, forward and backward.

    One call of the model holds rows of many queries, so that calls are no measure of a query.

    Arguments:
        spent: what each query has cost, `Answers.spent`.

    >>> from preimage.api.events import Spent
    >>> model_rows([Spent(forward=7, backward=2), Spent(forward=1)])
    array([9., 1.])
    """
    return np.array([one.forward + one.backward for one in spent], dtype=np.float64)


def _agree(labels: Any, wanted: Any) -> NDArray[np.bool_]:
    one, other = np.asarray(labels), np.asarray(wanted)
    if one.shape != other.shape:
        message = (
            f"There are labels of the shape {one.shape} and wanted ones of the shape {other.shape}: give one of each "
            "for every query."
        )
        raise InputError(message)
    return np.asarray(one == other, dtype=bool)


def _rows(given: Any) -> Array:
    rows = np.asarray(given, dtype=np.float64)
    if rows.ndim != 2:
        message = f"Rows have the shape {rows.shape}: measures compare tables (rows, columns)."
        raise InputError(message)
    return rows


def _enough(given: Any, least: int) -> Array:
    rows = _rows(given)
    if len(rows) < least:
        message = f"The data have {len(rows)} rows and the measure needs {least}: give more, or ask fewer neighbours."
        raise InputError(message)
    return rows


def _each(answers: Any, judge: Callable[[Array], Any]) -> Array:
    """Return what `judge` says of the rows that are there, NaN for the others."""
    rows = _rows(answers)
    found = np.isfinite(rows).all(axis=1)
    said = np.full(len(rows), np.nan)
    if found.any():
        said[found] = judge(rows[found])
    return said


def _blank(values: Array, rows: Array) -> Array:
    """Return the values with NaN where a row is missing."""
    return np.where(np.isfinite(rows).all(axis=1), values, np.nan)


def _nearest(answers: Any, rows: Any, neighbours: int) -> tuple[Array, NDArray[np.int64]]:
    from sklearn.neighbors import NearestNeighbors

    made, data = _rows(answers), _enough(rows, neighbours)
    found = np.isfinite(made).all(axis=1)
    distances = np.full((len(made), neighbours), np.nan)
    places = np.zeros((len(made), neighbours), np.int64)
    if found.any():
        distances[found], places[found] = NearestNeighbors(n_neighbors=neighbours).fit(data).kneighbors(made[found])
    return distances, places
