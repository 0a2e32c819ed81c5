"""Contrast normalisation and ZCA whitening of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2_500
"""Rows taken to float64, or whitened, at a time."""


def normalise_contrast_(images: Tensor) -> Tensor:
    """Subtract from each row its mean and divide it by its standard deviation, in place.

    A row without contrast becomes zero.
    """
    images -= images.mean(dim=1, keepdim=True)
    # A row of zeros over the smallest number is zeros, where over 0 it would be NaN.
    smallest = torch.finfo(images.dtype).tiny
    images /= images.std(dim=1, keepdim=True, correction=0).clamp_min_(smallest)
    return images


@dataclass(frozen=True, eq=False)
class ZCA:
    """The affine map x -> (x - mean) @ matrix, with matrix = V (Λ + eps)^(-1/2) Vᵀ.

    V Λ Vᵀ is the covariance of the samples it is made from: their image is uncorrelated and
    has variance λ / (λ + eps) along each eigenvector.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, samples: Tensor, eps: float) -> ZCA:
        """From the rows of `samples`, in float64, returned in the samples' dtype.

        Sums and eigenvectors need float64 where eigenvalues span seven decades, as those of
        natural images do: in float32 the smallest ones, which whitening magnifies most, drown.
        Raises ValueError unless eps > 0.
        """
        if not eps > 0:
            raise ValueError(f"eps={eps}: must be above 0")
        values = samples.shape[1]
        mean = samples.new_zeros(values, dtype=torch.float64)
        for rows in torch.split(samples, CHUNK):
            mean += rows.sum(dim=0, dtype=torch.float64) / len(samples)
        covariance = mean.new_zeros(values, values)
        for rows in torch.split(samples, CHUNK):
            centred = rows - mean
            covariance.addmm_(centred.t(), centred)
        eigenvalues, vectors = torch.linalg.eigh(covariance.div_(len(samples)))
        matrix = (vectors * (eigenvalues.clamp_min_(0) + eps).rsqrt_()) @ vectors.t()
        return cls(mean.to(samples.dtype), matrix.to(samples.dtype))

    def whiten_(self, images: Tensor) -> Tensor:
        """Whiten the rows of `images`, in place."""
        images -= self.mean
        for rows in torch.split(images, CHUNK):
            rows.copy_(rows @ self.matrix)
        return images
