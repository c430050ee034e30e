"""Folders with distributions, good and broken, as an installer would leave them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import preimage


class Site:
    """A folder of the import path; `add` unpacks a distribution into it, `install` lets pip do that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        self.cwd = folder / "cwd"
        self.wheels = folder / "wheels"
        for each in (self.folder, self.cwd, self.wheels):
            each.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        distribution: str,
        source: str | None = None,
        *,
        module: str = "",
        version: str = "1.0",
        entry_points: str | bytes | None = None,
        files: Mapping[str, str] | None = None,
        suffix: str = "dist-info",
    ) -> Path:
        """Write a distribution whose plugin is the module `source`; return its metadata folder."""
        contents = self._contents(distribution, source, module, version, entry_points, files or {}, suffix)
        for name, content in contents.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.folder / _metadata(distribution, version, suffix)

    def wheel(
        self,
        distribution: str,
        source: str | None = None,
        *,
        entry_points: str | bytes | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Make a wheel for `install`."""
        contents = self._contents(distribution, source, "", "1.0", entry_points, files or {}, "dist-info")
        home = _metadata(distribution, "1.0", "dist-info")
        contents[f"{home}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        contents[f"{home}/RECORD"] = "".join(f"{name},,\n" for name in [*contents, f"{home}/RECORD"]).encode()
        file = self.wheels / f"{distribution.replace('-', '_')}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)

    def install(self) -> None:
        """Install all wheels with pip, without an index."""
        wheels = sorted(map(str, self.wheels.glob("*.whl")))
        options = ["--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "install", *options, "--target", str(self.folder), *wheels]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``preimage`` with this folder on the path, in an empty current folder."""
        return self.python("-m", "preimage.cli", *arguments, **environment)

    def python(self, *arguments: str, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run an interpreter with this folder on the path, in an empty current folder."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREIMAGE_")}
        host = str(Path(preimage.__file__).parents[1])
        path = os.pathsep.join([str(self.folder), host])
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.cwd,
            timeout=seconds,
            env={**kept, "PYTHONPATH": path, "PYTHONWARNINGS": "default", **environment},
        )

    @staticmethod
    def _contents(
        distribution: str,
        source: str | None,
        module: str,
        version: str,
        entry_points: str | bytes | None,
        files: Mapping[str, str],
        suffix: str,
    ) -> dict[str, bytes]:
        module = module or distribution.lower().replace("-", "_").replace(".", "_")
        home = _metadata(distribution, version, suffix)
        contents = {name: content.encode() for name, content in files.items()}
        if source is not None:
            contents[f"{module}.py"] = source.encode()
        if entry_points is None:
            entry_points = f"[preimage.plugins]\nmain = {module}\n"
        lines = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
        description = "METADATA" if suffix == "dist-info" else "PKG-INFO"
        contents[f"{home}/{description}"] = (
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n".encode()
        )
        contents[f"{home}/entry_points.txt"] = lines
        return contents


def _metadata(distribution: str, version: str, suffix: str) -> str:
    stem = distribution.replace("-", "_")
    return f"{stem}-{version}.{suffix}" if version else f"{stem}.{suffix}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder on the import path of this process; what is imported from it is forgotten afterwards."""
    site = Site(tmp_path)
    monkeypatch.syspath_prepend(str(site.folder))
    # A test before this one may have imported a plugin of ours; a stand-in of the same name must be found instead.
    for name in [name for name in sys.modules if name.startswith("preimage_")]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and origin.startswith(str(site.folder)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def make_site() -> type[Site]:
    """The class, for fixtures that outlive a test."""
    return Site
