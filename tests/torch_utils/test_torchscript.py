"""TorchScript files that are damaged end in one line."""

import random

import pytest
import torch

from benchmarks.attack.changes import changed
from dnnlib import UserError
from torch_utils.torchscript import load_torchscript


class Means(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=[2, 3])


@pytest.mark.filterwarnings("ignore:.*torch.jit:")
def test_damaged_files_end_in_one_line(tmp_path):
    torch.jit.script(Means()).save(str(tmp_path / "whole.pt"))
    data = (tmp_path / "whole.pt").read_bytes()
    assert load_torchscript(tmp_path / "whole.pt", "detector", "cpu")[1] == {"self", "images"}
    refused = []
    for seed in range(60):
        (tmp_path / "damaged.pt").write_bytes(changed(data, random.Random(seed)))
        try:
            load_torchscript(tmp_path / "damaged.pt", "detector", "cpu")
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all(message.isprintable() and "`detector`=" in message for message in refused)
