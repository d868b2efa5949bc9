"""Hundreds of damaged files and a sound one through `affectkit predict` in one go, and what became of each.

The files are truncated, bit-flipped, of a wrong suffix, empty, or announce a huge size (`tests/helpers/damaged.py`),
the same ones for the same seed. The bar: each gives an error that names it, or a table in which every row that failed
says why; nothing hangs or takes the command down; and the sound file's table is the one that it gets alone.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def predict(model: str, media: Path, output: Path, processes: int, limit: float) -> tuple[int, str]:
    """Run the command; its exit code and what it said."""
    command = [sys.executable, "-m", "affectkit", "predict", "--model", model, "--faces", "center", "--quiet"]
    command += ["--input", str(media), "--output", str(output), "--processes", str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    return done.returncode, done.stdout + done.stderr


def outcome(row: dict[str, str]) -> str:
    """What became of a file: one word, or what is wrong with how it ended."""
    from affectkit.inference import read_table

    source, table = Path(row["source"]), Path(row["table"])
    if row["status"] not in ("done", "failed"):
        return f"WRONG: status {row['status']}"
    if row["status"] == "failed" and source.name not in row["error"]:
        return f"WRONG: the error does not name the file: {row['error']}"
    if "unexpected" in row["error"]:
        return f"WRONG: {row['error']}"
    if not table.exists():
        ended = "The process that worked at it" in row["error"] or "given up" in row["error"]
        return "error" if not ended else f"error, its process gone: {row['error']}"
    rows = read_table(table)
    if list(rows["frame"]) != list(range(int(row["frames"]))):
        return "WRONG: frames are missing in the table"
    if rows.loc[~rows["success"], "reason"].isna().any():
        return "WRONG: a failed row without a reason"
    return "flagged rows" if not rows["success"].all() else "read whole"


def main() -> int:
    """Damage, predict, count; 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description="Damaged media through `affectkit predict`.")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo", help="folder or name of a model (default: demo)")
    parser.add_argument("--output", type=Path, default=Path("runs/damaged"), help="a new folder")
    parser.add_argument("--processes", type=int, default=1, help="of `affectkit predict` (default: 1)")
    parser.add_argument("--limit", type=float, default=7200, help="seconds for the command (default: 7200)")
    options = parser.parse_args()
    from helpers.damaged import damage, video

    options.output.mkdir(parents=True)
    media, tables = options.output / "media", options.out / "tables"
    damage(media, options.count, options.seed)
    sound = media / "sound.mp4"
    sound.write_bytes(video("mp4"))
    predict(options.model, sound, options.output / "sound.csv", 0, options.limit)
    began = time.monotonic()
    code, said = predict(options.model, media, tables, options.processes, options.limit)
    took = time.monotonic() - began
    (options.output / "said.txt").write_text(said, encoding="utf-8")
    with (tables / "_summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    outcomes = {Path(row["source"]).name: outcome(row) for row in rows}
    same = (tables / "sound.csv").read_bytes() == (options.output / "sound.csv").read_bytes()
    faults = [f"{name}: {what}" for name, what in outcomes.items() if what.startswith("WRONG")]
    faults += [f"exit code {code}, not 3"] * (code != 3) + ["a traceback was shown"] * ("Traceback" in said)
    faults += [f"{len(rows)} rows in _summary.csv"] * (len(rows) != options.count + 1)
    faults += ["the sound file's table is not the one it gets alone"] * (not same)
    kinds = Counter((name.split("_")[1] if "_" in name else "sound", what) for name, what in outcomes.items())
    for (kind, what), number in sorted(kinds.items()):
        print(f"{kind:<10} {what:<24} {number}")
    print(f"{len(rows)} files in {took:.0f} s, exit code {code}")
    print("\n".join(faults) or "nothing wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
