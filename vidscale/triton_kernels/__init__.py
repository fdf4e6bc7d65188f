"""Operations on planes: for each one public function, its reference in plain torch, its CPU path, its Triton kernel.

`chain` is for the CPU alone: what it computes is defined by the networks in `vidscale.models`.

Imports nothing else of vidscale, so that it runs on a machine that has only torch, triton and numpy.
"""
