"""Lightning trains on feeds, and goes on in the middle of an epoch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_bundle as toy

from tosg_graph.export import write_bundle

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Lightning's own imports
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from tosg_graph.lightning import TosgDataModule


class Watcher(LightningModule):
    """Learns nothing and keeps which cells it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(7, 2)
        self.seen: list[tuple[int, list[int]]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.rows.tolist()))
        return torch.nn.functional.cross_entropy(self.layer(batch.x[..., 0]), batch.y)

    def validation_step(self, batch: Any, _: int) -> None:
        self.validated += batch.rows.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "bundle"
    write_bundle(toy.selection(), toy.measured(), cohort="true", label="cell_type", out=out, seed=7)
    return out


@pytest.mark.filterwarnings(
    "ignore"
)  # Lightning advises on workers, and names what newer versions will change
def test_training_goes_on_with_the_batch_after_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    def train(how: dict[str, Any], checkpoint: Path | None = None) -> Watcher:
        model = Watcher()
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=3,
            num_sanity_val_steps=0,
            **how,
        )
        data = TosgDataModule(folder, 2, block_cells=1)
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=False)
        return model

    whole = train({"enable_checkpointing": False})
    assert [epoch for epoch, _ in whole.seen] == [0] * 3 + [1] * 3 + [2] * 3
    assert len({str(rows) for _, rows in whole.seen}) > 3, "each epoch has an order of its own"
    assert sorted(set(whole.validated)) == list(range(len(TosgDataModule(folder, 2).dataset("val"))))
    kept = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=4, save_top_k=-1)
    first = train({"callbacks": [kept], "max_steps": 4})
    rest = train({"enable_checkpointing": False}, next((tmp_path / "kept").iterdir()))
    assert first.seen + rest.seen == whole.seen
