"""What correlation does: companions move along, going against them is dear, and frozen columns are conditioned on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from preimage.errors import InputError
from preimage_counterfactual.distances import (
    L2,
    Joint,
    JointConfig,
    L2Config,
    Mahalanobis,
    MahalanobisConfig,
    Quadratic,
)


def with_moments(mean, covariance, count=64):
    """Return rows whose sample mean and covariance are these exactly."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, len(mean)))
    rows -= rows.mean(axis=0)
    rows = np.linalg.solve(np.linalg.cholesky(rows.T @ rows / count), rows.T).T
    return torch.tensor(rows @ np.linalg.cholesky(np.array(covariance, dtype=float)).T + np.array(mean))


def fitted(data, **options):
    distance = Joint(JointConfig(**{"shrinkage": 0.0, "r": 0.5, **options}))
    distance.fit(data)
    return distance


@pytest.fixture
def data():
    """Four correlated columns."""
    mixing = np.array([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [-0.3, 0.5, 1.2, 0], [0.1, 0.4, -0.7, 0.5]])
    return with_moments([1.0, -2.0, 0.5, 3.0], mixing @ mixing.T)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_going_against_correlation_is_dearer(correlation):
    """The step (1, -1) costs (1 + q) / (1 - q) times the step (1, 1): 19 times at 0.9."""
    distance = fitted(with_moments([0, 0], [[1, correlation], [correlation, 1]]), face="metric")
    origin = torch.zeros(1, 2, dtype=torch.float64)
    along, against = (distance(torch.tensor([step]).double(), origin) ** 2 for step in ([1.0, 1.0], [1.0, -1.0]))

    assert float(against / along) == pytest.approx((1 + correlation) / (1 - correlation), rel=1e-9)


def test_companion_factor_is_alone_against_following(data):
    """Changing a column alone costs its factor times changing it with its companions, and that is the VIF."""
    distance = fitted(data, face="metric")
    origin = torch.zeros(1, 4, dtype=torch.float64)
    for column in range(4):
        alone = torch.zeros(1, 4, dtype=torch.float64)
        alone[0, column] = 1.0
        following = distance.companions(column).unsqueeze(0)
        others = np.delete(data.numpy(), column, axis=1)
        design = np.column_stack([others, np.ones(len(data))])
        rest = data[:, column].numpy() - design @ np.linalg.lstsq(design, data[:, column].numpy(), rcond=None)[0]

        factor = distance.companion_factor(column)

        assert float(distance(alone, origin) ** 2 / distance(following, origin) ** 2) == pytest.approx(factor, rel=1e-9)
        assert factor == pytest.approx(data[:, column].var(correction=0).item() / rest.var(), rel=1e-9)


def test_companions_move_along_their_regression(data):
    """Each other column's move per unit is its regression coefficient on the changed one."""
    slopes = fitted(data).companions(1)

    for other in (0, 2, 3):
        assert float(slopes[other]) == pytest.approx(np.polyfit(data[:, 1], data[:, other], 1)[0], rel=1e-9)
    assert float(slopes[1]) == 1.0


def test_correlated_column_moves_though_the_score_ignores_it():
    """Score on the first of two columns with correlation 0.9: the second moves by 0.9 as much; under L2 not at all."""
    data = with_moments([0, 0], [[1, 0.9], [0.9, 1]])
    row, weights = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    target = torch.tensor([2.0], dtype=torch.float64)
    mahalanobis, euclid = Mahalanobis(MahalanobisConfig(shrinkage=0.0)), L2(L2Config())
    mahalanobis.fit(data)

    for quadratic in (fitted(data).quadratic(row), mahalanobis.quadratic(row)):
        torch.testing.assert_close(quadratic.nearest(weights, target), torch.tensor([[2.0, 1.8]]).double())
    torch.testing.assert_close(euclid.quadratic(row).nearest(weights, target), torch.tensor([[2.0, 0.0]]).double())


