"""The joint law of the codes of a row and of its counterfactual, under any encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from preimage.errors import InputError, OptionError
from preimage_counterfactual.distances import stickiness
from preimage_counterfactual.distances.base import FeatureDistance, root
from preimage_counterfactual.distances.covariance import Whitening, estimate, whiten
from preimage_counterfactual.distances.flow import Flow
from preimage_counterfactual.distances.law import FaceForm, PairLaw
from preimage_counterfactual.distances.vae import VAE

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import Face, JointLatentConfig

__all__ = ["JointLatent"]


class JointLatent(FeatureDistance):
    """The joint-sampling distance on codes: z' = r z + √(1 - r²) noise, a move that keeps their standard normal law.

    Without an encoder it fits one: a flow, which is invertible, so that different rows are at different codes, or
    a VAE. A flow of a law is not unique, and another seed gives another distance.

    An encoder is any callable from rows ``(B, D)`` to codes ``(B, k)``; codes that are not standard normal (the
    attribute ``standard`` says so) are whitened by what the fitted data show. To draw, it needs ``decode(codes)``;
    for ``density``, ``log_volume(rows)``, the logarithm of the determinant of its Jacobian.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import JointLatentConfig
    >>> distance = JointLatent(JointLatentConfig(r=0.5), encoder=lambda rows: rows[:, :1])
    >>> distance.fit(torch.tensor([[1.0, 7.0], [-1.0, 3.0]]))
    >>> distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 9.0]]))
    tensor([0.])
    """

    least_rows: ClassVar[int] = 2

    def __init__(self, config: JointLatentConfig, encoder: Callable[[Tensor], Tensor] | None = None) -> None:
        if config.density and encoder is None and config.encoder == "vae":
            message = "A VAE cannot say how it stretches space, which density=True asks for: take encoder='flow'."
            raise OptionError(message)
        if config.density and encoder is not None and not hasattr(encoder, "log_volume"):
            message = (
                f"density=True asks how the encoder stretches space, and {type(encoder).__name__} has no method "
                "log_volume(rows): give it one, or leave density out."
            )
            raise OptionError(message)
        self.config = config
        self.symmetric = config.face != "search-cost"
        self.grounded = config.face == "metric"
        # Other encoders may have one code for different rows.
        self.metric = config.face == "metric" and encoder is None and config.encoder == "flow"
        self._given = encoder
        self._encoder: Any = encoder
        self._whitening: Whitening | None = None
        self._forms: dict[str, FaceForm] = {}
        self._pair: PairLaw | None = None
        self._r = math.nan

    @property
    def r(self) -> float:
        """The correlation, as given or as found in the data."""
        self._codes_law()
        return self._r

    @property
    def encoder(self) -> Any:
        """The encoder, fitted or given."""
        self._codes_law()
        return self._encoder

    def search_cost(self, left: Tensor, right: Tensor) -> Tensor:
        """Return -2 log of the law of `left` given `right`, less its constant, ``(B,)``; not symmetric."""
        return self._named("search-cost", left, right)

    def closeness(self, left: Tensor, right: Tensor) -> Tensor:
        """Return -2 log of π(left, right) / (p(left) p(right)), ``(B,)``: the same in codes and in rows."""
        return self._named("closeness", left, right)

    def metric_distance(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the distance of the codes, scaled by r, ``(B,)``."""
        return self._named("metric", left, right)

    def embed(self, rows: Tensor) -> Tensor:
        """Return coordinates, ``(B, k)``, whose Euclidean distance is the metric face."""
        return (self._coordinates(self._inside(rows)) * self._forms["metric"].left).to(rows)

    def sample(self, reference: Tensor, count: int, generator: torch.Generator, label: Any = None) -> Tensor:
        """Draw counterfactuals of each row from the law, ``(B, count, D)``; frozen columns keep the row's values.

        Arguments:
            reference: rows, ``(B, D)``.
            count: how many for each.
            generator: on the CPU, where all is drawn.
            label: not looked at: this law knows no classes.

        Raises:
            InputError: the encoder cannot decode.
        """
        law, whitening = self._codes_law()
        decode = getattr(self._encoder, "decode", None)
        if decode is None:
            message = (
                f"Drawing rows asks the encoder to decode codes, and {type(self._encoder).__name__} has no method "
                "decode(codes): give it one, or search for the optimum instead."
            )
            raise InputError(message)
        rows = self._inside(reference)
        centre = self._coordinates(rows) * law.pull
        noise = torch.randn(len(rows), count, centre.shape[1], generator=generator, dtype=torch.float64)
        codes = centre.unsqueeze(1) + noise.to(centre) * law.variance.sqrt()
        drawn: Tensor = decode(whitening.back(codes.flatten(0, 1))).reshape(len(rows), count, -1).clone()
        held = list(self._layout.frozen) if self._layout else []
        drawn[:, :, held] = rows[:, None, held]
        return drawn.to(reference)

    def _learn(self, rows: Tensor, labels: Any) -> None:
        if self._given is None:
            self._encoder = (Flow if self.config.encoder == "flow" else VAE)(rows, self.config)
        codes = self._encoder(rows).detach().to(torch.float64)
        if codes.ndim != 2 or len(codes) != len(rows) or not codes.isfinite().all():
            message = (
                f"The encoder answers {tuple(codes.shape)} for {len(rows)} rows, or numbers that are not finite: it "
                "must give each row finite codes, (rows, codes)."
            )
            raise InputError(message)
        if getattr(self._encoder, "standard", False):
            self._whitening = whiten(torch.zeros_like(codes[0]), torch.eye(codes.shape[1]).to(codes))
        else:
            self._whitening = estimate(codes, "ledoit-wolf")
        self._r = self.config.r if isinstance(self.config.r, float) else self._found(codes, labels)
        self._pair = PairLaw.of(self._r, self._whitening.variances)
        self._forms = {
            "search-cost": self._pair.search_cost,
            "closeness": self._pair.closeness,
            "metric": self._pair.squared_metric,
        }

    def _found(self, codes: Tensor, labels: Any) -> float:
        if labels is None:
            return stickiness.UNLABELLED
        assert self._whitening is not None
        return stickiness.from_neighbours(self._whitening(codes), torch.as_tensor(labels).detach().cpu().reshape(-1))

    def _codes_law(self) -> tuple[PairLaw, Whitening]:
        if self._pair is None or self._whitening is None:
            raise self._unfitted()
        return self._pair, self._whitening

    def _coordinates(self, rows: Tensor) -> Tensor:
        _, whitening = self._codes_law()
        coordinates: Tensor = whitening(self._encoder(rows).to(torch.float64))
        return coordinates

    def _named(self, face: Face, left: Tensor, right: Tensor) -> Tensor:
        one, other, answer = self._ready(left, right)
        return self._face(face, one, other).to(answer)

    def _paired(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        return self._face(self.config.face, left, right)

    def _face(self, face: Face, left: Tensor, right: Tensor) -> Tensor:
        self._codes_law()
        value = self._forms[face].paired(self._coordinates(left), self._coordinates(right))
        if face == "search-cost" and self.config.density:
            value = value - 2 * self._encoder.log_volume(left)
        return root(value) if face == "metric" else value

    def _crossed(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        self._codes_law()
        value = self._forms[self.config.face].crossed(self._coordinates(left), self._coordinates(right))
        if self.config.face == "search-cost" and self.config.density:
            value = value - 2 * self._encoder.log_volume(left).unsqueeze(1)
        return root(value) if self.config.face == "metric" else value
