"""What numbers depend on, to stand beside them: versions, processor or GPU, threads, commit, date and command."""

import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import torch

SOURCE = Path(__file__).resolve().parents[2]  # of a checkout, or where packages are installed
COMMAND = SOURCE / "rooted_stylegan" / "__main__.py"  # the project's command as a script, for further processes


def versions(*packages: str) -> dict[str, str]:
    """The version by name of each package that is installed; `python` is one, and torch's names its build."""
    found = {}
    for name in packages:
        if name in ("python", "torch"):
            found[name] = platform.python_version() if name == "python" else str(torch.__version__)
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the source, marked where files differ from it; empty without git or where it is no checkout."""
    if not (SOURCE / ".git").exists():
        return ""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def processor() -> str:
    """The processor's name, and which short number formats it multiplies natively."""
    fields = processor_fields()
    formats = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    return " ".join([fields.get("model name") or platform.processor() or platform.machine(), *formats])


def processor_fields() -> dict[str, str]:
    """What Linux says of the processor, such as its `flags`; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)


def provenance(device: str | torch.device = "cpu", *packages: str) -> dict[str, str | int]:
    """Where numbers come from: the device's name, threads, versions of Python, PyTorch and `packages`, commit, date.

    The command is that of this process, as it was given.
    """
    place = torch.device(device)
    module = sys.modules["__main__"].__spec__  # None for a file
    program = [sys.argv[0]] if module is None else ["-m", module.name.removesuffix(".__main__")]
    return {
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        **versions("torch", "python", *packages),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", *program, *sys.argv[1:]]),
    }
