"""Compiles Triton kernels for GPUs that this machine need not have: the interpreter accepts what a compiler may not."""

import os
import subprocess
import sys

_COMPILE = """
import sys
from importlib import import_module
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

for kernel, cases in KERNELS.items():
    module, name = kernel.split(":")
    kernel = getattr(import_module(module), name)
    for arguments in cases:
        signature = {name: value if isinstance(value, str) else "constexpr" for name, value in arguments.items()}
        constants = {(list(kernel.arg_names).index(n),): v for n, v in arguments.items() if not isinstance(v, str)}
        source = ASTSource(kernel, {name: signature[name] for name in kernel.arg_names}, constants)
        for capability in CAPABILITIES:
            triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": True})
"""


def compiles(kernels, capabilities=(80, 90)):
    """Fails if a kernel does not compile.

    Args:
        kernels: cases by "module:name"; a case is the arguments by name: a type such as "*u8" or "i32", or the value of
            a constexpr.
        capabilities: 80 for sm_80, 90 for sm_90.
    """
    code = _COMPILE.replace("KERNELS", repr(kernels)).replace("CAPABILITIES", repr(capabilities))
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TRITON_INTERPRET": "0"})
