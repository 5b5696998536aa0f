"""The examples of docs/use-elsewhere.md, each on a tiny model, where its package is installed."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import rooted

PAGE = Path(__file__).resolve().parents[2] / "docs" / "use-elsewhere.md"


def example(heading: str) -> str:
    """The code under a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)


def batch(seed=0):
    """64 samples of 8 features; the label is the largest of the first three."""
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :3].argmax(1)


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def accuracy(model):
    x, y = batch()
    return (model(x).argmax(1) == y).float().mean().item()


def test_plain_loop():
    model = tiny()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    x, y = batch()
    for _ in range(60):
        scope = {"model": model, "x": x, "y": y}
        exec(example("A plain PyTorch loop"), scope)
        optimizer.zero_grad()
        scope["loss"].backward()
        optimizer.step()
    assert isinstance(scope["criterion"], rooted.RootedCrossEntropyLoss)
    assert accuracy(model) > 0.9


def test_timms_script_with_mixup_targets():
    timm = pytest.importorskip("timm")
    from timm.data import Mixup

    scope = {"args": SimpleNamespace(smoothing=0.1), "device": "cpu"}
    exec(example("timm's training script"), scope)
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4)
    x, y = torch.randn(4, 3, 64, 64), torch.arange(4)
    mixed, soft = Mixup(mixup_alpha=0.8, num_classes=4)(x, y)
    for inputs, target in ((x, y), (mixed, soft)):
        loss = scope["train_loss_fn"](model(inputs), target)
        loss.backward()
        assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from transformers.modeling_outputs import SequenceClassifierOutput

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = tiny()

        def forward(self, x, labels=None):
            return SequenceClassifierOutput(logits=self.layers(x))

    x, y = batch()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=20, per_device_train_batch_size=16, learning_rate=0.02,
        report_to=[], save_strategy="no", use_cpu=True, remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    data = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    scope = {"Trainer": transformers.Trainer, "model": Model(), "args": arguments, "data": data}
    exec(example("Hugging Face `Trainer`"), scope)
    scope["trainer"].train()
    assert accuracy(scope["model"].layers) > 0.9


def test_hugging_face_loss_over_accumulation_steps_is_the_loss_of_the_whole_batch():
    """Steps with unequal numbers of labels that count: their sum is the mean over all of them."""
    scope = {"Trainer": lambda **_: None, "model": None, "args": None, "data": None}
    exec(example("Hugging Face `Trainer`"), scope)
    compute_loss = scope["compute_loss"]
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 5, 3), torch.randint(3, (4, 5))
    labels[0, 1:] = -100
    labels[3] = -100
    count = (labels != -100).sum()
    steps = [
        compute_loss(SimpleNamespace(logits=logits[i : i + 2]), labels[i : i + 2], num_items_in_batch=count)
        for i in (0, 2)
    ]
    whole = rooted.RootedCrossEntropyLoss(k=8, form="bounded")(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(sum(steps), whole)
    torch.testing.assert_close(compute_loss(SimpleNamespace(logits=logits), labels), whole)


def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning")
    scope = {"torch": torch}
    exec(example("Lightning"), scope)
    model = scope["Classifier"](tiny())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch()), batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=50, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, loader)
    assert accuracy(model.model) > 0.85


def test_scikit_learn():
    pytest.importorskip("sklearn")
    x, y = (part.numpy() for part in batch())
    scope = {"x": x, "y": y}
    exec(example("scikit-learn"), scope)
    assert scope["RootedLogisticRegression"](k=3).fit(x, y).score(x, y) > 0.9


def test_gan_losses():
    generator, discriminator = nn.Linear(4, 8), nn.Linear(8, 1)
    x, _ = batch()
    scope = {"D": discriminator, "G": generator, "x": x, "z": torch.randn(64, 4)}
    exec(example("A GAN"), scope)
    (scope["d_loss"] + scope["g_loss"]).backward()
    assert all(torch.isfinite(p.grad).all() for m in (generator, discriminator) for p in m.parameters())
