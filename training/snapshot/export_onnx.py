"""The generator as an ONNX file, compared with PyTorch before it is written."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dnnlib import UserError, atomic_write
from torch_utils.ops import use_implementation
from training.networks import Generator

TOLERANCE = 1e-3  # largest difference of any pixel, in images of about [-1, 1]
_CHECKED_BATCHES = (1, 3)


class _Images(torch.nn.Module):
    """z [N, z_dim] (and c [N, c_dim]) to images with constant noise: what the ONNX file computes."""

    def __init__(self, G: Generator, truncation_psi: float, truncation_cutoff: int | None) -> None:
        super().__init__()
        self.G = G
        self.truncation_psi = truncation_psi
        self.truncation_cutoff = truncation_cutoff

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.G(
            z,
            c,
            truncation_psi=self.truncation_psi,
            truncation_cutoff=self.truncation_cutoff,
            noise_mode="const",
            fused_modconv=False,  # grouped convolutions with groups by batch size cannot be exported
        )


def export_onnx(
    G: Generator,
    path: str | os.PathLike,
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    opset: int | None = None,
) -> float:
    """Write G with constant noise as ONNX: `z` [N, z_dim] (and `c` [N, c_dim]) to `image` [N, C, H, W], any N.

    Args:
        G: on the CPU, in evaluation mode.
        path: where to; the weights are inside the file.
        truncation_psi: fixed in the file.
        truncation_cutoff: likewise.
        opset: None for the highest that the installed onnxruntime accepts.

    Returns: the largest absolute difference to PyTorch on random latents, for batches of 1 and 3.

    Raises:
        UserError: a package is missing, the file cannot be written, or the outputs differ by more than `TOLERANCE`;
            nothing is written then.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX export needs onnx, onnxruntime and onnxscript: pip install {error.name}") from error
    model = _Images(G, truncation_psi, truncation_cutoff).eval()
    data = _export(model, _inputs(G, batch=2), opset or runtime_opset())
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    difference = max(_difference(session, model, _inputs(G, batch)) for batch in _CHECKED_BATCHES)
    if not difference <= TOLERANCE:
        raise UserError(f"{path} was not written: ONNX differs from PyTorch by {difference:.2g}, more than {TOLERANCE}")
    with atomic_write(path) as stream:
        stream.write(data)
    return difference


def runtime_opset() -> int:
    """The highest opset that the installed onnxruntime accepts, found by loading the smallest of models."""
    import onnx
    import onnxruntime

    value = onnx.helper.make_tensor_value_info
    x, y = (value(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "probe", [x], [y])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for version in range(onnx.defs.onnx_opset_version(), 0, -1):
        opset = onnx.helper.make_opsetid("", version)
        model = onnx.helper.make_model(
            graph, opset_imports=[opset], ir_version=onnx.helper.find_min_ir_version_for([opset])
        )
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            continue
        return version
    raise UserError("the installed onnxruntime loads no ONNX model at all; install it again")


def _inputs(G: Generator, batch: int) -> dict[str, torch.Tensor]:
    random = np.random.RandomState(batch)
    inputs = {"z": torch.from_numpy(random.randn(batch, G.z_dim)).float()}
    if G.c_dim:
        inputs["c"] = torch.eye(G.c_dim)[random.randint(G.c_dim, size=batch)]
    return inputs


def _export(model: _Images, inputs: dict[str, torch.Tensor], opset: int) -> bytes:
    batch = torch.export.Dim("N", min=1)
    with use_implementation("torch"), torch.no_grad(), _quiet():
        program = torch.onnx.export(
            model,
            kwargs=inputs,
            dynamo=True,
            opset_version=opset,
            input_names=list(inputs),
            output_names=["image"],
            dynamic_shapes={name: {0: batch} for name in inputs},
            verbose=False,
        )
    stream = io.BytesIO()
    program.save(stream)
    return stream.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress and its warnings about its own internals; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@torch.no_grad()
def _difference(session: Any, model: _Images, inputs: dict[str, torch.Tensor]) -> float:
    (found,) = session.run(["image"], {name: value.numpy() for name, value in inputs.items()})
    return float(np.abs(found - model(**inputs).numpy()).max())
