"""PCM3 under Lightning's Trainer: one LightningModule, the model's own losses, any optimiser.

Needs ``pip install pytorch-lightning``. Prints the losses of each epoch and what has entered the
queue: a batch of keys for every step of the optimiser.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pcm3 import PCM3
from pcm3.data import Batch, SkeletonDataset, collate, generate


class Pretraining(pl.LightningModule):
    """The model as Lightning wants it.

    Calling the model in training mode moves its key encoder, towards what the optimiser's last
    step left, and its queue: nothing of that is to be done here. Under ``strategy="ddp"`` the
    queues take the keys of all processes.
    """

    def __init__(self, model: PCM3, lr: float = 2e-3) -> None:
        super().__init__()
        self.model, self.lr = model, lr
        self.errors: list[float] = []  # of the masked prediction in each epoch

    def on_fit_start(self) -> None:
        # they move once for so many batches, which have to divide those of an epoch
        self.model.accumulate(self.trainer.accumulate_grad_batches)

    def training_step(self, batch: Batch) -> Tensor:
        output = self.model(batch.clips, batch.lengths)
        terms = {"total": output.total, **output.terms}
        self.log_dict(terms, on_step=False, on_epoch=True, batch_size=len(batch.clips))
        return output.total

    def on_train_epoch_end(self) -> None:
        means = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        shown = ("total", "info_nce/intra", "kl/intra", "masked_mse")
        figures = ", ".join(f"{name} {means[name]:.3f}" for name in shown)
        print(f"epoch {self.current_epoch + 1}: {figures}")
        self.errors.append(means["masked_mse"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [each for each in self.parameters() if each.requires_grad]  # not the key encoder
        return torch.optim.AdamW(trained, self.lr)


def main(epochs: int = 6, **options: Any) -> Pretraining:
    """Pretrain on synthetic skeletons, with options of Lightning's Trainer."""
    pl.seed_everything(0, verbose=False)
    model = PCM3.from_preset("small", persons=1, hidden=32, queue_size=1024)
    module = Pretraining(model)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    with tempfile.TemporaryDirectory() as folder:
        data = SkeletonDataset(generate(Path(folder) / "store", sequences=160))
        loader = DataLoader(data, 32, shuffle=True, drop_last=True, collate_fn=collate)
        trainer.fit(module, loader)
    keys, places = int(model.queue.position), len(model.queue)
    print(f"{trainer.global_step} steps; {keys} keys have entered the queue of {places}")
    return module


if __name__ == "__main__":
    main()
