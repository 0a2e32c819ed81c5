"""Normalised contrast, and ZCA in float32 against a float64 oracle by another route."""

import numpy as np
import pytest
import torch

from widevalley.data.cifar10 import ARCHIVE, BATCH, read_batches
from widevalley.data.files import fetch
from widevalley.data.whitening import ZCA, normalise_contrast_

EPS = 1e-5


def oracle(samples, images, eps):
    """ZCA by the singular values of the samples, all in float64."""
    samples, images = samples.double().numpy(), images.double().numpy()
    mean = samples.mean(axis=0)
    _, singular, basis = np.linalg.svd(samples - mean, full_matrices=False)
    scale = 1 / np.sqrt(singular**2 / len(samples) + eps)
    return torch.from_numpy((images - mean) @ (basis.T * scale) @ basis)


def covariance(samples):
    centred = samples.double() - samples.double().mean(dim=0)
    return centred.T @ centred / len(samples)


@pytest.fixture
def samples():
    """3,000 float32 rows of 48 values whose variances span seven decades, as of images."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(48, 48, generator=generator, dtype=torch.float64))
    scale = torch.logspace(-2.2, 1.3, 48, dtype=torch.float64)
    rows = torch.randn(3000, 48, generator=generator, dtype=torch.float64) * scale
    return (rows @ basis.T + 0.1).float()


def test_contrast_is_normalised_row_by_row():
    images = torch.rand(5, 300) * torch.arange(1.0, 6)[:, None]
    images[2] = 7
    given = images.double().numpy()
    expected = (given - given.mean(axis=1, keepdims=True)) / given.std(axis=1, keepdims=True).clip(
        1e-9
    )
    normalise_contrast_(images)
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
    assert not images[2].any()


def test_float32_agrees_with_the_oracle(samples):
    expected = oracle(samples, samples[:200], EPS)
    found = ZCA.of(samples, EPS).whiten_(samples[:200].clone())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=5e-4, rtol=0)


def test_whitened_samples_are_uncorrelated_where_eigenvalues_exceed_eps(samples):
    eigenvalues, vectors = torch.linalg.eigh(covariance(samples))
    found = covariance(ZCA.of(samples, EPS).whiten_(samples)) @ vectors
    expected = vectors * (eigenvalues / (eigenvalues + EPS))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    large = eigenvalues > 1e3 * EPS
    assert large.sum() > 20
    torch.testing.assert_close(found[:, large], vectors[:, large], atol=2e-3, rtol=0)


def test_a_direction_without_variance_stays_finite(samples):
    samples[:, 0] = -samples[:, 1:].sum(dim=1)
    assert ZCA.of(samples, EPS).whiten_(samples).abs().max() < 10


def test_whitening_is_the_training_sets_and_in_place(samples):
    zca = ZCA.of(samples[:2000], EPS)
    alone, together = samples[2000:2010].clone(), samples[2000:].clone()
    assert zca.whiten_(alone) is alone
    torch.testing.assert_close(alone, zca.whiten_(together)[:10], atol=1e-4, rtol=0)


@pytest.mark.parametrize("eps", [0.0, -1e-5, float("nan")])
def test_bad_eps(samples, eps):
    with pytest.raises(ValueError, match=f"eps={eps}: must be above 0"):
        ZCA.of(samples, eps)


def test_float32_agrees_with_the_oracle_on_real_images(real):
    real("cifar-10-batches-bin")
    pixels, _ = read_batches([fetch(ARCHIVE.members[0])], BATCH)
    images = normalise_contrast_(pixels.to(torch.float32))
    centre = images.view(-1, 3, 32, 32)[:, :, 8:24, 8:24].reshape(-1, 768)
    expected = oracle(centre, centre[:500], EPS)
    found = ZCA.of(centre, EPS).whiten_(centre[:500].clone())
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)
