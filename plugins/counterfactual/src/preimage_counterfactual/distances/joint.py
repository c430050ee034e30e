"""A row and its counterfactual as one draw from a joint law: its cost to search by, its closeness, its metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from preimage.errors import InputError
from preimage_counterfactual.distances import stickiness
from preimage_counterfactual.distances.base import FeatureDistance, root
from preimage_counterfactual.distances.categories import CategoryLaw
from preimage_counterfactual.distances.law import FaceForm, PairLaw
from preimage_counterfactual.distances.population import Population
from preimage_counterfactual.distances.quadratic import Quadratic

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import Face, JointConfig

__all__ = ["Joint"]


class Joint(FeatureDistance):
    """The joint-sampling distance, for numbers of any law and nominal columns, pooled or class by class.

    The usual distances take a counterfactual for an independent draw from a region around the row. Here both are
    one draw from a law whose two margins are the data's, with correlation r. Its three faces, each as -2 log:

    - ``search_cost``, the counterfactual's law given the row, less its constant: |b - r a|² / (1 - r²) with a and b
      the whitened row and counterfactual. It is r parts closeness and 1 - r parts plausibility; not symmetric, and
      not zero at the row itself, which is rarely the most plausible row near itself.
    - ``closeness``, what the pair has beyond chance; symmetric.
    - ``metric_distance``, the root of the normalised closeness: Mahalanobis' distance but for a factor.

    Derived from the framing of Rethinking Distance Metrics for Counterfactual Explainability (arXiv:2410.14522),
    whose own formula was not available.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import JointConfig
    >>> distance = Joint(JointConfig(r=0.5, shrinkage=0.0))
    >>> distance.fit(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> row = torch.tensor([[2.0, 0.0]])
    >>> distance(row / 2, row), distance(row, row)  # the least is half-way to the mean, where r = 0.5
    (tensor([0.]), tensor([2.6667]))
    """

    least_rows: ClassVar[int] = 2

    def __init__(self, config: JointConfig) -> None:
        self.config = config
        self.symmetric = config.face != "search-cost"
        self.grounded = config.face == "metric"
        self.conditional = config.classes != "pooled"
        # Transport maps do not compose, and with one covariance the means of two classes would be at distance zero.
        self.metric = config.face == "metric" and config.classes == "pooled"
        self.invariance = "monotone" if config.margins == "copula" else "scale"
        if (config.shrinkage, config.kernel, config.margins) == (0.0, "sigma", "gaussian"):
            self.invariance = "affine"
        self._population: Population | None = None
        self._categories: tuple[CategoryLaw, ...] = ()
        self._forms: dict[str, FaceForm] = {}
        self._tables: dict[str, tuple[Tensor, ...]] = {}
        self._pair: PairLaw | None = None
        self._matrices: tuple[Tensor, Tensor] | None = None
        self._r = math.nan

    @property
    def is_quadratic(self) -> bool:
        """Whether a face is a quadratic form of the numbers: with normal scores it is one of the scores alone."""
        return self.config.margins != "copula"

    @property
    def r(self) -> float:
        """The correlation, as given or as found in the data."""
        self._known()
        return self._r

    @property
    def population(self) -> Population:
        """What was learnt of the data."""
        return self._known()

    @property
    def law(self) -> PairLaw:
        """The joint law in whitened coordinates."""
        self._known()
        assert self._pair is not None
        return self._pair

    def search_cost(self, left: Tensor, right: Tensor, left_label: Any = None, right_label: Any = None) -> Tensor:
        """Return -2 log of the law of `left` given `right`, less its constant, ``(B,)``; not symmetric."""
        return self._named("search-cost", left, right, left_label, right_label)

    def closeness(self, left: Tensor, right: Tensor, left_label: Any = None, right_label: Any = None) -> Tensor:
        """Return -2 log of π(left, right) / (p(left) p(right)), ``(B,)``; negative where the pair is likelier joint."""
        return self._named("closeness", left, right, left_label, right_label)

    def metric_distance(self, left: Tensor, right: Tensor, left_label: Any = None, right_label: Any = None) -> Tensor:
        """Return the root of -2 log of π(left, right) / √(π(left, left) π(right, right)), ``(B,)``."""
        return self._named("metric", left, right, left_label, right_label)

    def log_prob(self, left: Tensor, given: Tensor, left_label: Any = None, given_label: Any = None) -> Tensor:
        """Return the log density of each `left` given its row, ``(B,)``; with copula margins, of its normal scores."""
        population = self._known()
        cost = self.search_cost(left, given, left_label, given_label)
        volume = torch.stack([whitening.log_volume for whitening in population.whitenings])
        index = population.class_of(left_label, len(left))
        around = self.law.variance.log().sum() + math.log(2 * math.pi) * len(self.law.pull)
        return -(cost + around.to(cost)) / 2 - volume[index if len(volume) > 1 else 0].to(cost)

    def embed(self, rows: Tensor, label: Any = None) -> Tensor:
        """Return coordinates, ``(B, k)``, whose Euclidean distance is the metric face."""
        population = self._known()
        inside = self._inside(rows)
        numbers = population.coordinates(inside, population.class_of(label, len(rows))) * self._forms["metric"].left
        corners = [
            inside[:, list(block)] * law.lengths for block, law in zip(population.blocks, self._categories, strict=True)
        ]
        return torch.cat([numbers, *corners], dim=1).to(rows)

    def sample(
        self,
        reference: Tensor,
        count: int,
        generator: torch.Generator,
        label: Any = None,
        reference_label: Any = None,
        held: Tensor | None = None,
    ) -> Tensor:
        """Draw counterfactuals of each row from the law, ``(B, count, D)``.

        What is held keeps the row's values, and the rest is drawn given these.

        Arguments:
            reference: rows, ``(B, D)``.
            count: how many for each.
            generator: on the CPU, where all is drawn.
            label: the class of the draws, where the law is class-conditional.
            reference_label: the class of each row, where the law is class-conditional.
            held: what is held in each row, bool ``(B, D)``, beside what the space declares frozen; a nominal column
                is where all its levels are.
        """
        population = self._known()
        rows = self._inside(reference)
        still = self._still(rows, held)
        source, target = (population.class_of(one, len(rows)) for one in (reference_label, label))
        centre = population.aligned(population.coordinates(rows, source), source, target) * self.law.pull
        noise = torch.randn(len(rows), count, centre.shape[1], generator=generator, dtype=torch.float64)
        coordinates = centre.unsqueeze(1) + noise.to(centre) * self.law.variance.sqrt()
        many = rows.repeat_interleave(count, dim=0)
        index = target.repeat_interleave(count)
        kept = still.repeat_interleave(count, dim=0)
        drawn = self._draw_levels(many, kept, index, source.repeat_interleave(count), generator)
        scores = population.numbers(coordinates.flatten(0, 1), population.levels(drawn), index)
        drawn[:, population.numeric] = self._given_held(scores, many, still, target, count)
        drawn = torch.where(kept, many, drawn)
        return drawn.reshape(len(rows), count, -1).to(reference)

    def quadratic(
        self,
        reference: Tensor,
        label: Any = None,
        reference_label: Any = None,
        categories: Tensor | None = None,
    ) -> Quadratic | None:
        """Return the face as a quadratic form of the numbers, or None with copula margins, which make it none.

        Arguments:
            reference: rows to explain, ``(B, D)``.
            label: the class wanted for each, where the law is class-conditional.
            reference_label: the class of each, where the law is class-conditional.
            categories: rows, ``(B, D)``, whose nominal columns the counterfactuals have; those of `reference`
                without. The numbers then follow these categories' means.
        """
        population = self._known()
        if self._matrices is None:
            return None
        rows = self._inside(reference)
        source, target = (population.class_of(one, len(rows)) for one in (reference_label, label))
        form = self._forms[self.config.face]
        aligned = population.aligned(population.coordinates(rows, source), source, target)
        held = rows if categories is None else self._inside(categories)
        centre = held.clone()
        middle = aligned * (form.left * form.right / form.weight)
        centre[:, population.numeric] = population.numbers(middle, population.levels(held), target)
        precision, covariance = self._matrices
        if len(precision) == 1:
            return Quadratic(centre, precision[0], covariance[0])
        return Quadratic(centre, precision[target], covariance[target])

    def companion_factor(self, column: int, label: Any = None) -> float:
        """Return how many times dearer changing a column alone is than letting the others follow, at least 1.

        This is its variance inflation factor, 1 / (1 - R²) with R² of the regression of the column on the others.

        Arguments:
            column: its position among the floats of a row; a number, no level of a nominal column.
            label: the class, where each has a covariance of its own.

        Raises:
            InputError: the position holds no number.
        """
        whitening, place = self._column(column, label)
        return float(whitening.covariance[place, place] * whitening.precision[place, place])

    def companions(self, column: int, label: Any = None) -> Tensor:
        """Return by how much each float of a row moves along, ``(D,)``, when a column rises by 1.

        Its own entry is 1, levels of nominal columns have 0. With copula margins, in normal scores.
        """
        whitening, place = self._column(column, label)
        population = self._known()
        slopes = torch.zeros(population.width, dtype=torch.float64, device=population.means.device)
        slopes[population.numeric] = whitening.covariance[place] / whitening.covariance[place, place]
        return slopes

    def _learn(self, rows: Tensor, labels: Any) -> None:
        assert self._layout is not None
        population = Population.of(rows, labels, self._layout, self.config)
        index = population.class_of(labels, len(rows))
        self._population = population
        self._r = self.config.r if isinstance(self.config.r, float) else self._found(rows, labels, index)
        self._pair = PairLaw.of(self._r, population.whitenings[0].variances, self.config.kernel)
        self._categories = tuple(
            CategoryLaw.of(self._r, rows[:, list(block)], index, len(population.classes)) for block in population.blocks
        )
        self._forms = {
            "search-cost": self._pair.search_cost,
            "closeness": self._pair.closeness,
            "metric": self._pair.squared_metric,
        }
        self._tables = {
            "search-cost": tuple(law.given for law in self._categories),
            "closeness": tuple(law.beyond_chance for law in self._categories),
            "metric": tuple(law.squared_metric for law in self._categories),
        }
        # With normal scores no face is a quadratic form of the numbers themselves.
        weight = self._forms[self.config.face].weight
        self._matrices = self._weighted(weight) if population.margins is None else None

    def _found(self, rows: Tensor, labels: Any, index: Tensor) -> float:
        if self.config.classes != "pooled":
            return stickiness.WITHIN_CLASSES
        population = self._known()
        coordinates = population.coordinates(rows, index)
        if labels is None or coordinates.shape[1] == 0:
            return stickiness.UNLABELLED
        return stickiness.from_neighbours(coordinates, torch.as_tensor(labels).detach().cpu().reshape(-1))

    def _known(self) -> Population:
        if self._population is None:
            raise self._unfitted()
        return self._population

    def _named(self, face: Face, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        one, other, answer = self._ready(left, right)
        return self._face(face, one, other, left_label, right_label).to(answer)

    def _paired(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        return self._face(self.config.face, left, right, left_label, right_label)

    def _face(self, face: Face, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        population = self._known()
        target, source = population.class_of(left_label, len(left)), population.class_of(right_label, len(right))
        one = population.coordinates(left, target)
        other = population.aligned(population.coordinates(right, source), source, target)
        value = self._forms[face].paired(one, other)
        for block, law, table in zip(population.blocks, self._categories, self._tables[face], strict=True):
            levels = left[:, list(block)], right[:, list(block)]
            if face == "metric" and not population.conditional:
                value = value + ((levels[0] - levels[1]) * law.lengths).square().sum(dim=1)
                continue
            chosen = table[target, source] if population.conditional else table[0, 0]
            mixed = (levels[0].unsqueeze(1) @ chosen @ levels[1].unsqueeze(2)).flatten()
            value = value + (mixed if face == "metric" else _deviance(mixed))
        return root(value) if face == "metric" else value

    def _crossed(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        population = self._known()
        target, source = population.class_of(left_label, len(left)), population.class_of(right_label, len(right))
        values = left.new_zeros(len(left), len(right))
        one, other = population.coordinates(left, target), population.coordinates(right, source)
        # Where classes matter every pair of them has tables of its own.
        for wanted in target.unique():
            rows = (target == wanted).nonzero()
            for had in source.unique():
                columns = (source == had).nonzero().T
                turned = population.aligned(other[columns[0]], source[columns[0]], wanted.expand(columns.shape[1]))
                part = self._forms[self.config.face].crossed(one[rows[:, 0]], turned)
                part = part + self._crossed_levels(left[rows[:, 0]], right[columns[0]], int(wanted), int(had))
                values = values.index_put((rows, columns), part)
        return root(values) if self.config.face == "metric" else values

    def _crossed_levels(self, left: Tensor, right: Tensor, wanted: int, had: int) -> Tensor:
        population, face = self._known(), self.config.face
        value = left.new_zeros(len(left), len(right))
        for block, law, table in zip(population.blocks, self._categories, self._tables[face], strict=True):
            one, other = left[:, list(block)], right[:, list(block)]
            if face == "metric" and not population.conditional:
                value = value + torch.cdist(one * law.lengths, other * law.lengths).square()
                continue
            mixed = one @ table[wanted, had] @ other.T
            value = value + (mixed if face == "metric" else _deviance(mixed))
        return value

    def _still(self, rows: Tensor, held: Tensor | None) -> Tensor:
        """Return what keeps the values of each row, bool ``(B, D)``; of a nominal column all levels or none."""
        still = torch.zeros_like(rows, dtype=torch.bool) if held is None else held.to(rows.device).clone()
        still[:, list(self._layout.frozen if self._layout else ())] = True
        for block in self._known().blocks:
            still[:, list(block)] = still[:, list(block)].all(dim=1, keepdim=True)
        return still

    def _draw_levels(
        self, rows: Tensor, still: Tensor, target: Tensor, source: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return a copy of `rows` with nominal columns drawn anew where they are not held."""
        drawn = rows.clone()
        for block, table in zip(self._known().blocks, self._tables["search-cost"], strict=True):
            held = still[:, list(block)]
            if held.all():
                continue
            given = rows[:, list(block)]
            # A search that may not go to some level takes it back and leaves none: any may have been it then.
            given = torch.where((given > 0).any(dim=1, keepdim=True), given, 1 / len(block))
            chances = (table[target, source] @ given.unsqueeze(2)).squeeze(2)
            levels = torch.multinomial(chances.cpu(), 1, generator=generator).flatten()
            fresh = torch.nn.functional.one_hot(levels, len(block)).to(rows)
            drawn[:, list(block)] = torch.where(held, rows[:, list(block)], fresh)
        return drawn

    def _given_held(self, scores: Tensor, many: Tensor, still: Tensor, target: Tensor, count: int) -> Tensor:
        """Return numbers drawn given those that are held, ``(B * count, K)``, from scores that were drawn freely.

        What a free draw is off in the held columns moves the others along their regression on these; that is a draw
        from the law given them.
        """
        population = self._known()
        still = still[:, population.numeric]
        if still.any():
            numbers = many[:, population.numeric]
            wanted = numbers if population.margins is None else population.margins(numbers)
            kinds, kind = torch.cat([still, target[:, None]], dim=1).unique(dim=0, return_inverse=True)
            for place, (*held, number) in enumerate(kinds.tolist()):
                fixed = [position for position, value in enumerate(held) if value]
                inverse = population.whitening(number).inverse
                covariance = (inverse.T * self.law.variance) @ inverse
                gain = torch.linalg.pinv(covariance[fixed][:, fixed], hermitian=True) @ covariance[fixed]
                mine = (kind == place).repeat_interleave(count).unsqueeze(1)
                scores = torch.where(mine, scores + (wanted - scores)[:, fixed] @ gain, scores)
        return scores if population.margins is None else population.margins.back(scores)

    def _weighted(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return precision and covariance where directions have these weights, ``(k,)``: ``(C, D, D)`` both."""
        whitenings = self._known().whitenings
        factors = torch.stack([whitening.factor for whitening in whitenings])
        inverses = torch.stack([whitening.inverse for whitening in whitenings])
        precision, covariance = (factors * weight) @ factors.mT, (inverses.mT / weight) @ inverses
        return self._in_place(precision), self._in_place(covariance)

    def _in_place(self, matrices: Tensor) -> Tensor:
        """Return matrices of numbers, ``(C, K, K)``, among all floats of a row, ``(C, D, D)``."""
        population = self._known()
        whole = matrices.new_zeros(len(matrices), population.width, population.width)
        whole[:, population.numeric.unsqueeze(1), population.numeric] = matrices
        return whole

    def _column(self, column: int, label: Any) -> tuple[Any, int]:
        population = self._known()
        numeric = population.numeric.tolist()
        if column not in numeric:
            message = (
                f"Position {column} of a row holds no number (numbers are at {', '.join(map(str, numeric))}): what "
                "follows it cannot be said by a covariance."
            )
            raise InputError(message)
        index = int(population.class_of(label, 1)) if len(population.whitenings) > 1 else 0
        return population.whitening(index), numeric.index(column)


def _deviance(probability: Tensor) -> Tensor:
    """Return -2 log of a probability; finite for the mixtures of levels that a search passes through."""
    return -2 * probability.clamp_min(1e-12).log()
