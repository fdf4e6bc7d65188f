"""Operations on planes. For each one: the public function, its reference in plain torch, a CPU path, a Triton kernel.

The suffix of a file says what runs it:

* no suffix: the public function, which checks its arguments and picks a version; nothing heavy is imported before that.
* `_ref`: plain torch on any device, the reference that the other versions are tested against.
* `_cpu`: numba; `_cpu_loops`, `_cpu_cells`, `_cpu_plan` and `_cpu_correct` are parts of that version.
* `_triton`: Triton kernels.

Other suffixes (`_filters`, `_geometry`, `_layout`, `_packing`, `_grad`) hold what several of these share. Files that
start with an underscore are tools for all operations. `chain` and `back_projection` are for the CPU only, their
`_triton` versions for a GPU only; the reference of both is the network in `vidscale.models`. `lanes` files run networks
over cells for `back_projection` on the CPU.

Imports nothing else of vidscale, so it runs on a machine that has only torch, triton and numpy.
"""
