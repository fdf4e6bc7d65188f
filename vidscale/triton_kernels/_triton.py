"""The one place that imports triton: `triton` and its language `tl`."""

try:
    import triton
    import triton.language as tl
except ImportError as exc:
    raise ImportError("the GPU path needs triton; it comes with torch on Linux (pip install triton)") from exc

__all__ = ["tl", "triton"]
