"""The t-product of Kilmer and Martin: third-order tensors multiplied as matrices of tubes.

For ``x (p, q, n)`` and ``y (q, m, n)`` the product is a circular convolution along the last axis,

    (x * y)[:, :, s] = sum over k of x[:, :, k] @ y[:, :, (s - k) mod n],

which the Fourier transform along that axis turns into ordinary products of the `n` slices. The tensors here are
real, so that half of the slices determine the rest: everything works on the real transform and never builds a
circulant matrix. Leading axes are batch axes. Results have the device and dtype of the arguments; half precision
is computed in single precision, which is also what the transforms ask for on the CPU.

Source: M. Kilmer, C. Martin, "Factorization strategies for third-order tensors", 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

from preimage.errors import InputError

__all__ = ["t_lstsq", "t_pinv", "t_product", "t_transpose"]

# Rows that are transformed at once while normal equations are added up: 2048 rows of 1024 x 4 numbers in double
# precision are 64 MiB, and their transform 96 MiB.
_ROWS = 2048


def t_product(x: Tensor, y: Tensor) -> Tensor:
    """Return the t-product, ``(..., p, m, n)``.

    Arguments:
        x: ``(..., p, q, n)``.
        y: ``(..., q, m, n)``.

    Raises:
        InputError: the shapes do not fit.

    >>> x, y = torch.ones(1, 2, 3), torch.ones(2, 1, 3)
    >>> t_product(x, y)
    tensor([[[6., 6., 6.]]])
    """
    _check(x, y, x.shape[-2:-1], y.shape[-3:-2], "columns of the first and rows of the second")
    dtype = _working(x, y)
    product = _slices(x.to(dtype)) @ _slices(y.to(dtype))
    return _tensor(product, x.shape[-1]).to(torch.promote_types(x.dtype, y.dtype))


def t_transpose(x: Tensor) -> Tensor:
    """Return the t-transpose, ``(..., q, p, n)``, of ``x (..., p, q, n)``: the adjoint under the t-product.

    Every slice is transposed and the order of the slices 2 to n is reversed. Without the reversal it is the
    adjoint for n up to 2 only.

    >>> t_transpose(torch.arange(3.0).view(1, 1, 3))
    tensor([[[0., 2., 1.]]])
    """
    _check(x, x, (), (), "")
    return torch.cat([x[..., :1], x[..., 1:].flip(-1)], dim=-1).transpose(-3, -2)


def t_pinv(x: Tensor, *, rtol: float | None = None) -> Tensor:
    """Return the t-pseudo-inverse, ``(..., q, p, n)``, of ``x (..., p, q, n)``.

    It is the only tensor that meets the four conditions of Moore and Penrose under the t-product and the
    t-transpose. Zero slices need no special care: the transform mixes the slices, so that leaving one out before
    and putting it back after inversion would give something else.

    Arguments:
        x: the tensor.
        rtol: singular values below this share of the tensor's largest count as zero; ``max(p, q) * n`` times the
            precision of the dtype unless given. One threshold holds for all Fourier slices: a slice that should
            be zero is rounding noise, whose own largest value says nothing.

    >>> x = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).unsqueeze(-1)
    >>> t_pinv(x).squeeze(-1)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    _check(x, x, (), (), "")
    dtype = _working(x, x)
    if 0 in x.shape:
        return x.transpose(-3, -2)
    left, values, right = torch.linalg.svd(_slices(x.to(dtype)), full_matrices=False)
    if rtol is None:
        rtol = max(x.shape[-3:-1]) * x.shape[-1] * torch.finfo(dtype).eps
    largest = values.amax(dim=(-2, -1), keepdim=True)
    inverse = torch.where(values > rtol * largest, values.reciprocal(), 0.0)
    product = (right.mH * inverse.unsqueeze(-2).to(right.dtype)) @ left.mH
    return _tensor(product, x.shape[-1]).to(x.dtype)


