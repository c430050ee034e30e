"""The mathematics that searches share, against slow and obvious references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, minimize

from preimage_counterfactual.diversity import select_diverse
from preimage_counterfactual.optimizers.nearest import Bowl
from preimage_counterfactual.optimizers.sparse import supports
from preimage_counterfactual.simplex import nearest_in_simplex


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bowls(n_runs, width, seed):
    root = draw(width, width, seed=seed)
    precision = (root @ root.T + 0.3 * torch.eye(width))[None]
    lower, upper = -0.5 - draw(n_runs, width, seed=seed + 1).abs(), 0.5 + draw(n_runs, width, seed=seed + 2).abs()
    lower[:, 0] = upper[:, 0] = 0.1
    return Bowl(draw(n_runs, width, seed=seed + 3), precision, torch.linalg.inv(precision), lower, upper)


@pytest.mark.parametrize("n_planes", [1, 2])
def test_the_nearest_point_is_that_of_a_constrained_solver(n_planes):
    """Bounds, held coordinates and half-spaces at once; where they leave nothing, nothing is compared."""
    compared = 0
    for seed in range(8):
        bowl = bowls(3, 5, 10 * seed)
        normals, offsets = draw(3, n_planes, 5, seed=seed + 100), -draw(3, n_planes, seed=seed + 200).abs() / 2
        found = bowl.nearest(normals, offsets)
        assert (found >= bowl.lower).all()
        assert (found <= bowl.upper).all()
        for run in range(3):
            precision, centre = bowl.precision[0].numpy(), bowl.centre[run].numpy()
            wanted, limit = normals[run].numpy(), offsets[run].numpy()
            solved = minimize(
                lambda x, precision=precision, centre=centre: (x - centre) @ precision @ (x - centre),
                np.clip(np.zeros(5), bowl.lower[run].numpy(), bowl.upper[run].numpy()),
                bounds=list(zip(bowl.lower[run].tolist(), bowl.upper[run].tolist(), strict=True)),
                constraints={"type": "ineq", "fun": lambda x, w=wanted, t=limit: t - w @ x},
                method="SLSQP",
                options={"ftol": 1e-14, "maxiter": 500},
            )
            if solved.success:
                compared += 1
                np.testing.assert_allclose(found[run].numpy(), solved.x, atol=1e-4)
    assert compared >= 15


def alike(n_runs, width, n_planes, seed):
    """Coordinates that nearly move as one, within narrow bounds, and half-spaces of which one is there twice."""
    root = draw(width, 2, seed=seed)
    covariance = (root @ root.T + 0.02 * torch.eye(width))[None]
    centre, room = 0.3 * draw(n_runs, width, seed=seed + 1), draw(n_runs, width, seed=seed + 2).abs()
    bowl = Bowl(centre, torch.linalg.inv(covariance), covariance, centre.clamp_max(0) - room, centre + 0.2 * room)
    normals = draw(n_runs, n_planes, width, seed=seed + 3)
    normals[:, -1] = 2 * normals[:, 0]
    corner = torch.where(normals[:, 0] > 0, bowl.lower, bowl.upper)
    inside = corner + 0.3 * (bowl.lower + bowl.upper - 2 * corner)
    return bowl, normals, (normals @ inside[:, :, None])[:, :, 0]


def test_many_bounds_at_once_are_solved_in_few_rounds(monkeypatch):
    """Where most coordinates end at bounds, all that is wrong is turned at once; the conditions of the optimum hold."""
    rounds = []
    solve = Bowl._solve
    monkeypatch.setattr(Bowl, "_solve", lambda self, *given: rounds.append(len(self.centre)) or solve(self, *given))
    for seed in range(5):
        bowl, normals, offsets = alike(20, 40, 4, 10 * seed)
        offsets[:, 1] = torch.inf
        rounds.clear()
        found = bowl.nearest(normals, offsets)
        assert len(rounds) <= 25
        assert sum(rounds) <= 12 * len(found)
        lower, upper = found == bowl.lower, found == bowl.upper
        assert (lower | upper).double().mean() > 0.2
        gap = offsets - (normals @ found[:, :, None])[:, :, 0]
        assert (gap > -1e-8).all()
        # The slope of the cost is a sum of pushes: of half-spaces that are met, and of bounds, each inwards.
        slope = (found - bowl.centre) @ bowl.precision[0]
        for run in range(len(found)):
            sides = torch.eye(40).double()
            pushes = torch.cat([-normals[run][gap[run] < 1e-7], sides[lower[run]], -sides[upper[run]]])
            left = lsq_linear(pushes.T.numpy(), slope[run].numpy(), (0, np.inf), method="bvls", tol=1e-14).cost
            assert left < 1e-12 * (1 + float(slope[run].square().sum()))


def test_where_a_half_space_is_out_of_reach_the_answer_goes_as_far_as_bounds_let_it():
    """Whatever the cost, the row is in the corner; a plane without a slope changes nothing."""
    bowl, normals, _ = alike(10, 12, 2, 3)
    normal = normals[:, :1]
    corner = torch.where(normal[:, 0] > 0, bowl.lower, bowl.upper)
    far = (normal[:, 0] * corner).sum(dim=1) - 1.0
    torch.testing.assert_close(bowl.nearest(normal, far[:, None]), corner)
    flat = torch.cat([normal, torch.zeros_like(normal)], dim=1)
    torch.testing.assert_close(bowl.nearest(flat, torch.stack([far, far - 9], dim=1)), corner)


def test_without_bounds_it_is_the_closed_form():
    """It is c - C w (w c - t) / (w C w): the step is along C w, so that correlated columns move together."""
    bowl = bowls(4, 3, 7)
    wide = Bowl(bowl.centre, bowl.precision, bowl.covariance, bowl.lower - 100, bowl.upper + 100)
    normal, offset = draw(4, 3, seed=5), draw(4, seed=6)
    offset = torch.minimum(offset, (normal * bowl.centre).sum(dim=1))
    step = normal @ bowl.covariance[0]
    share = ((normal * bowl.centre).sum(dim=1) - offset) / (normal * step).sum(dim=1)
    torch.testing.assert_close(wide.nearest(normal[:, None], offset[:, None]), bowl.centre - step * share[:, None])


def test_duplicated_columns_move_together():
    """A pseudo-inverse makes the way between them free; nobody walks there."""
    data = draw(200, 2)
    data = torch.cat([data, data[:, :1]], dim=1)
    covariance = torch.cov(data.T)[None]
    precision = torch.linalg.pinv(covariance, hermitian=True)

    class Space:
        quadratic = type("Form", (), {"centre": torch.zeros(1, 3).double()})()
        groups = ()
        reference = torch.zeros(1, 3).double()
        anchor = reference
        free = torch.tensor([[True, True, True]])
        lower, upper = torch.full((1, 3), -0.5).double(), torch.full((1, 3), 9.0).double()

        class reach:  # noqa: N801
            @staticmethod
            def pull_back(gradient):
                return gradient

    Space.quadratic.precision, Space.quadratic.covariance = precision, covariance
    found = Bowl.of(Space).nearest(torch.tensor([[[1.0, 0.0, 0.0]]]).double(), torch.tensor([[-0.4]]).double())
    assert found[0, 0] == pytest.approx(-0.4)
    assert found[0, 2] == pytest.approx(-0.4, abs=1e-3)


def test_the_simplex_is_met_where_it_is_nearest():
    """Against a constrained solver, with levels that are not permitted."""
    points = draw(6, 4)
    lower, upper = torch.zeros(6, 4).double(), torch.ones(6, 4).double()
    upper[:3, 1] = 0
    found = nearest_in_simplex(points, lower, upper)
    for row in range(6):
        solved = minimize(
            lambda x, row=row: ((x - points[row].numpy()) ** 2).sum(),
            np.full(4, 0.25),
            bounds=list(zip(lower[row].tolist(), upper[row].tolist(), strict=True)),
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            options={"ftol": 1e-15},
        )
        np.testing.assert_allclose(found[row].numpy(), solved.x, atol=1e-6)


def test_what_sums_to_one_is_nearest_to_itself():
    """To the last digit, and without a search, whatever the other rows of the batch are."""
    points = torch.cat([torch.eye(4).double(), draw(3, 4), torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)])
    lower, upper = torch.zeros(8, 4).double(), torch.ones(8, 4).double()
    found = nearest_in_simplex(points, lower, upper)
    own = [0, 1, 2, 3, 7]
    assert torch.equal(found[own], points[own])
    torch.testing.assert_close(found.sum(dim=1), torch.ones(8).double())


def test_diverse_answers_are_the_greedy_determinant():
    """The first is the nearest; each next one makes the determinant of the kernel, as it is defined, largest."""
    rows, distances = draw(1, 7, 3), draw(1, 7, seed=1).abs()
    picked, fresh = select_diverse(rows, distances, 4)
    assert fresh.all()
    apart = torch.cdist(rows[0], rows[0]).square()
    quality = torch.exp(-(distances[0] - distances.min()) / (2 * distances[0].median()))
    spread = apart[apart > 0].median() / 4
    kernel = quality[:, None] * torch.exp(-apart / (2 * spread)) * quality
    chosen = [int(distances[0].argmin())]
    for _ in range(3):
        rest = [place for place in range(7) if place not in chosen]
        chosen.append(
            max(rest, key=lambda place: float(torch.linalg.det(kernel[[*chosen, place]][:, [*chosen, place]])))
        )
    assert picked[0].tolist() == chosen


def test_copies_do_not_count():
    """An answer that has been given is not given again, however near it is."""
    rows = draw(1, 2, 3)
    copies = torch.cat([rows[:, :1]] * 4 + [rows[:, 1:]], dim=1)
    picked, fresh = select_diverse(copies, torch.tensor([[1.0, 1.0, 1.0, 1.0, 2.0]]).double(), 3)
    assert fresh.tolist() == [[True, True, False]]
    assert picked[0, :2].tolist() == [0, 4]


def test_where_there_are_no_candidates_nothing_counts():
    """Infinite distances are never picked."""
    distances = torch.tensor([[torch.inf, 1.0, torch.inf]]).double()
    picked, fresh = select_diverse(draw(1, 3, 2), distances, 2)
    assert picked[0, 0] == 1
    assert fresh.tolist() == [[True, False]]


def test_the_columns_that_are_kept_are_nearly_the_best():
    """Backward elimination is within a tenth of trying every pair, and exact where columns are independent."""
    for seed in range(5):
        bowl = bowls(1, 5, 30 + seed)
        bowl = Bowl(
            torch.zeros(1, 5).double(), bowl.precision, bowl.covariance, bowl.lower * 0 - 99, bowl.upper * 0 + 99
        )
        normal, offset = draw(1, 5, seed=seed), torch.tensor([-1.0]).double()

        def cost(kept, bowl=bowl, normal=normal, offset=offset):
            point = bowl.within(kept[None], torch.zeros(1, 5).double()).nearest(normal[:, None], offset[:, None])
            return float(point @ bowl.precision[0] @ point.T)

        pairs = [torch.isin(torch.arange(5), torch.tensor(pair)) for pair in itertools.combinations(range(5), 2)]
        best = min(cost(pair) for pair in pairs)
        kept, *_ = supports(bowl, torch.zeros_like(normal), normal, offset, torch.arange(5), torch.tensor([2]))
        assert kept.sum() == 2
        assert cost(kept[0]) <= 1.6 * best
        alone = Bowl(bowl.centre, torch.eye(5).double()[None], torch.eye(5).double()[None], bowl.lower, bowl.upper)
        kept, *_ = supports(alone, bowl.centre, normal, offset, torch.arange(5), torch.tensor([2]))
        assert set(kept[0].nonzero().flatten().tolist()) == set(normal[0].abs().topk(2).indices.tolist())


def test_of_the_sets_of_columns_the_last_goes_farthest():
    """The k columns whose bounds let the score fall most, of each query so many as it may still move."""
    bowl = bowls(4, 6, 7)
    normal, counts = draw(4, 6, seed=3), torch.tensor([2, 2, 1, 0])
    anchor = torch.clamp(torch.zeros(4, 6).double(), bowl.lower, bowl.upper)
    sets = supports(bowl, anchor, normal, torch.full((4,), -1.0).double(), torch.arange(6), counts)
    fall = (normal * anchor - torch.minimum(normal * bowl.lower, normal * bowl.upper)) * (bowl.lower < bowl.upper)
    for query, count in enumerate(counts.tolist()):
        assert all(int(one[query].sum()) <= count for one in sets)
        best = sum(sorted(fall[query].tolist(), reverse=True)[:count])
        assert float(fall[query][sets[-1][query]].sum()) == pytest.approx(best)
