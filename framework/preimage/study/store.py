"""A study's folder: a SQLite file with one row a run, and the pictures beside it.

A record is committed as its run ends, after its pictures have been written, so that a kill costs at most the runs that
were under way. One process writes at a time; any number may read meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from preimage.errors import InputError, StorageError
from preimage.study.record import Key, Record
from preimage.study.spec import Spec

__all__ = ["FILE", "Store", "writing"]

FILE = "study.sqlite"
"""The name of the SQLite file in a study's folder."""

VERSION = 1
"""Of the tables; kept in SQLite's own ``user_version``."""

_SCHEMA = f"""
BEGIN;
CREATE TABLE spec (data TEXT NOT NULL);
CREATE TABLE records (
    recipe TEXT NOT NULL, image TEXT NOT NULL, seed INTEGER NOT NULL,
    status TEXT NOT NULL, text TEXT NOT NULL, loss REAL, data TEXT NOT NULL,
    PRIMARY KEY (recipe, image, seed)
);
PRAGMA user_version = {VERSION};
"""


class Store:
    """The records of one study. Made by `create` or `open`; closes as a context manager.

    Attributes:
        folder: where everything of the study is.
        spec: what the study is to run.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, spec: Spec, lock: IO[str] | None) -> None:
        self.folder = folder
        self.spec = spec
        self._connection = connection
        self._lock = lock

    @staticmethod
    def exists(folder: str | os.PathLike[str]) -> bool:
        """Tell whether a study has been begun in `folder`."""
        return (Path(folder) / FILE).is_file()

    @classmethod
    def create(cls, folder: str | os.PathLike[str], spec: Spec) -> Store:
        """Begin a study in `folder`, ready to be written.

        Raises:
            InputError: there is one already, or another process is writing there.
            StorageError: the folder cannot be written to.
        """
        folder = Path(folder)
        if cls.exists(folder):
            message = f"{folder} holds a study already: name another folder, or go on with that one."
            raise InputError(message)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = _locked(folder)
            # Under another name until it is whole: a kill in between leaves no half-made study.
            temporary = folder / f".{FILE}"
            temporary.unlink(missing_ok=True)
            connection = sqlite3.connect(temporary, isolation_level=None)
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO spec VALUES (?)", (spec.to_json(folder),))
            connection.execute("COMMIT")
            connection.close()
            temporary.replace(folder / FILE)
        return cls(folder, _connected(folder), spec, lock)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, readonly: bool = True) -> Store:
        """Open the study in `folder`, for reading unless `readonly` is false.

        Raises:
            InputError: there is none, it was written by another version, or another process is writing there.
        """
        folder = Path(folder)
        if not cls.exists(folder):
            message = f"{folder} holds no study: give the folder that `preimage compare … --out` has written."
            raise InputError(message)
        lock = None if readonly else _locked(folder)
        connection = _connected(folder, readonly=readonly)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                message = (
                    f"The study in {folder} has tables of version {version}, and this version of Preimage reads "
                    f"{VERSION}: read it with the version that wrote it."
                )
                raise InputError(message)
            (data,) = connection.execute("SELECT data FROM spec").fetchone()
        except sqlite3.DatabaseError as error:
            message = f"{folder / FILE} is not a study ({error}): restore the file or begin a new study."
            raise InputError(message) from error
        return cls(folder, connection, Spec.from_json(data, folder), lock)

    @property
    def pictures(self) -> Path:
        """Where the regenerated pictures are."""
        return self.folder / "pictures"

    def records(self) -> list[Record]:
        """Return all records in the order of `Spec.keys`."""
        rows = self._connection.execute("SELECT data FROM records").fetchall()
        found = {record.key: record for record in (Record.from_json(data) for (data,) in rows)}
        return [found[key] for key in self.spec.keys() if key in found]  # noqa: SIM118

    def done(self, *, failed: bool = True) -> set[Key]:
        """Return which runs have a record; with `failed` false, one that did not fail."""
        found = self._connection.execute("SELECT recipe, image, seed, status FROM records")
        return {Key(*key) for *key, status in found if failed or status != "failed"}

    def add(self, record: Record, files: Mapping[str, bytes] | None = None) -> bool:
        """Keep a record with its pictures and return True; return False where its run has one already.

        The record of a run that failed makes room for the next one.

        Arguments:
            record: of a run that has ended.
            files: encoded pictures by their paths, relative to the folder.

        Raises:
            StorageError: there is no room, or the folder cannot be written to any more.
        """
        with writing(self.folder):
            key = record.key
            found = "SELECT 1 FROM records WHERE (recipe, image, seed) = (?, ?, ?) AND status != 'failed'"
            if self._connection.execute(found, (key.recipe, key.image, key.seed)).fetchone():
                return False
            for name, data in (files or {}).items():
                _write(self.folder / name, data)
            row = (key.recipe, key.image, key.seed, record.status, record.text, record.loss, record.to_json())
            self._connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def begin_anew(self, spec: Spec) -> None:
        """Make it another study, where nothing has been run of the one that it was to be."""
        assert not self.done()
        with writing(self.folder):
            self._connection.execute("UPDATE spec SET data = ?", (spec.to_json(self.folder),))
        self.spec = spec

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _connected(folder: Path, *, readonly: bool = False) -> sqlite3.Connection:
    # Without a transaction of Python's own: each statement is committed as it is carried out.
    connection = sqlite3.connect(folder / FILE, isolation_level=None, timeout=30)
    if not readonly:
        with writing(folder):
            connection.execute("PRAGMA journal_mode = WAL")
            # A record that was announced survives a power cut, too.
            connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn whatever a full disk or a lost folder raises into one sentence."""
    try:
        yield
    except StorageError:
        raise
    except (sqlite3.OperationalError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = (
            f"The study cannot be written to {folder} ({reason}): make room there, then run the same command again. "
            "Every run that had ended is kept."
        )
        raise StorageError(message) from error


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    temporary.replace(path)


def _locked(folder: Path) -> IO[str]:
    """Return a file that nobody else holds; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: another process is writing to the study.
    """
    file = (folder / ".lock").open("w")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        message = f"Another process is running the study in {folder}: wait for it, or stop it first."
        raise InputError(message) from error
    return file
