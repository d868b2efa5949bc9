"""Small recipes of each kind of training on the toy corpus, and a callback that stands for a kill."""

import copy
import os
import signal

import yaml
from lightning.pytorch import Callback

UNITS = "AU1,AU4,AU12"
TOWER = "affectkit-tiny"
MULTITASK = {
    "class_path": "MultiTask",
    "init_args": {
        "backbone": {"class_path": "TimmBackbone", "init_args": {"model_name": "test_convnext", "size": 32}},
        "heads": {
            "au": {
                "class_path": "AUHead",
                "init_args": {"space": UNITS, "per_frame": True, "dropout": 0.3},
            },
            "expression": {"class_path": "ExpressionHead", "init_args": {"space": "basic7"}},
        },
        "lr": 1e-3,
    },
}
SSM = {
    "class_path": "SSM",
    "init_args": {
        "backbone": {
            "class_path": "ClipBackbone",
            "init_args": {"model_name": TOWER, "size": 32, "moe": {"last": 1, "experts": 2, "hidden": 8}},
        },
        "heads": {
            "au": {
                "class_path": "PrototypeAUHead",
                "init_args": {"space": UNITS, "temporal": {"type": "framewise", "heads": 2}},
            },
            "expression": {
                "class_path": "PrototypeExpressionHead",
                "init_args": {"space": "basic7", "temporal": {"type": "clip_token", "heads": 2}},
            },
        },
        "bridge": {"class_path": "SemanticBridge", "init_args": {"text": {"model_name": TOWER}}},
        "lr": 1e-3,
        "backbone_lr": 1e-3,
        "milestones": [1],
        "ramp_epochs": 4,
    },
}
MICRO = {
    "class_path": "MicroAU",
    "init_args": {
        "backbone": {
            "class_path": "ClipBackbone",
            "init_args": {"model_name": "affectkit-tiny-patch8", "size": 32, "tokens": True},
        },
        "heads": {
            "au": {
                "class_path": "MicroAUHead",
                "init_args": {"space": UNITS, "text": {"model_name": TOWER}, "attention_heads": 2},
            }
        },
        "balance": {"au": "positives"},
        "lr": 1e-3,
    },
}
TOY = {"class_path": "helpers.toy.ToyDataModule", "init_args": {"batch_size": 4, "clips": 2}}
MIXTURE = {
    "class_path": "MixtureDataModule",
    "init_args": {"sources": {"first": TOY, "second": TOY}, "steps_per_epoch": 2},
}
KINDS = {
    "multitask": (MULTITASK, TOY),
    "mixture": (MULTITASK, MIXTURE),
    "ssm": (SSM, MIXTURE),
    "micro": (MICRO, TOY),
}


class KilledError(BaseException):
    """Stands for a kill: nothing after it runs."""


class Kill(Callback):
    """Kills a run at the start of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, task):
        if trainer.current_epoch == self.epoch:
            raise KilledError


class Die(Callback):
    """Kills the second process of a job at its second step."""

    def on_train_batch_start(self, trainer, task, batch, index):
        if trainer.global_rank == 1 and index == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def write_recipe(path, kind, *, kill=None, best="mode: min, monitor: step", **trainer):
    """Write a recipe of three epochs whose first one scores best, with averaged weights."""
    model, data = copy.deepcopy(KINDS[kind])
    checkpoint = {"filename": "best", "enable_version_counter": False, **yaml.safe_load(f"{{{best}}}")}
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": checkpoint},
        {"class_path": "EMA", "init_args": {"decay": 0.9}},
    ]
    if kill is not None:
        callbacks.append({"class_path": "helpers.interrupted.Kill", "init_args": {"epoch": kill}})
    settings = {
        "accelerator": "cpu",
        "max_epochs": 3,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "gradient_clip_val": 1.0,
        "default_root_dir": str(path.parent / "run"),
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(path.parent / "run"), "name": "logs"},
        },
        "callbacks": callbacks,
        **trainer,
    }
    recipe = {"seed_everything": 1, "trainer": settings, "model": model, "data": data}
    path.write_text(yaml.safe_dump(recipe))
    return str(path)
