"""An explanation by every measure that needs nothing but the explanation itself: a line for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from preimage import catalogue
from preimage_counterfactual import measures

if TYPE_CHECKING:
    import pandas as pd

    from preimage_counterfactual.explanation import Explanation

__all__ = ["figures"]

_NEIGHBOURS = 5
_OUTLIER_NEIGHBOURS = 20


def figures(explanation: Explanation, second_model: Any = None) -> pd.DataFrame:
    """Return the measures of the nearest answer to each row; see `Explanation.measures`."""
    import pandas as pd

    answers = explanation.answers
    space, reach = answers.decision.space, answers.reach
    rows, queries = space.data.numpy(), reach.reference.numpy()
    every = np.where(answers.valid.numpy()[:, :, None], answers.rows.numpy(), np.nan)
    nearest, found = every[:, 0], answers.found.numpy()
    distances = {name: catalogue().build("distance", name) for name in ("l2", "mahalanobis")}
    for distance in distances.values():
        distance.fit(space.data, space=space)
    frame = pd.DataFrame({"answered": found})
    frame["distance"] = np.where(found, answers.distances[:, 0].numpy(), np.nan)
    for name, values in measures.proximity(distances, nearest, queries).items():
        frame[name] = values
    frame["changed_columns"] = measures.changed_columns(nearest, queries, space.groups)
    frame["neighbour_distance"] = measures.neighbour_distance(nearest, rows, min(_NEIGHBOURS, len(rows)))
    enough = len(rows) > _OUTLIER_NEIGHBOURS
    frame["outlier"] = measures.outliers(nearest, rows, _OUTLIER_NEIGHBOURS) if enough else np.nan
    frame["diversity"] = measures.diversity(every)
    frame["violations"] = measures.violations(
        nearest, queries, lower=reach.lower.numpy(), upper=reach.upper.numpy(), groups=space.groups
    )
    if second_model is not None:
        frame["agreement"] = _agreement(explanation, second_model)
    frame["model_rows"] = measures.model_rows(answers.spent)
    frame["seconds"] = measures.seconds(answers.spent)
    return frame


def _agreement(explanation: Explanation, second_model: Any) -> Any:
    """Return 1 where the other model decides the nearest answer as the first one does, else 0; NaN without one."""
    answers = explanation.answers
    found = answers.found.numpy()
    agree = np.full(len(found), np.nan)
    if found.any():
        run = answers.found.nonzero().flatten()
        decide = second_model.predict if hasattr(second_model, "predict") else second_model
        own = [one.counterfactuals[0].decision for one in explanation if one.counterfactuals]
        agree[found] = np.asarray(decide(answers.reach.rows(answers.rows[run, 0], run))) == np.asarray(own)
    return agree
