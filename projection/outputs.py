"""The files of a projection: pictures, latents, noise, curves, tuned network."""

import csv
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from dnnlib import atomic_write, write_json
from projection.optimization import ProjectionResult
from torch_utils.media.images import make_grid, save_image, to_uint8
from training.snapshot import Snapshot, save_snapshot


def write_outputs(
    folder: Path, result: ProjectionResult, i: int, target: torch.Tensor, settings: dict[str, Any], snapshot: Snapshot
) -> None:
    """Write all files of target number `i` of `result` into `folder`.

    Args:
        folder: exists.
        result: of `project`.
        i: index of the target in `result`.
        target: uint8 [C, R, R].
        settings: JSON values that go into `projection.json` beside the distances.
        snapshot: where the generator is from; its metadata go with a tuned one.
    """
    image = to_uint8(result.images[i])
    save_image(folder / "target.png", target)
    save_image(folder / "proj.png", image)
    save_image(folder / "comparison.png", make_grid(torch.stack([target, image]), columns=2))
    with atomic_write(folder / "projected_w.npz") as stream:
        stream.write(latents_file(result.ws[i : i + 1]))
    noise = {f"synthesis.{name}": maps[i].contiguous() for name, maps in result.noise.items()}
    with atomic_write(folder / "projected_noise.safetensors") as stream:
        stream.write(safetensors.torch.save(noise))
    _write_curve(folder / "loss.csv", result, i)
    if can_plot():
        _plot_curve(folder / "loss.png", result, i, settings["distance"])
    if result.tuned:
        metadata = {**snapshot.metadata, "tuned_for": settings["target"]}
        save_snapshot(folder / "tuned-network.safetensors", G=None, D=None, G_ema=result.tuned[i], metadata=metadata)
    write_json(folder / "projection.json", {**settings, **measurements(result, i)})


def latents_file(ws: torch.Tensor) -> bytes:
    """The bytes of an .npz with ws [N, num_ws, w_dim], as `generate.py --projected-w` reads it."""
    buffer = io.BytesIO()
    np.savez(buffer, w=ws.numpy())
    return buffer.getvalue()


def can_plot() -> bool:
    """Whether matplotlib is there, without which `loss.png` is left out."""
    return importlib.util.find_spec("matplotlib") is not None


def measurements(result: ProjectionResult, i: int) -> dict[str, Any]:
    """Distance, PSNR in dB and best step of target `i`, and those of the pivot before tuning."""
    values = {
        "final_distance": float(result.distance[i]),
        "psnr_db": float(result.psnr[i]),
        "best_step": int(result.best_step[i]),
    }
    if result.pivot_distance is not None:
        values |= {"pivot_distance": float(result.pivot_distance[i]), "pivot_psnr_db": float(result.pivot_psnr[i])}
    return values


def _write_curve(path: Path, result: ProjectionResult, i: int) -> None:
    with atomic_write(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["stage", "step", "distance", "noise_regularization", "learning_rate"])
        rows = zip(result.curve["distance"][:, i], result.curve["noise"][:, i], result.curve["rate"], strict=True)
        for step, (distance, noise, rate) in enumerate(rows):
            writer.writerow(["latent", step, f"{distance:.8g}", f"{noise:.8g}", f"{rate:.8g}"])
        if result.tuning_curve is not None:
            for step, distance in enumerate(result.tuning_curve[:, i]):
                writer.writerow(["tuning", step, f"{distance:.8g}", "", ""])


def _plot_curve(path: Path, result: ProjectionResult, i: int, distance: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    latent = result.curve["distance"][:, i]
    axes.semilogy(latent, label="latents")
    if result.tuning_curve is not None:
        tuning = result.tuning_curve[:, i]
        axes.semilogy(range(len(latent), len(latent) + len(tuning)), tuning, label="tuning")
    axes.plot(result.best_step[i], latent[result.best_step[i]], "o", label="kept")
    axes.set_xlabel("step")
    axes.set_ylabel(f"{distance} distance")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    with atomic_write(path) as stream:
        stream.write(buffer.getvalue())