@pytest.mark.parametrize("name", ["l2", "mahalanobis", "joint", "round"])
def test_closed_form_is_the_constrained_optimum(name, data):
    """Equation (7), m + C w (t - wᵀm) / (wᵀ C w), is where a solver ends that knows the distance alone."""
    distance = {
        "l2": L2(L2Config()),
        "mahalanobis": Mahalanobis(MahalanobisConfig(shrinkage=0.0)),
        "joint": Joint(JointConfig(r=0.6, shrinkage=0.0)),
        "round": Joint(JointConfig(r=0.6, shrinkage=0.0, kernel="euclidean")),
    }[name]
    distance.fit(data)
    row, weights, target = data[:1], torch.tensor([1.0, -0.5, 0.3, 2.0]).double(), 4.0

    def cost(point):
        rows = torch.tensor(point).unsqueeze(0).requires_grad_()
        value = distance(rows, row).sum() ** (2 if distance.metric else 1)
        return value.item(), torch.autograd.grad(value, rows)[0][0].numpy()

    solved = minimize(
        cost,
        row[0].numpy() + 0.1,
        jac=True,
        method="SLSQP",
        constraints={"type": "eq", "fun": lambda point: weights.numpy() @ point - target},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    closed = distance.quadratic(row).nearest(weights, torch.tensor([target]).double())

    np.testing.assert_allclose(closed[0], solved.x, atol=2e-5)


def test_frozen_columns_are_conditioned_on(data):
    """Holding columns keeps the whole precision: centre and covariance are the conditional law's, their step is 0."""
    quadratic = fitted(data, r=0.6).quadratic(data[:3])
    frozen = torch.tensor([False, True, False, True])
    held = quadratic.given(frozen, data[:3])
    covariance = quadratic.covariance
    inner, cross, outer = (covariance[a][:, b] for a, b in ((~frozen, ~frozen), (~frozen, frozen), (frozen, frozen)))
    centre = quadratic.centre[:, ~frozen] + (data[:3] - quadratic.centre)[:, frozen] @ torch.linalg.solve(
        outer, cross.T
    )

    torch.testing.assert_close(held.centre[:, ~frozen], centre)
    torch.testing.assert_close(held.covariance[~frozen][:, ~frozen], inner - cross @ torch.linalg.solve(outer, cross.T))
    assert torch.equal(held.centre[:, frozen], data[:3, frozen])
    stepped = held.nearest(torch.ones(4).double(), torch.tensor([9.0, 9.0, 9.0]).double())
    assert torch.equal(stepped[:, frozen], data[:3, frozen])


def test_schur_complement_is_the_precision_block(data):
    """The covariance given the frozen columns is the inverse of the free block of the precision."""
    quadratic = fitted(data).quadratic(data[:1])
    frozen = torch.tensor([True, False, False, True])

    held = quadratic.given(frozen, data[:1])

    torch.testing.assert_close(
        held.covariance[~frozen][:, ~frozen], torch.linalg.inv(quadratic.precision[~frozen][:, ~frozen])
    )


def test_quadratic_form_is_the_distance(data):
    """What `quadratic` gives is the distance itself, or its square where it is a metric."""
    for distance in (fitted(data), fitted(data, face="metric"), fitted(data, kernel="euclidean")):
        form = distance.quadratic(data[:9])
        values = distance(data[9:18], data[:9])

        assert isinstance(form, Quadratic)
        difference = form(data[9:18]) - (values.square() if distance.metric else values)
        torch.testing.assert_close(difference, torch.zeros(9).double(), atol=1e-9, rtol=0)


def test_closeness_is_a_quadratic_form_up_to_the_row(data):
    """What closeness has beyond its form depends on the row alone."""
    distance = fitted(data, face="closeness")
    row = data[:1].expand(9, -1)

    difference = distance(data[9:18], row) - distance.quadratic(row)(data[9:18])

    torch.testing.assert_close(difference, difference[:1].expand(9))


def test_linear_structural_model_pays_for_changed_residuals():
    """With x = A x + noise, Mahalanobis' square is the sum of each residual's change squared by its noise variance."""
    effects = np.array([[0, 0, 0], [0.7, 0, 0], [-0.4, 1.1, 0]])
    noise = np.array([1.0, 0.5, 2.0])
    total = np.linalg.inv(np.eye(3) - effects)
    distance = Mahalanobis(MahalanobisConfig(shrinkage=0.0))
    distance.fit(with_moments([0, 0, 0], total @ np.diag(noise) @ total.T))
    step = np.array([[0.3, -1.2, 0.8]])
    origin = torch.zeros(1, 3, dtype=torch.float64)

    squares = distance(torch.tensor(step), origin) ** 2
    one_cause = distance(torch.tensor(total[:, :1].T.copy()), origin) ** 2

    assert float(squares) == pytest.approx((((np.eye(3) - effects) @ step[0]) ** 2 / noise).sum(), rel=1e-9)
    # Moving one cause and letting all its effects follow costs that cause's own residual only.
    assert float(one_cause) == pytest.approx(1 / noise[0], rel=1e-9)


def test_companions_of_a_level_are_refused(data):
    """A level of a nominal column has no regression, and the error says where the numbers are."""
    with pytest.raises(InputError, match=r"Position 7 of a row holds no number \(numbers are at 0, 1, 2, 3\)"):
        fitted(data).companion_factor(7)
