"""Fitted adapters on disk: found again, never mistaken, never half-written, fitted once."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from preimage_fuse import cache as cache_module
from preimage_fuse.cache import AdapterCache, Saved, default_folder, digest_of, key_of
from preimage_fuse.config import FuseConfig
from preimage_fuse.fuse import Fuse

CPU = torch.device("cpu")


def saved(value: float = 1.0) -> Saved:
    return Saved({"1-1": torch.full((2, 3), value)}, {"cells": [value]})


class TestAdapterCache:
    def test_is_made_once(self, tmp_path) -> None:
        """What was kept is read, with its record, and not made again."""
        cache = AdapterCache(tmp_path / "new" / "folder")
        cache.get("fuse", "k", saved, CPU)
        again = cache.get("fuse", "k", lambda: pytest.fail("made again"), CPU)

        assert torch.equal(again.tensors["1-1"], torch.ones(2, 3))
        assert again.record == {"cells": [1.0]}

    def test_keys_and_names_are_apart(self, tmp_path) -> None:
        """Another key or another adapter is another file."""
        cache = AdapterCache(tmp_path)
        values = {("fuse", "a"): 1.0, ("fuse", "b"): 2.0, ("linear", "a"): 3.0}
        for (name, key), value in values.items():
            cache.get(name, key, lambda value=value: saved(value), CPU)

        for (name, key), value in values.items():
            assert cache.get(name, key, saved, CPU).record == {"cells": [value]}

    def test_concurrent_fits(self, tmp_path) -> None:
        """Of several that want the same adapter at the same time, one fits it and the others wait."""
        made, answers = [], []
        barrier = threading.Barrier(4)

        def make() -> Saved:
            made.append(1)
            threading.Event().wait(0.2)
            return saved()

        def fit() -> None:
            barrier.wait()
            answers.append(AdapterCache(tmp_path).get("fuse", "k", make, CPU))

        threads = [threading.Thread(target=fit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(made) == 1
        assert len(answers) == 4

    def test_a_failed_fit_leaves_nothing(self, tmp_path) -> None:
        """An error while fitting is raised, keeps nothing, and does not block the next one."""
        cache = AdapterCache(tmp_path)

        def fail() -> Saved:
            message = "no"
            raise ValueError(message)

        with pytest.raises(ValueError, match="no"):
            cache.get("fuse", "k", fail, CPU)
        assert cache.get("fuse", "k", saved, CPU).record == {"cells": [1.0]}

    def test_nothing_half_written_is_seen(self, tmp_path, monkeypatch) -> None:
        """A crash while writing leaves no file of that name, and no temporary one."""
        cache = AdapterCache(tmp_path)

        def crash(_tensors, path, metadata) -> None:
            Path(path).write_bytes(b"half")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(cache_module, "save_file", crash)
            with pytest.raises(KeyboardInterrupt):
                cache.get("fuse", "k", saved, CPU)

        assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
    def test_file_that_cannot_be_read(self, tmp_path, content, caplog) -> None:
        """A damaged file is made again, and said so."""
        cache = AdapterCache(tmp_path)
        cache.path("fuse", "k").write_bytes(content)
        with caplog.at_level(logging.WARNING):
            made = cache.get("fuse", "k", saved, CPU)

        assert made.record == {"cells": [1.0]}
        assert "cannot be read and is fitted again" in caplog.text
        assert cache.get("fuse", "k", lambda: pytest.fail("made again"), CPU).record == {"cells": [1.0]}

    def test_folder_that_cannot_be_written(self, tmp_path, caplog) -> None:
        """Without a place to keep it, the adapter is made all the same, and said so."""
        (tmp_path / "file").write_text("in the way")
        with caplog.at_level(logging.WARNING):
            made = AdapterCache(tmp_path / "file" / "adapters").get("fuse", "k", saved, CPU)

        assert made.record == {"cells": [1.0]}
        assert "is not kept" in caplog.text

    def test_disk_that_is_full(self, tmp_path, monkeypatch, caplog) -> None:
        """A failed write costs the keeping, not the result."""

        def full(_tensors, path, metadata) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache_module, "save_file", full)

        assert AdapterCache(tmp_path).get("fuse", "k", saved, CPU).record == {"cells": [1.0]}
        assert "No space left" in caplog.text


class TestFolders:
    def test_environment_names_the_folder(self, tmp_path, monkeypatch) -> None:
        """PREIMAGE_CACHE decides, and without it the user's cache folder."""
        monkeypatch.setenv("PREIMAGE_CACHE", str(tmp_path))
        assert default_folder() == tmp_path / "adapters"
        monkeypatch.delenv("PREIMAGE_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert default_folder().name == "adapters"
        assert "preimage" in str(default_folder())

    def test_adapters_use_it(self, tmp_path, monkeypatch, spaces) -> None:
        """A fitted adapter is found again by another object, by the option or by the environment."""
        pair = {"source": spaces["gpt2"], "target": spaces["clip"]}
        first = Fuse(FuseConfig(cache_dir=str(tmp_path / "adapters")), **pair)
        first.fit()
        monkeypatch.setenv("PREIMAGE_CACHE", str(tmp_path))
        second = Fuse(FuseConfig(), **pair)
        monkeypatch.setattr(Fuse, "_learn", lambda *_: pytest.fail("learns again"))
        second.fit()

        assert second.saved_in == first.saved_in
        assert second.quality == first.quality
        ids = torch.tensor(spaces["gpt2"].encode(["a red circle"]))
        translated = torch.tensor(first.translate(ids))
        gradient = torch.ones(1, translated.shape[1], 6)
        assert torch.equal(first.pull_back(ids, translated, gradient), second.pull_back(ids, translated, gradient))

    def test_file_is_safetensors(self, tmp_path, spaces) -> None:
        """What is kept holds numbers and a record, nothing that could run."""
        adapter = Fuse(FuseConfig(cache_dir=str(tmp_path)), source=spaces["gpt2"], target=spaces["clip"])
        adapter.fit()
        with safe_open(adapter.saved_in, framework="pt") as file:
            names = set(file.keys())

        assert names == {f"{case[0]}-{case[1]}" for case in (quality.case for quality in adapter.quality)}

    def test_cache_can_be_switched_off(self, tmp_path, monkeypatch, spaces) -> None:
        """Without the cache nothing is written."""
        monkeypatch.setenv("PREIMAGE_CACHE", str(tmp_path))
        adapter = Fuse(FuseConfig(use_cache=False), source=spaces["gpt2"], target=spaces["clip"])
        adapter.fit()

        assert adapter.saved_in is None
        assert not list(tmp_path.iterdir())


class TestHashes:
    def test_of_tensors(self) -> None:
        """Numbers, dtype and shape count; where they lie in memory does not."""
        x = torch.arange(6.0).view(2, 3)

        assert digest_of(x) == digest_of(x.clone())
        assert digest_of(x.T.contiguous().T) == digest_of(x)
        assert len({digest_of(y) for y in (x, x.double(), x.view(3, 2), x + 1, x.bfloat16())}) == 5

    def test_of_facts(self) -> None:
        """The order of the facts does not count."""
        assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
        assert key_of({"a": 1}) != key_of({"a": 2})
