"""The t-product and what is built on it, against the definition by circulant matrices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from preimage.errors import InputError
from preimage_fuse import tensor_algebra
from preimage_fuse.tensor_algebra import t_lstsq, t_pinv, t_product, t_transpose

DEPTHS = range(1, 7)
KINDS = ("full rank", "rank-deficient", "zero slice", "equal slices", "all zero")


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def of_kind(kind: str, rows: int, columns: int, depth: int, seed: int) -> Tensor:
    x = tensor(rows, columns, depth, seed=seed)
    if kind == "rank-deficient":
        return t_product(tensor(rows, 1, depth, seed=seed), tensor(1, columns, depth, seed=seed + 1))
    if kind == "zero slice":
        return x * (torch.arange(depth) != seed % depth)
    if kind == "equal slices":
        return x[..., :1].expand(-1, -1, depth).clone()
    return x * (kind != "all zero")


def circulant(x: Tensor) -> Tensor:
    """The slow, obvious way: the matrix, (p n, q n), that multiplies by ``x (p, q, n)``."""
    depth = x.shape[-1]
    return torch.cat([torch.cat([x[..., (s - k) % depth] for k in range(depth)], dim=1) for s in range(depth)])


def unfolded(y: Tensor) -> Tensor:
    """The slices under each other, (q n, m)."""
    return torch.cat(list(y.unbind(-1)))


def folded(matrix: Tensor, depth: int) -> Tensor:
    return torch.stack(list(matrix.chunk(depth)), dim=-1)


def identity(size: int, depth: int) -> Tensor:
    unit = torch.zeros(size, size, depth, dtype=torch.float64)
    unit[..., 0] = torch.eye(size)
    return unit


class Sizes(TorchDispatchMode):
    """Notes how large the largest tensor is that anything returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        answer = function(*arguments, **(options or {}))
        for part in answer if isinstance(answer, tuple | list) else [answer]:
            if isinstance(part, Tensor):
                self.largest = max(self.largest, part.numel() * part.element_size())
        return answer


