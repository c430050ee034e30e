"""References to models: hub names and folders through one code path, weights from safetensors only."""

from __future__ import annotations

import logging as python_logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging
from transformers.utils.hub import cached_file

from preimage.errors import AssemblyError, InputError, first_line
from preimage.weights import local_folder, weights_in

if TYPE_CHECKING:
    from preimage_transformers.config import TransformersConfig

__all__ = ["Source", "quietly", "source_of"]

_CONFIG = "config.json"
_FORMAT = "a model in the format of transformers: save model and tokenizer with `save_pretrained`"


@attrs.frozen
class Source:
    """Where the parts of a model come from; each is read by the same call from the hub and from a folder.

    Attributes:
        reference: the ``hf:name`` it is loaded by.
        path: what transformers is given: a repository's name, or a folder.
        folder: the folder, if it is one.
        options: what every call of ``from_pretrained`` is given.
        use_safetensors: True to read no other weights, None to let transformers choose.
    """

    reference: str
    path: str
    folder: Path | None
    options: dict[str, Any]
    use_safetensors: bool | None

    def config(self) -> Any:
        """Return the model's configuration.

        Raises:
            InputError: it cannot be read, or is of a kind that transformers does not know.
        """
        return self.read(AutoConfig.from_pretrained, "configuration")

    def tokenizer(self) -> Any:
        """Return the model's fast tokenizer.

        Raises:
            InputError: there is none, or it cannot be read.
            AssemblyError: it is not one of the `tokenizers` library.
        """
        tokenizer = self.read(AutoTokenizer.from_pretrained, "tokenizer")
        if not getattr(tokenizer, "is_fast", False):
            message = (
                f"The tokenizer of {self.reference} ({type(tokenizer).__name__}) is not one of the `tokenizers` "
                "library, so that thousands of candidates could not be read at once: use a model with a fast "
                "tokenizer, one that has a tokenizer.json."
            )
            raise AssemblyError(message)
        if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
            # Where there are no files, transformers makes an empty tokenizer of the model's kind.
            message = (
                f"There is no tokenizer beside {self.reference}, so that it cannot read texts: put its files "
                "(tokenizer.json, tokenizer_config.json) there."
            )
            raise InputError(message)
        return tokenizer

    def model(self, loader: Any, dtype: torch.dtype, *, unused: tuple[str, ...] = (), **options: Any) -> Any:
        """Return the model, whose every weight has been read.

        Arguments:
            loader: one of transformers' classes with ``from_pretrained``.
            dtype: what it computes in.
            unused: beginnings of the names of weights that are never used and may be missing.
            options: passed to ``from_pretrained``.

        Raises:
            InputError: weights cannot be read, or do not fit the configuration.
            AssemblyError: weights are missing, so that it would answer at random.
        """
        if self.folder is not None:
            weights_in(self.folder, trust_pickle=self.use_safetensors is None)
        model, report = self.read(
            loader.from_pretrained,
            "weights",
            dtype=dtype,
            use_safetensors=self.use_safetensors,
            output_loading_info=True,
            **options,
        )
        missing = sorted(name for name in report["missing_keys"] if not name.startswith(unused))
        missing += sorted(str(name[0]) for name in report["mismatched_keys"])
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            message = (
                f"{self.reference} holds no weights for {missing[0]!r}{more} of a {type(model).__name__}, so that it "
                "would answer at random: use a model that was trained for this role."
            )
            raise AssemblyError(message)
        return model

    def file(self, name: str) -> Path | None:
        """Return where a file of the model lies, or None if it has no such file."""
        if self.folder is not None:
            path = self.folder / name
            return path if path.is_file() else None
        options = {key: value for key, value in self.options.items() if key != "trust_remote_code"}
        found = cached_file(
            self.path,
            name,
            **options,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        return None if found is None else Path(found)

    def read(self, read: Callable[..., Any], what: str, **options: Any) -> Any:
        """Return ``read(path, …)``, a part of the model called `what` in messages.

        Raises:
            InputError: it cannot be read.
        """
        # Weights are initialised before they are read, which must not draw from the user's generator.
        with quietly(), torch.random.fork_rng(devices=[]):
            try:
                return read(self.path, **self.options, **options)
            except Exception as error:
                message = f"The {what} of {self.reference} could not be read: {first_line(error)} {self._remedy(what)}"
                raise InputError(message) from error

    def _remedy(self, what: str) -> str:
        if self.folder is None:
            return (
                "Check the name and the network (a model is downloaded once and then kept), or load a folder: "
                "hf:/path/to/folder."
            )
        if what == "tokenizer":
            return "Put its files (tokenizer.json, tokenizer_config.json) beside the model."
        return f"Check that the files in {str(self.folder)!r} are those that `save_pretrained` writes."


def source_of(name: str, config: TransformersConfig) -> Source:
    """Return where a reference's model comes from.

    Raises:
        InputError: it is the path of a folder that does not exist or is none of transformers'.

    >>> from preimage_transformers.config import TransformersConfig
    >>> source_of("openai-community/gpt2-medium", TransformersConfig()).path
    'openai-community/gpt2-medium'
    """
    folder = local_folder(name, _CONFIG, _FORMAT)
    options = {
        "trust_remote_code": False,
        "local_files_only": folder is not None,
        "cache_dir": config.cache_dir,
    }
    if config.revision is not None and folder is None:
        options["revision"] = config.revision
    path = name if folder is None else str(folder)
    return Source(f"hf:{name}", path, folder, options, None if config.trust_pickle else True)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from drawing progress bars over ours, and from reporting what is checked here."""
    verbosity = logging.get_verbosity()
    hook = logging.set_tqdm_hook(_no_bar)
    logging.set_verbosity(python_logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)


def _no_bar(_factory: Any, args: Any, kwargs: Any) -> Any:
    return logging.EmptyTqdm(*args, **kwargs)
