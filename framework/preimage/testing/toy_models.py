"""Small random models in double precision, one for each role that reads text.

They are nothing but exact: a finite difference of theirs has ten right digits, which no trained model in single
precision can offer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import AssemblyError
from preimage.testing.toy import WORDS, toy_tokens

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage.api.model import Decoding

__all__ = [
    "ToyCaptioner",
    "ToyClassifier",
    "ToyDenoiser",
    "ToyEncoder",
    "ToyLanguageModel",
    "toy_model",
    "toy_pictures",
]

_WIDTH, _HIDDEN = 6, 8


class _Reader(nn.Module):
    """A causal reader: each state mixes the token with the mean of all tokens up to it."""

    def __init__(self, seed: int, outputs: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=rng, dtype=torch.float64), requires_grad=False)

        self.embedding = weight(len(toy_tokens().embedding), _WIDTH)
        self.start = weight(1, 1, _WIDTH)
        self.token = weight(_WIDTH, _HIDDEN)
        self.context = weight(_WIDTH, _HIDDEN)
        self.output = weight(_HIDDEN, outputs)
        self.pixels = weight(48, outputs)
        self.eval()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the states after the start and each token, ``(B, L + 1, H)``, of ``(B, L, d)``."""
        inputs = torch.cat([self.start.expand(len(embeddings), -1, -1), embeddings], dim=1)
        count = torch.arange(1, inputs.shape[1] + 1, dtype=inputs.dtype)[:, None]
        return torch.tanh((inputs.cumsum(dim=1) / count) @ self.context + inputs @ self.token)


class _Toy:
    """What all toy models share."""

    _outputs = 5

    def __init__(self, *, seed: int = 0) -> None:
        self.reference = f"toy:{type(self).__name__}"
        self.network = _Reader(seed, self._outputs)
        self.space = toy_tokens(embedding=self.network.embedding)

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


class ToyEncoder(_Toy):
    """The roles ``text-encoder`` and ``image-text-encoder``.

    >>> encoder = ToyEncoder()
    >>> encoder.encode_tokens(torch.tensor([[1, 2, 3]])).norm().item()
    1.0
    """

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of token ids ``(B, L)``."""
        return self.encode_embeddings(self.space.embedding[ids])

    def encode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of input embeddings ``(B, L, d)``."""
        states = self.network(embeddings)
        return functional.normalize((states.mean(dim=1) + states[:, -1]) @ self.network.output, dim=-1)

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of pictures."""
        rows = [list(image.convert("RGB").resize((4, 4)).tobytes()) for image in images]
        pixels = torch.tensor(rows, dtype=torch.float64) / 255 - 0.5
        return functional.normalize(pixels @ self.network.pixels, dim=-1)


class ToyLanguageModel(_Toy):
    """The role ``language-model``."""

    _outputs = len(toy_tokens().embedding)

    def token_log_probs(self, ids: Tensor, *, start: int = 0) -> Tensor:
        """Return ``log p(ids[:, i] | ids[:, :i])``, ``(B, L - start)``."""
        return self.embedding_log_probs(self.space.embedding[ids], ids, start=start)

    def embedding_log_probs(self, embeddings: Tensor, ids: Tensor, *, start: int = 0) -> Tensor:
        """Return ``log p(ids[:, i] | embeddings[:, :i])``, ``(B, L - start)``."""
        log_probs = torch.log_softmax(self.network(embeddings)[:, start:-1] @ self.network.output, dim=-1)
        return log_probs.gather(-1, ids[:, start:, None]).squeeze(-1)

    def next_token_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, V)``, of the token that follows each row of ``(B, L)``."""
        states = self.network(self.space.embedding[ids])
        return torch.log_softmax(states[:, -1] @ self.network.output, dim=-1)


class ToyClassifier(_Toy):
    """The role ``classifier``."""

    labels = ("calm", "glad", "sad")
    _outputs = len(labels)

    def class_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of token ids ``(B, L)``."""
        return self.embedding_class_log_probs(self.space.embedding[ids])

    def embedding_class_log_probs(self, embeddings: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of input embeddings ``(B, L, d)``."""
        states = self.network(embeddings)
        return torch.log_softmax((states.mean(dim=1) + states[:, -1]) @ self.network.output, dim=-1)


