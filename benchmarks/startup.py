"""Start of the command line, as a multiple of `import torch`; prints processor seconds and ratios.

    python benchmarks/startup.py [--rounds 3]

Help and wrong option names are answered before anything heavy is imported. A run needs Lightning, and Lightning needs
torchmetrics, which imports torchvision and SciPy.
"""

import argparse
import resource
import statistics
import subprocess
import sys

CASES = {
    "import torch": ["-c", "import torch"],
    "import lightning.pytorch.cli": ["-c", "import lightning.pytorch.cli"],
    "affectkit fit --help": ["-m", "affectkit", "fit", "--help"],
    "affectkit fit, misspelt option": [
        "-m",
        "affectkit",
        "fit",
        "--config",
        "joint/demo",
        "--model.lrr",
        "3",
    ],
    "affectkit fit, wrong value": ["-m", "affectkit", "fit", "--config", "joint/demo", "--model.lr", "x"],
    "affectkit fit --print_config": ["-m", "affectkit", "fit", "--config", "joint/demo", "--print_config"],
}


def seconds(arguments: list[str]) -> float:
    """Processor time of a fresh Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Take turns, so that a busy machine slows all of them alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    reference = statistics.median(times["import torch"])
    for name, found in times.items():
        print(f"{name:<32} {statistics.median(found):6.2f} s {statistics.median(found) / reference:6.2f}")


if __name__ == "__main__":
    main()
