"""A smoke test of NCCL, on machines that have it."""

import pytest
import torch
from helpers.training import make_data, make_task
from lightning.pytorch import Trainer


@pytest.mark.gpu
def test_all_gpus_train_and_test_together(tmp_path):
    task, data = make_task(), make_data(4)
    trainer = Trainer(
        accelerator="gpu",
        devices=torch.cuda.device_count(),
        strategy="ddp" if torch.cuda.device_count() == 1 else "ddp_spawn",
        precision="bf16-mixed",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    assert all(0 <= row.estimate.value <= 1 for row in task.results["toy/au"] if row.name == "au/f1_pos")
