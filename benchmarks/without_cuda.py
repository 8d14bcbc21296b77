"""Make torch's CUDA build work on a CPU, without the gigabytes of CUDA's libraries.

Where a package index has only CUDA builds, their CPU part can still be tried: each CUDA
library is replaced by one whose functions all answer that there is no device. It needs
gcc and readelf (Linux).
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CUDA = re.compile(r"_*(cu|nv|nccl)")
"""How names of CUDA's functions begin."""
_REQUIRED = re.compile(r"Requires-Dist: (nvidia|cuda|triton)")
_NO_DEVICE = 100


def leave_out_cuda(packages: Path) -> None:
    """Change a torch that was installed alone in a site-packages folder."""
    for file in packages.glob("torch-*.dist-info/METADATA"):
        lines = file.read_text().splitlines()
        file.write_text("\n".join(n for n in lines if not _REQUIRED.match(n)) + "\n")
    _add_libraries(packages / "torch" / "lib")


def _add_libraries(folder: Path) -> None:
    """Add one library, under the name of each that is missing, if any is."""
    needed: set[str] = set()
    asked: dict[str, str] = {}
    defined: set[str] = set()
    for path in folder.glob("*.so*"):
        needed |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", _read("-d", path)))
        for line in _read("--dyn-syms", path).splitlines():
            words = line.split()
            if len(words) > 7 and words[0].rstrip(":").isdigit():
                name, _, version = words[7].partition("@")
                if words[6] != "UND":
                    defined.add(name)
                elif _CUDA.match(name):
                    asked[name] = version
    missing = sorted(
        name
        for name in needed
        if re.match("lib(cu|nv|nccl)", name) and not (folder / name).exists()
    )
    if missing:
        functions = {n: version for n, version in asked.items() if n not in defined}
        _compile(functions, folder / missing[0])
    for name in missing[1:]:
        (folder / name).symlink_to(missing[0])


def _compile(functions: dict[str, str], library: Path) -> None:
    """Make a library of functions, each of a version (or none, as an empty word)."""
    code = [f"long {name}() {{ return {_answer(name)}; }}" for name in functions]
    versions: dict[str, list[str]] = {}
    for name, version in functions.items():
        versions.setdefault(version, []).append(name)
    versions.pop("", None)
    script = library.with_suffix(".versions")
    script.write_text(
        "".join(f"{v} {{ global: {'; '.join(n)}; }};\n" for v, n in versions.items())
    )
    command = ["gcc", "-w", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, input="\n".join(code), text=True, check=True)


def _answer(name: str) -> str:
    if re.search("Error(String|Name)$|LastError", name):
        return '(long) ""' if name.endswith(("String", "Name")) else "0"
    return str(_NO_DEVICE)


def _read(what: str, path: Path) -> str:
    command = ["readelf", "-W", what, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
