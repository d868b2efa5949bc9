"""Make a CUDA wheel of torchvision load beside a CPU-only torch. Run once, after `pip install`, by set-up.

Where pip finds a CPU build of torch but only the CUDA build of torchvision, `import torchvision` fails with
"operator torchvision::nms does not exist": its extension links against three CUDA libraries that are not there,
although none of its CPU kernels calls them. This compiles two small libraries that define the missing symbols
(each aborts when called) and preloads them when Python starts. It does nothing on any other machine, is never
imported by affectkit, and is undone by removing the environment. Needs gcc and nm.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
STUBS = SITE / "torchvision_cpu_stubs"
CUDA_SYMBOL = re.compile(r"3c104cuda|2at4cuda")

LOADER = '''"""Preload the stand-ins for the CUDA libraries that torchvision links against."""
import ctypes
from pathlib import Path

_here = Path(__file__).parent
for _lib in [*sorted((_here.parent / "torchvision.libs").glob("libcudart*.so*")), *sorted(_here.glob("*.so"))]:
    ctypes.CDLL(str(_lib), mode=ctypes.RTLD_GLOBAL)
'''


def is_needed() -> bool:
    """Tell whether a CPU torch stands beside a CUDA torchvision on Linux."""
    torch_version = importlib.metadata.version("torch")
    vision_version = (SITE / "torchvision" / "version.py").read_text()
    print(f"torch {torch_version}, torchvision {importlib.metadata.version('torchvision')}")
    return sys.platform == "linux" and "+cpu" in torch_version and "+cu" in vision_version


def undefined_cuda_symbols() -> list[str]:
    """Names that torchvision's extensions expect from torch's CUDA libraries."""
    names: set[str] = set()
    for extension in (SITE / "torchvision").glob("*.so"):
        listing = subprocess.run(
            ["nm", "--dynamic", "--undefined-only", extension], check=True, capture_output=True, text=True
        ).stdout
        names.update(line.split()[-1].partition("@")[0] for line in listing.splitlines())
    return sorted(name for name in names if CUDA_SYMBOL.search(name))


def stub_source(symbols: list[str]) -> str:
    """C source that defines every symbol: data as zeroed storage, a device count of 0, all else aborting."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>"]
    for i, symbol in enumerate(symbols):
        if symbol.endswith("allocatorE"):
            lines.append(f'void *data_{i}[64] __asm__("{symbol}");')
            continue
        returns, body = "void", f'fputs("no CUDA here: {symbol}\\n", stderr); abort();'
        if "device_count" in symbol:
            returns, body = "int", "return 0;"
        lines.append(f'{returns} call_{i}(void) __asm__("{symbol}");')
        lines.append(f"{returns} call_{i}(void) {{ {body} }}")
    return "\n".join(lines) + "\n"


def compile_stub(library: str, source: str) -> None:
    """Build one shared library whose soname is `library`."""
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O1",
        f"-Wl,-soname,{library}",
        "-x",
        "c",
        "-",
        "-o",
        STUBS / library,
    ]
    subprocess.run(command, check=True, input=source, text=True)


def main() -> int:
    """Write the stand-ins where they are needed, then check that torchvision's operators load."""
    if not is_needed():
        print("torchvision loads as it is: nothing to do")
        return 0
    STUBS.mkdir(exist_ok=True)
    compile_stub("libc10_cuda.so", stub_source(undefined_cuda_symbols()))
    compile_stub("libtorch_cuda.so", "int affectkit_torch_cuda_stub;\n")
    (STUBS / "__init__.py").write_text(LOADER)
    (SITE / "torchvision_cpu_stubs.pth").write_text("import torchvision_cpu_stubs\n")
    check = "import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)"
    return subprocess.run([sys.executable, "-c", check]).returncode


if __name__ == "__main__":
    sys.exit(main())
