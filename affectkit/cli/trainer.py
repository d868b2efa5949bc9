"""`affectkit fit|validate|test|predict`: help and names of options at once, then Lightning's command line."""

from __future__ import annotations

from collections.abc import Sequence

from affectkit.cli.options import check_options

__all__ = ["run"]

_WHAT = {
    "fit": "Train a recipe.",
    "validate": "Evaluate a checkpoint on the validation subjects.",
    "test": "Evaluate a checkpoint on the test subjects: every number with interval, baseline and protocol.",
    "predict": "Predict the data of a recipe into a table, one row a frame.",
}
_CHECKPOINT = {
    "fit": "continue the run that kept this checkpoint; `last` is the newest of this recipe",
    "validate": "checkpoint of `affectkit fit`; `last` is the newest of this recipe",
}
_HELP = """\
usage: affectkit {command} --config RECIPE [--config OVERLAY] [--OPTION VALUE]

{what}

  --config RECIPE           a YAML file, or a name from `affectkit recipe list`; a second one changes the first
  --ckpt_path PATH          {checkpoint}
  --seed_everything N       seed of the run
  --print_config            print the whole configuration and stop

Any value of the recipe is an option, by its path in the file (`affectkit recipe show RECIPE`):

  --model.lr 3e-4           an argument of the task; --model.heads.au.dropout 0.3 of a head
  --data.root FOLDER        where the corpus is
  --data.batch_size N       clips of each process and step
  --data.num_workers N      processes that load them
  --trainer.max_epochs N    epochs
  --trainer.accelerator X   cpu, gpu, auto
  --trainer.devices N       devices; with several add --config trainer/ddp
  --trainer.precision X     such as bf16-mixed
  --trainer.default_root_dir FOLDER
                            where logs, checkpoints and results go
{writes}
Options of a class: --model.help MultiTask, --data.help BP4DDataModule. All options: {everything}.
"""
_WRITES = {
    "fit": "\nCheckpoints are in the folder `checkpoints` beside the logs: those that the recipe asks for, and\n"
    "newest.ckpt, the state after the latest epoch.\n",
    "test": "\nResults are printed and written to test_results.json beside the logs (--results.filename).\n",
    "predict": "\nThe table is predictions.csv beside the logs (--predictions.filename).\n",
}


def run(args: Sequence[str]) -> int:
    """Run one of Lightning's sub-commands.

    Args:
        args: The sub-command and its arguments.
    """
    command, *rest = args
    if "-h" in rest or "--help" in rest:
        print(_help(command), end="")
        return 0
    full = ["--help" if argument == "--help-all" else argument for argument in rest]
    if full == rest:
        check_options(command, rest)
    from affectkit.cli.lightning import run as run_recipe

    return run_recipe([command, *full])


def _help(command: str) -> str:
    return _HELP.format(
        command=command,
        what=_WHAT[command],
        checkpoint=_CHECKPOINT.get(command, _CHECKPOINT["validate"]),
        writes=_WRITES.get(command, ""),
        everything=f"affectkit {command}{' --config RECIPE' * (command == 'predict')} --help-all",
    )