def t_lstsq(
    x: Tensor, y: Tensor, *, ridge: float = 0.0, observed: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the tensor ``w (..., q, m, n)`` for which ``x * w`` is nearest to `y`.

    It minimises ``|x * w - y|² + ridge |w|²``. For each slice k of the transforms it solves

        (X_kᴴ X_k + ridge I) W_k = X_kᴴ Y_k,

    or the equal system of the size of the rows where there are fewer rows
    than columns. Rows are transformed some thousand at a time, so that memory holds `x` and `y` and little more.
    With ``ridge=0`` the answer is ``pinv(x) * y``, the solution of the smallest norm, which takes a singular value
    decomposition: exact for any rank, and slower.

    Where only the first `observed` slices of `y` are known, the others may become what they like. The transform
    mixes known and unknown slices, so that all blocks of `w` are found together, by equations of size ``q n``.

    Arguments:
        x: ``(..., p, q, n)``, the rows to map.
        y: ``(..., p, m, n)``, what they should become.
        ridge: what is added to the diagonals.
        observed: how many slices of `y` count; all unless given.
        dtype: what it is computed in; that of the arguments, but at least single precision, unless given.

    Raises:
        InputError: the shapes do not fit, `ridge` is negative, or no slice is observed.

    >>> x = torch.eye(3).unsqueeze(-1)
    >>> torch.allclose(t_lstsq(x, 2 * x, ridge=1.0), x)
    True
    """
    _check(x, y, x.shape[-3:-2], y.shape[-3:-2], "rows of both")
    if not ridge >= 0:
        message = f"The ridge is {ridge}, and a negative one would reward large maps: give 0 or more."
        raise InputError(message)
    if observed is not None and not 1 <= observed <= x.shape[-1]:
        message = f"{observed} of {x.shape[-1]} slices cannot be observed: give a number from 1 to {x.shape[-1]}."
        raise InputError(message)
    answer = torch.promote_types(x.dtype, y.dtype)
    working = _working(x, y) if dtype is None else dtype
    if observed not in (None, x.shape[-1]):
        return _solve_observed(x, y[..., :observed], ridge, working).to(answer)
    if ridge == 0:
        return t_product(t_pinv(x.to(working)), y.to(working)).to(answer)
    solve = _solve_by_rows if x.shape[-3] < x.shape[-2] else _solve_by_columns
    return _tensor(solve(x, y, ridge, working), x.shape[-1]).to(answer)


def _solve_by_columns(x: Tensor, y: Tensor, ridge: float, dtype: torch.dtype) -> Tensor:
    """Return the Fourier slices of the solution, ``(..., k, q, m)``, by equations of size q."""
    columns, depth = x.shape[-2:]
    grams: list[Tensor] = []
    sides: list[Tensor] = []
    for start in range(0, x.shape[-3], _ROWS):
        rows = slice(start, start + _ROWS)
        left, right = _slices(x[..., rows, :, :].to(dtype)), _slices(y[..., rows, :, :].to(dtype))
        for k in range(depth // 2 + 1):
            a, b = left[..., k, :, :], right[..., k, :, :]
            if 2 * k % depth == 0:  # these slices of a real transform are real, and four times cheaper so
                a, b = a.real.contiguous(), b.real.contiguous()
            gram, side = a.mH @ a, a.mH @ b
            if start == 0:
                grams.append(gram)
                sides.append(side)
            else:
                grams[k] += gram
                sides[k] += side
    identity = torch.eye(columns, dtype=dtype, device=x.device)
    solved = [_solve(gram + ridge * identity, side) for gram, side in zip(grams, sides, strict=True)]
    return torch.stack([slice_ + 0j for slice_ in solved], dim=-3)


def _solve_by_rows(x: Tensor, y: Tensor, ridge: float, dtype: torch.dtype) -> Tensor:
    """Return the Fourier slices of the solution, ``(..., k, q, m)``, by equations of size p."""
    left, right = _slices(x.to(dtype)), _slices(y.to(dtype))
    identity = torch.eye(x.shape[-3], dtype=dtype, device=x.device)
    solved: Tensor = left.mH @ _solve(left @ left.mH + ridge * identity, right)
    return solved


def _solve_observed(x: Tensor, y: Tensor, ridge: float, dtype: torch.dtype) -> Tensor:
    """Return the solution, ``(..., q, m, n)``, where `y` holds the observed slices only, ``(..., p, m, j)``.

    Slice t of ``x * w`` is ``[x_(t-r) for r in 0..n-1] @ [w_r]``, so that the equations consist of the products of
    the slices of `x` with each other and with those of `y`, moved around and added up over t.
    """
    columns, depth = x.shape[-2:]
    observed = y.shape[-1]
    left = torch.cat([x[..., s].to(dtype) for s in range(depth)], dim=-1)
    right = torch.cat([y[..., t].to(dtype) for t in range(observed)], dim=-1)
    if ridge == 0 or x.shape[-3] * observed < columns * depth:
        return _solve_designed(left, right, ridge, depth, observed)
    products = (left.mT @ left).unflatten(-2, (depth, columns)).unflatten(-1, (depth, columns))
    sides = (left.mT @ right).unflatten(-2, (depth, columns)).unflatten(-1, (observed, -1))
    gram, side = torch.zeros_like(products), torch.zeros_like(sides[..., 0, :])
    for t in range(observed):
        moved = torch.tensor([(t - r) % depth for r in range(depth)], device=x.device)
        gram += products.index_select(-4, moved).index_select(-2, moved)
        side += sides[..., t, :].index_select(-3, moved)
    matrix = gram.flatten(-4, -3).flatten(-2)
    matrix.diagonal(dim1=-2, dim2=-1).add_(ridge)
    return _unstacked(_solve(matrix, side.flatten(-3, -2)), depth)


def _solve_designed(left: Tensor, right: Tensor, ridge: float, depth: int, observed: int) -> Tensor:
    """Return the solution by the matrix whose rows are the words' observed slices: for few of them, or no ridge."""
    slices = left.unflatten(-1, (depth, -1))
    rows = [slices[..., [(t - r) % depth for r in range(depth)], :].flatten(-2) for t in range(observed)]
    design, sides = torch.cat(rows, dim=-2), torch.cat(right.unflatten(-1, (observed, -1)).unbind(-2), dim=-2)
    if ridge == 0:
        return _unstacked(torch.linalg.pinv(design) @ sides, depth)
    matrix = design @ design.mT
    matrix.diagonal(dim1=-2, dim2=-1).add_(ridge)
    return _unstacked(design.mT @ _solve(matrix, sides), depth)


def _unstacked(blocks: Tensor, depth: int) -> Tensor:
    """Return blocks under each other, ``(..., n q, m)``, as a tensor, ``(..., q, m, n)``."""
    return torch.stack(blocks.chunk(depth, dim=-2), dim=-1)


def _solve(positive: Tensor, right: Tensor) -> Tensor:
    factor, failures = torch.linalg.cholesky_ex(positive)
    if failures.any():
        # The ridge is lost in rounding: what is left is the solution of the smallest norm.
        smallest: Tensor = torch.linalg.pinv(positive, hermitian=True) @ right
        return smallest
    return torch.cholesky_solve(right, factor)


def _slices(x: Tensor) -> Tensor:
    """Return the first half of the Fourier slices, ``(..., n // 2 + 1, p, q)``."""
    slices: Tensor = torch.fft.rfft(x, dim=-1)
    return slices.movedim(-1, -3).contiguous()


def _tensor(slices: Tensor, depth: int) -> Tensor:
    """Return the tensor, ``(..., p, q, n)``, of such slices."""
    tensor: Tensor = torch.fft.irfft(slices.movedim(-3, -1), n=depth, dim=-1)
    return tensor


def _working(x: Tensor, y: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)


def _check(x: Tensor, y: Tensor, one: tuple[int, ...], other: tuple[int, ...], what: str) -> None:
    """Raise unless both are real tensors of the third order at least, equally deep, and `one` equals `other`."""
    shapes = f"{tuple(x.shape)} and {tuple(y.shape)}" if y is not x else f"{tuple(x.shape)}"
    if min(x.ndim, y.ndim) < 3 or 0 in (x.shape[-1], y.shape[-1]):
        message = f"The t-product is about tensors (rows, columns, slices), and the shape is {shapes}: add axes."
        raise InputError(message)
    if x.is_complex() or y.is_complex():
        message = f"The t-product here is about real tensors, and the dtypes are {x.dtype} and {y.dtype}: split them."
        raise InputError(message)
    if x.shape[-1] != y.shape[-1]:
        message = f"The tensors have the shapes {shapes}, which are not equally deep: pad one with zeros."
        raise InputError(message)
    if one != other:
        message = f"The tensors have the shapes {shapes}, and the {what} must be equally many: check the order."
        raise InputError(message)
