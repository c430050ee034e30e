"""Tables of pandas, polars and numpy read and written alike: named columns with the types that they came with."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError

from preimage.errors import InputError

__all__ = ["Table", "read_table", "whole_numbers"]


@attrs.frozen(eq=False)
class Table:
    """A table's columns as arrays, and what is needed to write one like it.

    Attributes:
        names: of the columns; numbers from 0 for an array that names none.
        columns: the values of each, ``(B,)``.
        types: of each column as its library writes it; one for all columns of an array.
        library: the name of the module that makes series and frames, by which a table can be pickled; None for arrays.
        levels: what ordered and unordered categories each column declares, in their order.
        ordered: which of those are ordered.
    """

    names: tuple[Any, ...]
    columns: tuple[np.ndarray, ...]
    types: tuple[Any, ...]
    library: str | None = None
    levels: Mapping[Any, tuple[Any, ...]] = attrs.field(factory=dict)
    ordered: frozenset[Any] = frozenset()

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def like(self, columns: Sequence[np.ndarray]) -> Any:
        """Return a table of the same library, names and types with other values.

        Missing cells of a column whose type has no room for them let it be of floats or of objects.
        """
        if self.library is None:
            kind = np.float64 if any(_lacks(*pair) for pair in zip(columns, self.types, strict=True)) else self.types[0]
            return np.stack([np.asarray(column, dtype=kind) for column in columns], axis=1)
        library = importlib.import_module(self.library)
        if self.library == "pandas" and all(kind == np.float64 for kind in self.types):
            return library.DataFrame(np.stack(columns, axis=1), columns=list(self.names))
        return library.DataFrame(
            {
                name: self._series(library, name, column, kind)
                for name, column, kind in zip(self.names, columns, self.types, strict=True)
            }
        )

    def _series(self, library: Any, name: Any, column: np.ndarray, kind: Any) -> Any:
        if self.library == "polars":
            cells = column.tolist() if column.dtype == object else column
            return library.Series(str(name), cells, dtype=kind, nan_to_null=whole_numbers(kind))
        series = library.Series(column, name=name)
        return series if _lacks(column, kind) else series.astype(kind)


def read_table(table: Any, names: Sequence[Any] | None = None) -> Table:
    """Return the columns of a pandas or polars frame, or of an array ``(B, C)``.

    Arguments:
        table: what to read; of a series or an array with one axis, a single row is read.
        names: of the columns of an array.

    Raises:
        InputError: it is no table.
    """
    if isinstance(table, Table):
        return table
    if hasattr(table, "to_frame") and hasattr(table, "index") and not hasattr(table, "columns"):
        table = table.to_frame().T.infer_objects()  # a row of a pandas frame
    if hasattr(table, "__dataframe__") or hasattr(table, "columns"):
        return _read_frame(table)
    try:
        array = np.asarray(table.detach().cpu() if hasattr(table, "detach") else table)
    except (TypeError, ValueError) as error:
        message = (
            f"{type(table).__name__} cannot be read as a table ({error}): give a pandas or polars frame or an array."
        )
        raise InputError(message) from error
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] == 0:
        message = f"The array has the shape {array.shape}: a table has rows and columns, (B, C)."
        raise InputError(message)
    given = tuple(range(array.shape[1])) if names is None else tuple(names)
    if len(given) != array.shape[1]:
        message = f"The array has {array.shape[1]} columns and there are {len(given)} names: give one name for each."
        raise InputError(message)
    return Table(given, tuple(array.T), (array.dtype,) * len(given))


def _read_frame(table: Any) -> Table:
    try:
        frame = nw.from_native(table, eager_only=True)
    except TypeError as error:
        message = f"{type(table).__name__} is no table that can be read ({error}): give a pandas or polars frame."
        raise InputError(message) from error
    except DuplicateError as error:
        said = " ".join(str(error).split())
        message = f"Several columns of the table have one name ({said}): rename all but one of them."
        raise InputError(message) from error
    library = nw.get_native_namespace(frame).__name__
    levels: dict[Any, tuple[Any, ...]] = {}
    ordered = set()
    columns, types = [], []
    for name in frame.columns:
        series = frame[name]
        native = series.to_native()
        if isinstance(series.dtype, nw.Enum | nw.Categorical):
            levels[name] = tuple(series.cat.get_categories().to_list())
            if isinstance(series.dtype, nw.Enum) or getattr(native.dtype, "ordered", False):
                ordered.add(name)
        types.append(native.dtype)
        columns.append(_array(series))
    return Table(tuple(frame.columns), tuple(columns), tuple(types), library, levels, frozenset(ordered))


def whole_numbers(kind: Any) -> bool:
    """Tell whether a column's type, of whichever library, has room for whole numbers alone.

    >>> whole_numbers(np.dtype("int32")), whole_numbers(np.dtype("float32"))
    (True, False)
    """
    polars = getattr(kind, "is_integer", None)
    return bool(polars()) if polars is not None else getattr(kind, "kind", "") in ("i", "u")


def _lacks(values: np.ndarray, kind: Any) -> bool:
    """Tell whether values miss some where a type has no room for missing ones."""
    if not isinstance(kind, np.dtype) or kind.kind not in "iub":
        return False
    if values.dtype == object:
        return any(value is None for value in values)
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _array(series: Any) -> np.ndarray:
    """Return the values; numbers with gaps as floats with NaN, anything else with gaps as objects with None."""
    missing = series.is_null().to_numpy()
    if (series.dtype.is_numeric() or series.dtype == nw.Boolean) and not missing.any():
        return np.asarray(series.to_numpy())
    cells = zip(series.to_list(), missing, strict=True)
    if series.dtype.is_numeric():
        return np.array([np.nan if lacks else value for value, lacks in cells], dtype=float)
    values = np.empty(len(series), dtype=object)
    values[:] = [None if lacks else value for value, lacks in cells]
    return values
