"""References to pipelines: hub names and folders through one code path, weights from safetensors only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, ModelMixin
from transformers import PreTrainedModel

from preimage.errors import AssemblyError, InputError, first_line
from preimage.weights import local_folder, weights_in
from preimage_diffusers.quiet import quietly

if TYPE_CHECKING:
    from preimage_diffusers.config import DiffusersConfig

__all__ = ["Source", "networks_of", "source_of"]

_INDEX = "model_index.json"
_FORMAT = "a pipeline in the format of diffusers: save the pipeline with `save_pretrained`"
_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


@attrs.frozen
class Source:
    """Where the parts of a pipeline come from; each is read by the same call from the hub and from a folder.

    Attributes:
        reference: the ``sd:name`` it is loaded by.
        path: what diffusers is given: a repository's name, or a folder.
        folder: the folder, if it is one.
        options: what every call of ``from_pretrained`` is given.
        use_safetensors: True to read no other weights, None to let diffusers choose.
        variant: which of several sets of weights.
    """

    reference: str
    path: str
    folder: Path | None
    options: dict[str, Any]
    use_safetensors: bool | None
    variant: str | None

    def pipeline(self, dtype: torch.dtype, *, safety_checker: bool = False) -> Any:
        """Return the pipeline, frozen and in evaluation mode, whose every weight has been read.

        Arguments:
            dtype: what it computes in.
            safety_checker: keep its filter, if it has one.

        Raises:
            InputError: a part cannot be read, or does not fit the rest.
            AssemblyError: it brings code of its own, or weights are missing.
        """
        index = self._read(DiffusionPipeline.load_config, "list of parts", **self.options)
        parts = {name: tuple(part) for name, part in index.items() if isinstance(part, list) and len(part) == 2}
        self._check_code(index, parts)
        dropped = {name: None for name in ("safety_checker",) if name in parts and not safety_checker}
        if dropped:
            # Without it the pipeline would warn at every load that there is none.
            dropped["requires_safety_checker"] = False  # type: ignore[assignment]
        networks = {
            name: self._network(name, network, dtype)
            for name, network in ((name, _network_class(*part)) for name, part in parts.items() if name not in dropped)
            if network is not None
        }
        weights = {"use_safetensors": self.use_safetensors, "variant": self._variant_of(networks)}
        pipeline = self._read(
            DiffusionPipeline.from_pretrained, "pipeline", **self.options, **weights, **networks, **dropped
        )
        for network in (*networks_of(pipeline), getattr(pipeline, "safety_checker", None)):
            if network is not None:
                network.eval().requires_grad_(False)
        return pipeline

    def _network(self, name: str, network: Any, dtype: torch.dtype) -> Any:
        """Return one of the networks.

        Raises:
            AssemblyError: weights are missing, so that it would answer at random.
        """
        if self.folder is not None:
            if not (self.folder / name).is_dir():
                message = (
                    f"{self.reference} has no folder {name!r}, which its {_INDEX} names: save the whole pipeline again."
                )
                raise InputError(message)
            weights_in(self.folder / name, trust_pickle=self.use_safetensors is None)
        given = {"use_safetensors": self.use_safetensors, "variant": self.variant, "dtype": dtype}
        if issubclass(network, ModelMixin):
            # The other way needs a package that this plugin does not.
            given["low_cpu_mem_usage"] = False
        model, report = self._read(
            network.from_pretrained,
            f"weights ({name})",
            subfolder=name,
            output_loading_info=True,
            **self.options,
            **given,
        )
        missing = sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"])
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            message = (
                f"The {name} of {self.reference} holds no weights for {missing[0]!r}{more} of a {network.__name__}, so "
                "that it would answer at random: save the pipeline again, or use another model."
            )
            raise AssemblyError(message)
        return model

    def _variant_of(self, networks: dict[str, Any]) -> str | None:
        # Diffusers refuses a variant where nothing is left to load that has one.
        return None if networks else self.variant

    def _check_code(self, index: dict[str, Any], parts: dict[str, tuple[Any, ...]]) -> None:
        """Raise if the pipeline is not one of diffusers' own, made of parts of known libraries."""
        name = index.get("_class_name")
        if not isinstance(name, str) or not hasattr(diffusers, name):
            message = (
                f"{self.reference} is a pipeline {name!r}, which diffusers {diffusers.__version__} does not have, so "
                "that code from the model's repository would have to run: use a model of a pipeline in diffusers."
            )
            raise AssemblyError(message)
        for part, (library, kind) in parts.items():
            if library is not None and library not in _LIBRARIES and not hasattr(diffusers.pipelines, library):
                message = (
                    f"The {part} of {self.reference} is a {kind} of {library!r}, which is neither diffusers nor "
                    "transformers, so that code from the model's repository would have to run: use another model."
                )
                raise AssemblyError(message)

    def _read(self, read: Callable[..., Any], what: str, **options: Any) -> Any:
        """Return ``read(path, …)``, a part of the pipeline called `what` in messages.

        Raises:
            InputError: it cannot be read.
        """
        # Weights are initialised before they are read, which must not draw from the user's generator.
        with quietly(), torch.random.fork_rng(devices=[]):
            try:
                return read(self.path, **options)
            except Exception as error:
                message = f"The {what} of {self.reference} could not be read: {first_line(error)} " + (
                    f"Check that the files in {str(self.folder)!r} are those that `save_pretrained` writes."
                    if self.folder is not None
                    else "Check the name and the network (a model is downloaded once and then kept), or load a "
                    "folder: sd:/path/to/folder."
                )
                raise InputError(message) from error


def networks_of(pipeline: Any) -> list[torch.nn.Module]:
    """Return the networks that pictures are made by, by name; a filter of pictures is none of them."""
    parts = sorted(pipeline.components.items())
    return [part for name, part in parts if isinstance(part, torch.nn.Module) and name != "safety_checker"]


def source_of(name: str, config: DiffusersConfig) -> Source:
    """Return where a reference's pipeline comes from.

    Raises:
        InputError: it is the path of a folder that does not exist or is none of diffusers'.

    >>> from preimage_diffusers.config import DiffusersConfig
    >>> source_of("stabilityai/stable-diffusion-2-1", DiffusersConfig()).path
    'stabilityai/stable-diffusion-2-1'
    """
    folder = local_folder(name, _INDEX, _FORMAT)
    options: dict[str, Any] = {"local_files_only": folder is not None, "cache_dir": config.cache_dir}
    if config.revision is not None and folder is None:
        options["revision"] = config.revision
    path = name if folder is None else str(folder)
    return Source(f"sd:{name}", path, folder, options, None if config.trust_pickle else True, config.variant)


def _network_class(library: str | None, kind: str | None) -> Any:
    """Return the class of a part that has weights of its own, or None for any other part."""
    found = getattr(_LIBRARIES.get(library or ""), kind or "", None)
    return found if isinstance(found, type) and issubclass(found, ModelMixin | PreTrainedModel) else None
