"""What `--precision` means on each device."""

import torch

ALL_RESOLUTIONS = 9


def resolve_precision(choice: str, device: str) -> tuple[str, int, bool]:
    """Number format, how many of the highest resolutions use it, and whether in channels_last.

    `auto` is bfloat16 where the device multiplies it faster than float32: on GPUs from compute capability
    8.0 and on CPUs with AMX or AVX512-BF16; float16 (highest four resolutions, as in the reference) on
    older GPUs; else float32.

    Args:
        choice: "auto", "fp32", "bf16" or "fp16".
        device: "cpu" or "cuda".
    """
    if choice == "auto":
        if device == "cuda":
            choice = "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
        else:
            choice = "bf16" if cpu_has_bf16_units() else "fp32"
    if choice == "fp32":
        return "float32", 0, False
    if choice == "bf16":
        return "bfloat16", ALL_RESOLUTIONS, True
    return "float16", 4, True


def cpu_has_bf16_units() -> bool:
    """Whether the CPU multiplies bfloat16 faster than float32: AMX or AVX512-BF16."""
    # Missing before torch 2.10 or so; float32 is right everywhere.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
