"""Pictures of all that affectkit draws, for looking at and for the documentation: `make screenshots`.

Two rendered faces are filmed, the demo model that comes with affectkit predicts them, and what `affectkit report`
makes of that is photographed in headless Chromium: light, dark, and as wide as a phone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from chromium import Chromium, find

SIZE, FRAMES, FPS = 256, 100, 25.0


def film(path: Path) -> None:
    """Two people beside each other: one smiles and is then surprised, the other frowns."""
    from affectkit.synth import Face, FaceRenderer, Scene, write_video
    from affectkit.synth.sampling import sample_person

    def bump(middle: float, width: float = 0.11) -> np.ndarray:
        rise = np.exp(-(((np.arange(FRAMES) / FRAMES - middle) / width) ** 2))
        return np.asarray(rise)

    courses: list[dict[int, np.ndarray]] = [
        {6: bump(0.25), 12: bump(0.25), 1: bump(0.7), 2: bump(0.7), 5: bump(0.7), 26: bump(0.7)},
        {4: bump(0.45), 7: bump(0.45), 15: bump(0.6), 17: bump(0.6)},
    ]
    renderer, strips = FaceRenderer(SIZE), []
    for seed, course in enumerate(courses):
        renderer.set(sample_person(np.random.default_rng(seed + 4)), Scene(zoom=0.26, seed=seed))
        faces = ({unit: float(level[t]) for unit, level in course.items()} for t in range(FRAMES))
        strips.append(np.stack([renderer.render(Face(units)).image for units in faces]))
    write_video(path, np.concatenate(strips, axis=2), fps=FPS)


def main() -> int:
    """Make everything in one folder and name it."""
    parser = argparse.ArgumentParser(description="Pictures of all that affectkit draws.")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/screenshots"), help="(default: runs/screenshots)"
    )
    parser.add_argument("--video", type=Path, help="this one instead of rendered faces")
    parser.add_argument("--model", default="demo", help="folder or name of a model (default: demo)")
    options = parser.parse_args()
    if find() is None:
        print(
            "no Chromium is installed (`apt-get install chromium`), and CHROMIUM names none", file=sys.stderr
        )
        return 1
    from affectkit.data.video import open_video
    from affectkit.inference import (
        Predictor,
        write_clip_report,
        write_overlay,
        write_predictions,
        write_timelines,
    )

    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)
    video = options.video or out / "clip.mp4"
    if options.video is None:
        film(video)
    table = out / "clip.parquet"
    table.unlink(missing_ok=True)
    write_predictions(Predictor(options.model), video, table)
    write_timelines(table, out / "timeline.png")
    page = write_clip_report(table, out / "report.html", video=video).path
    overlay = write_overlay(table, video, out / "overlay.mp4").path
    with open_video(overlay) as reader:
        from PIL import Image

        shown = reader.num_frames // 4
        Image.fromarray(reader.read([shown])[0].permute(1, 2, 0).numpy()).save(out / "overlay.png")
    with Chromium() as browser:
        windows = {"light": (1200, 800, False), "dark": (1200, 800, True)}
        windows |= {"phone": (390, 844, False), "phone_dark": (390, 844, True)}
        for name, (width, height, dark) in windows.items():
            browser.open(page, width=width, height=height, dark=dark)
            browser.wait("document.getElementById('video').readyState >= 2")
            browser.run(
                f"(() => {{ const s = document.getElementById('frame'); s.value = {shown};"
                " s.dispatchEvent(new Event('input')); })()"
            )
            browser.wait("!document.getElementById('video').seeking")
            time.sleep(1)  # until the browser stops saying that it loads
            browser.screenshot(out / f"report_{name}.png")
            if browser.faults:
                print(f"the page has faults: {browser.faults}", file=sys.stderr)
                return 1
    for file in sorted(out.iterdir()):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