class ToyDenoiser(_Toy):
    """The role ``denoiser``: it guesses the noise from the noisy picture, the timestep and the text.

    >>> denoiser = ToyDenoiser()
    >>> denoiser.text_states(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 1, 8])
    """

    n_timesteps = 100
    _outputs = 12

    def text_states(self, ids: Tensor) -> Tensor:
        """Return the state, ``(B, 1, H)``, of token ids ``(B, L)``."""
        return self.embedding_text_states(self.space.embedding[ids])

    def embedding_text_states(self, embeddings: Tensor) -> Tensor:
        """Return the state, ``(B, 1, H)``, of input embeddings ``(B, L, d)``."""
        states = self.network(embeddings)
        pooled: Tensor = states.mean(dim=1, keepdim=True) + states[:, -1:]
        return pooled

    def encode_pictures(self, images: Sequence[Image]) -> Tensor:
        """Return the latents, ``(N, 3, 2, 2)``, of pictures."""
        rows = [list(image.convert("RGB").resize((2, 2)).tobytes()) for image in images]
        pixels = torch.tensor(rows, dtype=torch.float64).view(-1, 2, 2, 3).permute(0, 3, 1, 2)
        return pixels / 127.5 - 1

    def noise_prediction_loss(self, states: Tensor, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Return the mean squared errors, ``(B,)``, of the guessed noise."""
        share = ((timesteps + 1).to(latents) / (self.n_timesteps + 1)).view(-1, 1)
        noisy = (1 - share).sqrt() * latents.flatten(1) + share.sqrt() * noise.flatten(1)
        guessed = torch.tanh(noisy + states[:, 0] @ self.network.output * share)
        losses: Tensor = (guessed - noise.flatten(1)).square().mean(dim=1)
        return losses


class ToyCaptioner(_Toy):
    """The role ``captioner``: it names the words that a picture's pixels are most like, and one that nobody knows."""

    _outputs = len(WORDS)

    def captions(
        self, images: Sequence[Image], decoding: Decoding, *, seeds: Sequence[int] | None = None
    ) -> list[list[str]]:
        """Return the captions of each picture, best first, then those that are sampled."""
        return [
            self._said(image, decoding, seed) for image, seed in zip(images, seeds or [0] * len(images), strict=True)
        ]

    def _said(self, image: Image, decoding: Decoding, seed: int) -> list[str]:
        pixels = torch.tensor(list(image.convert("RGB").resize((4, 4)).tobytes()), dtype=torch.float64) / 255 - 0.5
        scores = pixels @ self.network.pixels
        rng = torch.Generator().manual_seed(seed)
        length = min(max(decoding.min_tokens, 3), decoding.max_tokens)
        captions = []
        for index in range(decoding.count):
            drawn = torch.rand(scores.shape, generator=rng, dtype=scores.dtype).clamp(min=1e-12)
            # Adding this noise and taking the largest draws from the softmax of the scores.
            noise = -decoding.temperature * (-drawn.log()).log() if index >= decoding.beams else 0.0 * drawn
            order = (scores + noise).argsort(descending=True).tolist()
            words = [WORDS[place] for place in order[min(index, decoding.beams - 1) :][:length]]
            captions.append(" ".join([*words[:1], "nameless", *words[1:]][:length]))
        return captions


_TOYS: dict[str, type[_Toy]] = {
    "text-encoder": ToyEncoder,
    "image-text-encoder": ToyEncoder,
    "language-model": ToyLanguageModel,
    "classifier": ToyClassifier,
    "captioner": ToyCaptioner,
    "denoiser": ToyDenoiser,
}


def toy_model(role: str, *, seed: int = 0) -> Any:
    """Return a new toy of a role.

    Raises:
        AssemblyError: there is none.
    """
    if role not in _TOYS:
        message = f"There is no toy model of the role {role!r}, only of {', '.join(_TOYS)}: name a real one."
        raise AssemblyError(message)
    return _TOYS[role](seed=seed)


def toy_pictures(count: int, size: int = 64) -> list[Image]:
    """Return different small pictures: stripes of two colours each.

    >>> [picture.size for picture in toy_pictures(2)]
    [(64, 64), (64, 64)]
    """
    from PIL import Image

    pictures = []
    for number in range(count):
        rng = torch.Generator().manual_seed(number)
        first, second = torch.randint(256, (2, 3), generator=rng).tolist()
        picture = Image.new("RGB", (size, size), tuple(first))
        for left in range(0, size, 16):
            picture.paste(tuple(second), (left, 0, left + 4 + 2 * number % 12, size))
        pictures.append(picture)
    return pictures