class TestProduct:
    @pytest.mark.parametrize("depth", DEPTHS)
    def test_equals_the_circulant_definition(self, depth: int) -> None:
        """The product is that of the block-circulant matrix with the unfolded tensor."""
        x, y = tensor(4, 3, depth), tensor(3, 5, depth, seed=1)

        assert torch.allclose(t_product(x, y), folded(circulant(x) @ unfolded(y), depth), atol=1e-12)

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_equals_the_sum_over_slices(self, depth: int) -> None:
        """The product is the circular convolution of the slices."""
        x, y = tensor(2, 3, depth), tensor(3, 2, depth, seed=1)
        expected = torch.stack(
            [sum(x[..., k] @ y[..., (s - k) % depth] for k in range(depth)) for s in range(depth)], dim=-1
        )

        assert torch.allclose(t_product(x, y), expected, atol=1e-12)

    def test_one_slice_is_a_matrix(self) -> None:
        """With one slice all operations are those of matrices."""
        x, y = tensor(5, 3, 1), tensor(3, 4, 1, seed=1)

        assert torch.allclose(t_product(x, y)[..., 0], x[..., 0] @ y[..., 0])
        assert torch.equal(t_transpose(x)[..., 0], x[..., 0].T)
        assert torch.allclose(t_pinv(x)[..., 0], torch.linalg.pinv(x[..., 0]))
        solution = torch.linalg.lstsq(x[..., 0], tensor(5, 2)).solution
        assert torch.allclose(t_lstsq(x, tensor(5, 2).unsqueeze(-1))[..., 0], solution)

    def test_batches_equal_single_ones(self) -> None:
        """Leading axes are batch axes, broadcast against each other."""
        x, y = tensor(2, 3, 4, 2, 5), tensor(3, 2, 4, 5, seed=1)
        product, inverse = t_product(x, y), t_pinv(x)
        solution = t_lstsq(x, tensor(2, 3, 4, 1, 5), ridge=0.1)

        for one in range(2):
            for two in range(3):
                assert torch.allclose(product[one, two], t_product(x[one, two], y[two]))
                assert torch.allclose(inverse[one, two], t_pinv(x[one, two]))
                single = t_lstsq(x[one, two], tensor(2, 3, 4, 1, 5)[one, two], ridge=0.1)
                assert torch.allclose(solution[one, two], single)

    def test_is_associative(self) -> None:
        """The order of two products does not matter."""
        x, y, z = tensor(2, 3, 4), tensor(3, 4, 4, seed=1), tensor(4, 2, 4, seed=2)

        assert torch.allclose(t_product(t_product(x, y), z), t_product(x, t_product(y, z)), atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_f10_dtype_is_kept(self, dtype: torch.dtype) -> None:
        """Nothing forces single precision, and half precision works on the CPU."""
        x, y = tensor(3, 2, 3).to(dtype), tensor(2, 3, 3, seed=1).to(dtype)

        for answer in (t_product(x, y), t_transpose(x), t_pinv(x), t_lstsq(x, x, ridge=0.1)):
            assert answer.dtype == dtype
        assert torch.allclose(t_product(x, y).double(), t_product(x.double(), y.double()), rtol=0.05, atol=0.05)

    def test_f10_device_is_kept(self) -> None:
        """Tensors stay on their device: on one without memory nothing is copied to another."""
        x, y = torch.empty(3, 2, 3, device="meta"), torch.empty(2, 3, 3, device="meta")

        assert t_product(x, y).device == x.device
        assert t_product(x, y).shape == (3, 3, 3)
        assert t_transpose(x).device == x.device

    def test_arguments_are_left_alone(self) -> None:
        """Nothing is changed in place."""
        x, y = tensor(4, 2, 3), tensor(4, 3, 3, seed=1)
        before = x.clone(), y.clone()
        t_product(t_transpose(x), y)
        t_pinv(x)
        t_lstsq(x, y, ridge=1.0)

        assert torch.equal(x, before[0])
        assert torch.equal(y, before[1])


class TestTranspose:
    @settings(max_examples=60, deadline=None)
    @given(depth=st.integers(1, 6), sizes=st.tuples(*[st.integers(1, 6)] * 3), seed=st.integers(0, 999))
    def test_adjoint_identity(self, depth: int, sizes: tuple[int, int, int], seed: int) -> None:
        """<x * w, g> = <x, g * transpose(w)> to 1e-9."""
        rows, columns, out = sizes
        x, w = tensor(rows, columns, depth, seed=seed), tensor(columns, out, depth, seed=seed + 1)
        g = tensor(rows, out, depth, seed=seed + 2)

        assert abs(float((t_product(x, w) * g).sum() - (x * t_product(g, t_transpose(w))).sum())) < 1e-9

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_is_that_of_the_circulant_matrix(self, depth: int) -> None:
        """The transpose of the circulant matrix belongs to the t-transpose."""
        x = tensor(4, 3, depth)

        assert torch.equal(circulant(t_transpose(x)), circulant(x).T)
        assert torch.equal(t_transpose(t_transpose(x)), x)

    @pytest.mark.parametrize("depth", [3, 4])
    def test_f02_order_of_the_slices_is_reversed(self, depth: int) -> None:
        """Transposing each slice alone is no adjoint beyond two slices, and is not what is done."""
        x, w, g = tensor(5, 4, depth), tensor(4, 3, depth, seed=1), tensor(5, 3, depth, seed=2)
        plain = w.transpose(0, 1)
        forward = (t_product(x, w) * g).sum()

        assert not torch.isclose(forward, (x * t_product(g, plain)).sum(), rtol=1e-3)
        assert torch.isclose(forward, (x * t_product(g, t_transpose(w))).sum())


class TestPinv:
    @settings(max_examples=80, deadline=None)
    @given(
        kind=st.sampled_from(KINDS),
        depth=st.integers(1, 6),
        rows=st.integers(1, 7),
        columns=st.integers(1, 7),
        seed=st.integers(0, 999),
    )
    def test_penrose_conditions(self, kind: str, depth: int, rows: int, columns: int, seed: int) -> None:
        """All four hold to 1e-9, relative to the tensors, for every kind of tensor."""
        x = of_kind(kind, rows, columns, depth, seed)
        inverse = t_pinv(x)
        left, right = t_product(x, inverse), t_product(inverse, x)
        scale = 1 + float(inverse.abs().max())

        assert float((t_product(left, x) - x).abs().max()) < 1e-9 * scale
        assert float((t_product(right, inverse) - inverse).abs().max()) < 1e-9 * scale**2
        assert float((t_transpose(left) - left).abs().max()) < 1e-9 * scale
        assert float((t_transpose(right) - right).abs().max()) < 1e-9 * scale

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("depth", DEPTHS)
    def test_equals_that_of_the_circulant_matrix(self, kind: str, depth: int) -> None:
        """The circulant matrix of the inverse is the inverse of the circulant matrix."""
        x = of_kind(kind, 5, 3, depth, seed=3)

        assert torch.allclose(circulant(t_pinv(x)), torch.linalg.pinv(circulant(x), rtol=1e-12), atol=1e-9)

    def test_f08_zero_slice_is_no_special_case(self) -> None:
        """A tensor with an all-zero slice is inverted like any other: x * x⁺ * x = x."""
        for zero in range(4):
            x = tensor(6, 3, 4) * (torch.arange(4) != zero)

            assert torch.allclose(t_product(t_product(x, t_pinv(x)), x), x, atol=1e-9)

    def test_rounding_noise_is_not_inverted(self) -> None:
        """A Fourier slice that is zero but for rounding stays zero: the threshold is the tensor's, not the slice's."""
        x = tensor(5, 3, 1).expand(-1, -1, 4) / 3

        assert float(t_pinv(x).abs().max()) < 100

    def test_nothing(self) -> None:
        """A tensor without rows has an inverse without columns."""
        assert t_pinv(torch.empty(0, 3, 2)).shape == (3, 0, 2)


class TestLeastSquares:
    @pytest.mark.parametrize("depth", DEPTHS)
    @pytest.mark.parametrize("rows", [9, 3])
    def test_equals_the_circulant_definition(self, rows: int, depth: int) -> None:
        """It is the ridge regression on the circulant matrix, with more rows than columns and with fewer."""
        x, y = tensor(rows, 4, depth), tensor(rows, 5, depth, seed=1)
        matrix = circulant(x)
        gram = matrix.T @ matrix + 0.3 * torch.eye(4 * depth)
        expected = folded(torch.linalg.solve(gram, matrix.T @ unfolded(y)), depth)

        assert torch.allclose(t_lstsq(x, y, ridge=0.3), expected, atol=1e-10)

    @pytest.mark.parametrize("kind", KINDS)
    def test_without_a_ridge_it_has_the_smallest_norm(self, kind: str) -> None:
        """For every rank it is the solution of the circulant matrix's pseudo-inverse."""
        x, y = of_kind(kind, 6, 4, 3, seed=5), tensor(6, 2, 3, seed=6)
        expected = folded(torch.linalg.pinv(circulant(x), rtol=1e-12) @ unfolded(y), 3)

        assert torch.allclose(t_lstsq(x, y), expected, atol=1e-9)

    def test_small_ridge_approaches_it(self) -> None:
        """The normal equations and the pseudo-inverse agree where the ridge is negligible."""
        x, y = tensor(40, 5, 4), tensor(40, 3, 4, seed=1)

        assert torch.allclose(t_lstsq(x, y, ridge=1e-9), t_lstsq(x, y), atol=1e-8)

    @pytest.mark.parametrize("ridge", [0.3, 0.0])
    @pytest.mark.parametrize(
        ("rows", "depth", "observed"), [(40, 3, 1), (40, 4, 3), (40, 4, 2), (5, 4, 2), (5, 3, 1), (9, 3, 3)]
    )
    def test_only_observed_slices_count(self, rows: int, depth: int, observed: int, ridge: float) -> None:
        """It is the regression on those rows of the circulant matrix that make observed slices."""
        x, y = tensor(rows, 4, depth), tensor(rows, 2, depth, seed=1)
        matrix, known = circulant(x)[: rows * observed], unfolded(y)[: rows * observed]
        if ridge:
            expected = torch.linalg.solve(matrix.T @ matrix + ridge * torch.eye(4 * depth), matrix.T @ known)
        else:
            expected = torch.linalg.pinv(matrix) @ known
        y[..., observed:] = torch.nan if observed < depth else 0.0

        assert torch.allclose(t_lstsq(x, y, ridge=ridge, observed=observed), folded(expected, depth), atol=1e-9)

    def test_observed_slices_in_a_batch(self) -> None:
        """A batch with unobserved slices equals its members."""
        for rows, ridge in ((30, 0.3), (3, 0.3), (30, 0.0)):
            x, y = tensor(2, rows, 4, 3), tensor(2, rows, 2, 3, seed=1)
            together = t_lstsq(x, y, ridge=ridge, observed=2)
            for one in range(2):
                assert torch.allclose(together[one], t_lstsq(x[one], y[one], ridge=ridge, observed=2), atol=1e-10)

    def test_recovers_the_map(self) -> None:
        """Where the rows were made by a map, that map is found."""
        x, w = tensor(30, 4, 3), tensor(4, 5, 3, seed=1)

        assert torch.allclose(t_lstsq(x, t_product(x, w), ridge=1e-10), w, atol=1e-8)

    def test_rows_in_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Adding the equations up piece by piece changes nothing."""
        x, y = tensor(23, 4, 4), tensor(23, 2, 4, seed=1)
        whole = t_lstsq(x, y, ridge=0.1)
        monkeypatch.setattr(tensor_algebra, "_ROWS", 5)

        assert torch.allclose(t_lstsq(x, y, ridge=0.1), whole, atol=1e-12)

    def test_ridge_lost_in_rounding(self) -> None:
        """A ridge too small for the numbers gives a solution all the same."""
        x = torch.ones(4, 2, 2, dtype=torch.float64) * 1e8

        solution = t_lstsq(x, x, ridge=1e-12)

        assert solution.isfinite().all()
        assert torch.allclose(t_product(x, solution), x)

    def test_computed_in_double_precision(self) -> None:
        """Single precision can be solved in double: ill-conditioned rows come out better."""
        x = tensor(50, 4, 2) * torch.tensor([1.0, 1e-2, 1e-3, 1e-4]).view(1, 4, 1)
        w = tensor(4, 3, 2, seed=1)
        single = x.float(), t_product(x, w).float()
        exact = t_lstsq(single[0].double(), single[1].double(), ridge=1e-12)

        assert t_lstsq(*single, ridge=1e-12, dtype=torch.float64).dtype == torch.float32
        assert torch.allclose(t_lstsq(*single, ridge=1e-12, dtype=torch.float64).double(), exact, rtol=1e-5, atol=1e-5)

    def test_f09_no_circulant_matrix_is_built(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No step holds a tensor larger than the input: not n times as large, let alone n² times."""
        monkeypatch.setattr(tensor_algebra, "_ROWS", 64)
        x, y = tensor(512, 24, 6), tensor(512, 12, 6, seed=1)
        with Sizes() as sizes:
            t_lstsq(x, y, ridge=0.1)

        assert sizes.largest <= x.numel() * x.element_size()


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "y", "words"),
        [
            (torch.zeros(2, 3), torch.zeros(3, 2), "add axes"),
            (torch.zeros(2, 3, 2), torch.zeros(3, 2, 3), "not equally deep: pad one with zeros"),
            (torch.zeros(2, 3, 2), torch.zeros(2, 2, 2), "columns of the first and rows of the second"),
            (torch.zeros(2, 3, 0), torch.zeros(3, 2, 0), "add axes"),
            (torch.zeros(2, 3, 1) + 0j, torch.zeros(3, 2, 1), "about real tensors"),
        ],
    )
    def test_shapes(self, x: Tensor, y: Tensor, words: str) -> None:
        """What does not fit is refused in a sentence with the shapes."""
        with pytest.raises(InputError, match=words):
            t_product(x, y)

    def test_least_squares(self) -> None:
        """So are different numbers of rows, and a ridge that makes no sense."""
        with pytest.raises(InputError, match=r"\(2, 3, 2\) and \(3, 3, 2\), and the rows of both"):
            t_lstsq(torch.zeros(2, 3, 2), torch.zeros(3, 3, 2))
        with pytest.raises(InputError, match="The ridge is -1"):
            t_lstsq(torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), ridge=-1)
        with pytest.raises(InputError, match="3 of 2 slices cannot be observed"):
            t_lstsq(torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), observed=3)
