"""The metrics of `metrics.py` in plain torch and float64, on any device: the reference of the faster versions."""

import torch

_OFFSETS = torch.arange(-5, 6, dtype=torch.float64)
# Weights of the Gaussian window along one axis, [11], sum 1.
GAUSSIAN = torch.exp(-0.5 * (_OFFSETS / 1.5) ** 2)
GAUSSIAN /= GAUSSIAN.sum()


def squared_error(ref: torch.Tensor, dist: torch.Tensor) -> int:
    """See `metrics.squared_error`; arguments are not checked."""
    diff = ref.long() - dist.long()
    return int((diff * diff).sum())


def ssim_gaussian(ref: torch.Tensor, dist: torch.Tensor, bit_depth: int) -> float:
    """See `metrics.ssim_gaussian`; arguments are not checked."""
    peak = (1 << bit_depth) - 1
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    x, y = ref.double(), dist.double()
    mean_x, mean_y, square_x, square_y, product = (_filtered(m) for m in (x, y, x * x, y * y, x * y))
    var_x, var_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return float((luminance * structure).mean())


def ssim_ffmpeg(ref: torch.Tensor, dist: torch.Tensor, bit_depth: int) -> float:
    """See `metrics.ssim_ffmpeg`; arguments are not checked."""
    peak = (1 << bit_depth) - 1
    c1 = int(0.01**2 * peak**2 * 64 + 0.5)
    c2 = int(0.03**2 * peak**2 * 64 * 63 + 0.5)
    x, y = ref.long(), dist.long()
    sum_x, sum_y, squares, product = (_window_sums(m).double() for m in (x, y, x * x + y * y, x * y))
    covariance = 64 * product - sum_x * sum_y
    variances = 64 * squares - sum_x**2 - sum_y**2
    luminance = (2 * sum_x * sum_y + c1) / (sum_x**2 + sum_y**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


def _filtered(plane: torch.Tensor) -> torch.Tensor:
    """[H, W] to [H - 10, W - 10]: means weighted by the Gaussian window."""
    for axis in (0, 1):
        length = plane.shape[axis] - 10
        total = torch.zeros_like(plane.narrow(axis, 0, length))
        for k, tap in enumerate(GAUSSIAN.tolist()):
            total.add_(plane.narrow(axis, k, length), alpha=tap)
        plane = total
    return plane


def _window_sums(plane: torch.Tensor) -> torch.Tensor:
    """[H, W] integers to [H // 4 - 1, W // 4 - 1]: sums over 8x8 samples, every 4 samples."""
    height, width = plane.shape[0] // 4, plane.shape[1] // 4
    blocks = plane[: 4 * height, : 4 * width].reshape(height, 4, width, 4).sum(dim=(1, 3))
    pairs = blocks[:-1] + blocks[1:]
    return pairs[:, :-1] + pairs[:, 1:]
