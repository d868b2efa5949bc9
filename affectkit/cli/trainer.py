"""`affectkit fit|validate|test|predict`: fast help and check of option names, then Lightning's command line."""

from __future__ import annotations

from collections.abc import Sequence

from affectkit.cli.files import check_files
from affectkit.cli.options import check_options
from affectkit.errors import ConfigError

__all__ = ["run"]

_TITLES = {
    "fit": "Train a recipe.",
    "validate": "Evaluate a checkpoint on the validation subjects.",
    "test": "Evaluate a checkpoint on the test subjects, with intervals, baselines and protocol.",
    "predict": "Predict the data of a recipe into a table, one row per frame.",
}
_HELP = """\
usage: affectkit {command} --config RECIPE [--config OVERLAY] [--OPTION VALUE]

{title}

  --config RECIPE           a YAML file, or a name from `affectkit recipe list`; a second one changes the first
  --ckpt_path PATH          {checkpoint}; `last` is the newest of this recipe
{saved}  --seed_everything N       seed of the run
  --logger NAME             csv, tensorboard or wandb
  --print_config            print the whole configuration and stop

Any value of the recipe is an option, by its path in the file (`affectkit recipe show RECIPE`):

  --model.lr 3e-4           an argument of the task; --model.heads.au.dropout 0.3 of a head
  --data.root FOLDER        folder of the corpus
  --data.batch_size N       clips per process and step
  --data.num_workers N      processes that load them
  --trainer.max_epochs N    epochs
  --trainer.accelerator X   cpu, gpu, auto
  --trainer.devices N       devices; with several add --config trainer/ddp
  --trainer.precision X     such as bf16-mixed
  --trainer.default_root_dir FOLDER
                            folder of logs, checkpoints and results
{writes}
Options of a class: --model.help MultiTask, --data.help BP4DDataModule. All options: {everything}.
"""
_SAVED = """\
  --model NAME              instead: a saved model (folder, Hub name, `demo`, .ckpt) on the recipe's data, without
                            training; without a fold, on all subjects of the corpus
"""
_WRITES = {
    "fit": "\nThe folder `checkpoints` of the logs holds the checkpoints that the recipe asks for, and\n"
    "newest.ckpt, the state after the latest epoch. The last line is the command that tests the best one.\n",
    "test": "\nResults are printed and written to test_results.json in the log folder (--results.filename), and\n"
    "predictions with true labels to test_predictions.parquet (--predictions.test_filename).\n",
    "predict": "\nThe table is predictions.csv in the log folder (--predictions.filename).\n",
}


def run(args: Sequence[str]) -> int:
    """Run one of Lightning's sub-commands, the first of `args`."""
    command, *rest = args
    if "-h" in rest or "--help" in rest:
        print(
            _HELP.format(
                command=command,
                title=_TITLES[command],
                checkpoint=f"checkpoint of `affectkit fit`{' to continue' * (command == 'fit')}",
                saved=_SAVED if command in ("validate", "test") else "",
                writes=_WRITES.get(command, ""),
                everything=f"affectkit {command}{' --config RECIPE' * (command == 'predict')} --help-all",
            ),
            end="",
        )
        return 0
    full = ["--help" if argument == "--help-all" else argument for argument in rest]
    saved, full = _take_model(full) if command in ("validate", "test") else (None, full)
    if "--help" not in full:
        check_options(command, [*full, *([] if saved is None else ["--model", "SavedModel"])])
        if not any(argument.startswith("--print_config") for argument in full):
            check_files(full)
    from affectkit.cli.lightning import run as run_recipe

    return run_recipe([command, *full], model=saved)


def _take_model(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take the name of a saved model out of the arguments; a class, such as `MultiTask`, is left to Lightning."""
    kept: list[str] = []
    name: str | None = None
    remaining = iter(args)
    for argument in remaining:
        option, equals, value = argument.partition("=")
        if option != "--model":
            kept.append(argument)
            continue
        given = value if equals else next(remaining, None)
        if given is None:
            raise ConfigError("--model has no value.", remedy="Name a saved model, such as `demo`.")
        if given.rpartition(".")[2][:1].isupper() and "/" not in given:
            kept += ["--model", given]
        else:
            name = given
    return name, kept
