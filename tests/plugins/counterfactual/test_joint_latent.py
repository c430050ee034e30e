"""The joint law on codes: an exact flow, a VAE, and encoders of the user's own."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import make_moons

from preimage.errors import InputError, OptionError
from preimage_counterfactual.distances import Joint, JointConfig, JointLatent, JointLatentConfig, Mahalanobis
from preimage_counterfactual.distances.config import MahalanobisConfig
from preimage_counterfactual.distances.flow import Flow
from preimage_counterfactual.distances.vae import VAE


@pytest.fixture(scope="module")
def moons():
    """Two half-moons, ``(400, 2)``, with their labels."""
    rows, labels = make_moons(400, noise=0.06, random_state=0)
    return torch.tensor(rows), torch.tensor(labels)


@pytest.fixture(scope="module")
def flow(moons):
    return Flow(moons[0][::2], JointLatentConfig(steps=200, learning_rate=0.01))


@pytest.fixture
def data():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(60, 3, generator=rng, dtype=torch.float64) @ torch.randn(3, 3, generator=rng).double()


def test_flow_is_invertible(flow, moons):
    """Decoding what was encoded gives the rows, to rounding."""
    torch.testing.assert_close(flow.decode(flow(moons[0])), moons[0])


def test_flow_knows_how_it_stretches_space(flow, moons):
    """Its log volume is the logarithm of the determinant of its Jacobian."""
    for row in moons[0][:5]:
        jacobian = torch.autograd.functional.jacobian(lambda point: flow(point.unsqueeze(0))[0], row)

        torch.testing.assert_close(flow.log_volume(row.unsqueeze(0))[0], torch.linalg.slogdet(jacobian).logabsdet)


def test_flow_density_integrates_to_one(flow):
    """Summed over a fine grid, its density is a density."""
    axis = torch.linspace(-4, 5, 240, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = flow.log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2

    assert float(mass) == pytest.approx(1, abs=0.02)


def test_flow_learns_what_a_covariance_cannot(flow, moons):
    """Rows that it has not seen are much likelier under it than under a Gaussian, where the moons bend."""
    gaussian = Flow(moons[0][::2], JointLatentConfig(steps=0))
    unseen = moons[0][1::2]

    assert flow.log_density(unseen).mean() > gaussian.log_density(unseen).mean() + 0.3
    # Between the moons a covariance sees the very middle of the data, the flow a gap.
    gap = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    assert flow.log_density(gap) < flow.log_density(unseen).quantile(0.25)
    assert gaussian.log_density(gap) > gaussian.log_density(unseen).quantile(0.95)


def test_untrained_flow_is_the_gaussian_law(data):
    """With no steps of training the latent distance is the joint one, every face of it."""
    labels = (data[:, 0] > 0).long()
    latent, joint = JointLatent(JointLatentConfig(steps=0)), Joint(JointConfig())
    for distance in (latent, joint):
        distance.fit(data, labels)
    left, right = data[:9], data[9:18]

    assert latent.r == pytest.approx(joint.r)
    for face in ("search_cost", "closeness", "metric_distance"):
        torch.testing.assert_close(getattr(latent, face)(left, right), getattr(joint, face)(left, right))


def test_density_makes_it_a_law_of_rows(data):
    """With the determinant the search cost is -2 log of the law of rows; untrained, that is the Gaussian's."""
    latent = JointLatent(JointLatentConfig(steps=0, r=0.6, density=True))
    joint = Joint(JointConfig(r=0.6))
    for distance in (latent, joint):
        distance.fit(data)

    difference = latent(data[:9], data[9:18]) + 2 * joint.log_prob(data[:9], data[9:18])

    torch.testing.assert_close(difference, difference[:1].expand(9))


def test_training_is_the_same_for_the_same_seed(moons):
    """One seed, one distance; another seed, another: a flow is not unique."""
    rows = moons[0]
    answers = []
    for seed in (0, 0, 1):
        distance = JointLatent(JointLatentConfig(steps=60, layers=2, hidden=8, seed=seed))
        distance.fit(rows)
        answers.append(distance(rows[:9], rows[9:18]))

    assert torch.equal(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])


def test_flow_draws_stay_on_the_data(flow, moons):
    """Draws around rows of the data are about as likely as its rows, where Gaussian ones fall between the moons."""
    rows = moons[0][::2]
    latent, joint = JointLatent(JointLatentConfig(r=0.7), encoder=flow), Joint(JointConfig(r=0.7))
    likely = []
    for distance in (latent, joint):
        distance.fit(rows)
        draws = distance.sample(rows, 5, torch.Generator().manual_seed(0)).flatten(0, 1)
        likely.append(torch.cdist(draws, moons[0]).amin(dim=1).mean())

    assert likely[0] < 0.6 * likely[1]


def test_vae_codes_are_few_and_tell_most(data):
    """Three correlated columns of which one is nearly a mix of the others come back from two codes."""
    rows = torch.cat([data[:, :2], data[:, :1] - data[:, 1:2] + 0.01 * data[:, 2:]], dim=1)
    vae = VAE(rows, JointLatentConfig(encoder="vae", codes=2, steps=200))

    assert vae(rows).shape == (60, 2)
    assert (vae.decode(vae(rows)) - rows).square().mean() < 0.05 * rows.var()


def test_own_encoder_decides_what_is_near(data):
    """Any callable serves; its codes are whitened, so that the metric is Mahalanobis' of the codes."""
    distance = JointLatent(JointLatentConfig(r=0.5, face="metric"), encoder=lambda rows: rows[:, :2].tanh())
    codes = Mahalanobis(MahalanobisConfig())
    distance.fit(data)
    codes.fit(data[:, :2].tanh())
    left, right = data[:9], data[9:18]

    expected = (0.5 / 0.75) ** 0.5 * codes(left[:, :2].tanh(), right[:, :2].tanh())

    torch.testing.assert_close(distance(left, right), expected)
    assert not distance.metric


def test_reparametrised_rows_are_as_near_with_the_encoder_to_match(data):
    """The distance is of codes: re-coding rows and encoder alike changes nothing."""

    def encoder(rows):
        return rows + 0.1 * rows.pow(3)

    plain = JointLatent(JointLatentConfig(r=0.5), encoder=encoder)
    recoded = JointLatent(JointLatentConfig(r=0.5), encoder=lambda rows: encoder(rows.log()))
    plain.fit(data)
    recoded.fit(data.exp())

    torch.testing.assert_close(plain(data[:9], data[9:18]), recoded(data[:9].exp(), data[9:18].exp()))


def test_what_an_encoder_lacks_is_said(data):
    """No decoder to draw with, no determinant for a density, no codes."""

    def encoder(rows):
        return rows[:, :1]

    distance = JointLatent(JointLatentConfig(), encoder=encoder)
    distance.fit(data)
    with pytest.raises(InputError, match=r"function has no method decode\(codes\)"):
        distance.sample(data[:1], 1, torch.Generator())
    with pytest.raises(OptionError, match=r"function has no method log_volume\(rows\)"):
        JointLatent(JointLatentConfig(density=True), encoder=encoder)
    with pytest.raises(OptionError, match="A VAE cannot say how it stretches space"):
        JointLatent(JointLatentConfig(density=True, encoder="vae"))
    with pytest.raises(InputError, match=r"The encoder answers \(60,\) for 60 rows"):
        JointLatent(JointLatentConfig(), encoder=lambda rows: rows.sum(dim=1)).fit(data)
