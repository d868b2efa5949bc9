"""Defects of BP4D and DISFA, whose frames are coded one by one."""

import numpy as np
from scipy.io import loadmat, savemat

from fakes.files import cut, edit_lines


def bp4d_gap(root, manifest, name="F001_T1"):
    """Leave the rows 11 to 13 out of an occurrence file; the manifest then tells the truth."""
    path = root / manifest["recordings"][name]["file"]
    edit_lines(path, lambda lines: lines[:11] + lines[14:])
    its = manifest["recordings"][name]
    for unit, codes in its["occurrence"].items():
        _recount(manifest, name, unit, codes[10:13].count("1"))
        its["occurrence"][unit] = codes[:10] + codes[13:]
    its["frames"] = its["frames"][:10] + its["frames"][13:]
    manifest["frames"] -= 3
    _part_of(manifest, name)["frames"] -= 3


def bp4d_unknown(root, manifest, name="F001_T2", unit=4):
    """Write code 9 in the rows 4 to 9 of a unit."""
    its = manifest["recordings"][name]
    frames = {str(frame).encode() for frame in its["frames"][3:9]}

    def change(lines):
        rows = [line.split(b",") for line in lines]
        for row in rows:
            if row[0] in frames and len(row) == 100:
                row[unit] = b"9"
        return [b",".join(row) for row in rows]

    edit_lines(root / its["file"], change)
    codes = its["occurrence"][f"AU{unit}"]
    _recount(manifest, name, f"AU{unit}", codes[3:9].count("1"))
    its["occurrence"][f"AU{unit}"] = codes[:3] + "9" * 6 + codes[9:]


def bp4d_conflict(root, manifest, name="F001_T1", unit=12):
    """Write intensity 0 where a unit is present, in the first four such frames; other ghosts there are silenced."""
    its = manifest["recordings"][name]
    shown = dict(zip(its["frames"], its["occurrence"][f"AU{unit}"], strict=True))
    present = [frame for frame, code in shown.items() if code == "1"][:4]
    path = next(root.glob(f"AUCoding/AU_INT/AU{unit:02d}/{name}_AU{unit:02d}.csv"))

    def change(lines):
        weak = {f"{frame},".encode() for frame in present}
        return [line[:-1] + b"0" if line[:-1] in weak else line for line in lines]

    edit_lines(path, change)


def _part_of(manifest, name):
    from affectkit.datasets.bp4d import PARTS

    return manifest["parts"][next(part for part, people in PARTS.items() if name[:4] in people)]


def _recount(manifest, name, unit, fewer):
    for counts in (manifest, _part_of(manifest, name)):
        counts["positives"][unit] -= fewer


def bp4d_images(root, manifest, missing=2):
    """Delete the last coded images of the first recording and cut its second one; returns the one that is cut."""
    folder = root / "Sequences(2D+3D)" / "F001" / "T1"
    its = manifest["recordings"]["F001_T1"]
    for frame in range(its["last"] - missing + 1, its["last"] + 1):
        (folder / f"{frame - 1:04d}.jpg").unlink()
    return cut(folder / f"{its['first']:04d}.jpg")


def spoil_fit(path, defect):
    """End a file of `fit` entries four entries early ("absent"), give the last a point too few, or cut it off."""
    if defect == "truncated":
        cut(path)
        return
    fit = loadmat(path)["fit"]
    if defect == "absent":
        fit = fit[:, :-4]
    else:
        fit[0, -1]["pred"] = np.ones((48, 2))
    savemat(path, {"fit": fit}, do_compression=True)


def disfa_gap(root, manifest):
    """Leave the frames 11 to 13 out of all files of the first subject."""
    subject, its = next(iter(manifest["recordings"].items()))
    for path in (root / "ActionUnit_Labels" / subject).iterdir():
        edit_lines(path, lambda lines: lines[:10] + lines[13:])
    for unit, levels in its["intensity"].items():
        fewer = sum(int(level) >= 2 for level in levels[10:13])
        for counts in (manifest, manifest["parts"]["part1"]):
            counts["positives"][unit] -= fewer
        its["intensity"][unit] = levels[:10] + levels[13:]
    its["frames"] = its["frames"][:10] + its["frames"][13:]
    for counts in (manifest, manifest["parts"]["part1"]):
        counts["frames"] -= 3


def disfa_absent_unit(root, manifest):
    """Delete the file of AU4 of the second subject."""
    subject = list(manifest["recordings"])[1]
    (root / "ActionUnit_Labels" / subject / f"{subject}_au4.txt").unlink()
    levels = manifest["recordings"][subject]["intensity"].pop("AU4")
    fewer = sum(int(level) >= 2 for level in levels)
    for counts in (manifest, manifest["parts"]["part3"]):
        counts["positives"]["AU4"] -= fewer


def spoil_points(root, defect, subject="SN001"):
    """Delete the fourth file of points ("absent"), give it a point too few ("count"), or cut it off."""
    path = sorted((root / "Landmark_Points" / subject / "tmp_frame_lm").iterdir())[3]
    if defect == "absent":
        path.unlink()
    elif defect == "truncated":
        cut(path)
    else:
        savemat(path, {"pts": loadmat(path)["pts"][:-1]}, do_compression=True)
