"""Recipes that overlays are for, options that train a recipe for one step, and a small recipe."""

ONE_STEP = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]

BASES = {
    "trainer/": "joint/demo",
    "ablation/ssm_": "joint/ssm_rendered",
    "ablation/micro_": "micro/microauclip_rendered",
    "ablation/micro_vit_b32": "micro/casme2_microauclip",
    "ablation/auttt_": "au/auttt_rendered",
    "ablation/muldml_": "expression/muldml_rendered",
    "ablation/aullm_": "micro/aullm_rendered",
    "ablation/emocap_": "caption/emocap_rendered",
    "ablation/feallm_": "language/feallm_rendered",
    "ablation/fgsgl_": "micro/fgsgl_rendered",
    "ablation/engagement_": "engagement/rendered",
    "baseline/micro_": "micro/microauclip_rendered",
    "baseline/engagement_": "engagement/engagenet_signals",
    "micro/microauclip_rehearsal": "micro/casme2_microauclip",
    "joint/affwild2_rehearsal": "joint/affwild2_mtl",
}


def base_of(name):
    """Options that name the recipe under an overlay; none for a recipe. The longest beginning of the name counts."""
    starts = sorted((start for start in BASES if name.startswith(start)), key=len)
    return ["--config", BASES[starts[-1]]] if starts else []


def small_recipe(root, folder):
    """A recipe of one step on a rendered corpus."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    backbone = {"model_name": "test_convnext", "size": 32, "pretrained": False}
    head = {"class_path": "AUHead", "init_args": {"space": "AU1,AU12", "per_frame": True}}
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 1,
            "limit_val_batches": 1,
            "default_root_dir": str(folder / "run"),
            **quiet,
        },
        "model": {
            "class_path": "MultiTask",
            "init_args": {
                "backbone": {"class_path": "TimmBackbone", "init_args": backbone},
                "heads": {"au": head},
            },
        },
        "data": {
            "class_path": "RenderedDataModule",
            "init_args": {"root": str(root), "num_frames": 2, "size": 32, "batch_size": 2},
        },
    }
