"""Continuous wavelet transform with complex Morlet wavelets, as convolutions with fixed filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["MorletMagnitude"]

_STEPS = 2**12  # points at which the wavelet is integrated
_TINY = 1e-12  # keeps the gradient of the root finite
_REACH = 8.0  # the wavelet is cut off at ± this many seconds of its own time


class MorletMagnitude(nn.Module):
    r"""Magnitude of the continuous wavelet transform, for the complex Morlet wavelet.

    The wavelet is :math:`\psi(t) = (\pi b)^{-1/2} e^{-t^2/b} e^{2\pi i c t}`. The transform at scale :math:`s` is
    linear in the signal, so it is computed as one convolution per scale, with the filter :math:`-\sqrt{s}` times
    the difference of the integrated wavelet, sampled at steps of :math:`1/s`. Signals are continued by zeros. The
    filters are not learned and not saved.

    Args:
        scales: Positive scales :math:`s`, in samples.
        bandwidth: :math:`b`.
        centre: :math:`c`, the frequency of the wavelet at scale 1, in cycles per sample.

    Raises:
        ConfigError: There is no scale, or a value is not positive.

    Example:
        >>> MorletMagnitude([3.0, 7.0])(torch.randn(2, 5, 60)).shape
        torch.Size([2, 5, 2, 60])

    References:
        PyWavelets 1.8, `pywt.cwt` with `cmor1.5-1.0` and the method "conv", with which the output agrees.
    """

    filters: Tensor

    def __init__(self, scales: Sequence[float], *, bandwidth: float = 1.5, centre: float = 1.0) -> None:
        super().__init__()
        if not scales or min(*scales, bandwidth, centre) <= 0:
            raise ConfigError(
                f"Scales {list(scales)}, bandwidth {bandwidth} and centre {centre} must be positive.",
                remedy="Give at least one scale.",
            )
        times = np.linspace(-_REACH, _REACH, _STEPS)
        step = times[1] - times[0]
        wave = np.exp(-(times**2) / bandwidth + 2j * np.pi * centre * times) / np.sqrt(np.pi * bandwidth)
        integral = np.cumsum(wave).conj() * step
        filters = [_filter(integral, scale, step) for scale in scales]
        width = max(map(len, filters)) | 1
        # Each filter is applied with the centre that PyWavelets's crop of the full convolution gives it.
        table = np.zeros((len(filters), width), dtype=complex)
        for row, own in zip(table, filters, strict=True):
            start = width // 2 - (len(own) - 1 - (len(own) - 1) // 2)
            row[start : start + len(own)] = own[::-1]
        stacked = torch.from_numpy(np.concatenate([table.real, table.imag])).float()
        self.register_buffer("filters", stacked[:, None], persistent=False)

    def forward(self, signals: Tensor) -> Tensor:
        """Transform signals [B, F, T] to magnitudes [B, F, scales, T]."""
        filters = self.filters.to(signals.dtype)
        responses = F.conv1d(signals.flatten(0, 1)[:, None], filters, padding=filters.shape[-1] // 2)
        real, imaginary = responses.chunk(2, dim=1)
        magnitudes = (real.square() + imaginary.square() + _TINY).sqrt()
        return magnitudes.reshape(*signals.shape[:2], *magnitudes.shape[1:])


def _filter(integral: npt.NDArray[Any], scale: float, step: float) -> npt.NDArray[Any]:
    """Filter of one scale, in the order of a convolution."""
    places = (np.arange(scale * 2 * _REACH + 1) / (scale * step)).astype(int)
    sampled = integral[places[places < len(integral)]][::-1]
    taps: npt.NDArray[Any] = -np.sqrt(scale) * np.diff(sampled, prepend=0, append=0)
    return taps
