"""Many media into many tables: the same rows however the work is divided, stopped or disturbed."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.damaged import damage, video
from helpers.killed import without_lightning
from PIL import Image

from affectkit.errors import AffectKitError, AnnotationError, ConfigError, VideoError
from affectkit.inference import Baseline, Predictor, Row, read_table, run, write_predictions
from affectkit.inference.run import predict_files
from affectkit.inference.smoothing import Smoothing
from affectkit.inference.sources import Media, find_media
from affectkit.inference.table_names import plan_tables

SUFFIXES = [".csv", ".jsonl", ".parquet"]


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=0, atol=2e-6)


@pytest.fixture
def media(tmp_path):
    """Two videos, a photo and a folder of frames."""
    folder = tmp_path / "in"
    (folder / "walk").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(video("mp4"))
    (folder / "b.mkv").write_bytes(video("mkv", frames=10))
    rng = np.random.default_rng(0)
    for k in range(3):
        picture = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "walk" / f"{k}.png")
    Image.fromarray(picture).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def model(make_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    make_model(4).save_pretrained(folder, metadata={"rendered": True})
    return folder


@pytest.fixture
def predictor(model):
    return Predictor(model, faces="center", batch_size=4)


def predict(predictor, inputs, out, suffix=".csv", **options):
    found = find_media([inputs]).media
    return predict_files(predictor, found, plan_tables(found, out, suffix, SUFFIXES), **options)


def test_each_gets_a_table_of_its_own_rows(predictor, media, tmp_path):
    heard = []
    out = tmp_path / "out"
    results = predict(
        predictor, media, out, summary=out / "_summary.csv", progress=lambda *now: heard.append(now[1:])
    )
    found = {str(one.table.relative_to(out)): (one.status, one.frames, one.failed) for one in results}
    assert found == {
        "a.csv": ("done", 24, 0),
        "b.csv": ("done", 10, 0),
        "photo.csv": ("done", 1, 0),
        "walk.csv": ("done", 3, 0),
    }
    assert results[0].warning is not None
    assert (0, 0, 24) in heard
    assert (0, 24, 24) in heard
    for one in results:
        rows = list(predictor.predict_file(one.source))
        table = read_table(one.table)
        assert table.frame.tolist() == [row.frame for row in rows]
        for name in predictor.columns:
            assert table[name].tolist() == pytest.approx([row.values[name] for row in rows], abs=1e-6)
        described = table.attrs["affectkit"]
        assert described["source"] == str(one.source)
        assert len(described["source_fingerprint"]) == 64
        assert described["smoothing"] is None
        assert described["fps"] == (25.0 if one.source.suffix in (".mp4", ".mkv") else None)
    assert read_table(out / "a.csv").attrs["affectkit"]["window_frames"] == {"before": 1, "after": 2}
    with (out / "_summary.csv").open() as file:
        summary = list(csv.DictReader(file))
    assert [(row["status"], row["frames"], row["error"]) for row in summary] == [
        ("done", "24", ""),
        ("done", "10", ""),
        ("done", "1", ""),
        ("done", "3", ""),
    ]


def test_a_second_run_does_what_is_left(predictor, media, tmp_path):
    out = tmp_path / "out"
    predict(predictor, media, out)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    (out / "b.csv").unlink()
    (out / "b.json").unlink()
    results = predict(predictor, media, out)
    assert [one.status for one in results] == ["there", "done", "there", "there"]
    assert [one.frames for one in results] == [24, 10, 1, 3]
    assert {one.warning for one in results} == {predictor.warning}
    for path, (content, changed) in before.items():
        assert path.read_bytes() == content
        assert path.stem == "b" or path.stat().st_mtime_ns == changed


def test_moving_model_and_media_changes_nothing(predictor, model, media, tmp_path):
    out = tmp_path / "out"
    predict(predictor, media, out)
    shutil.copytree(model, tmp_path / "elsewhere")
    moved = media.rename(tmp_path / "moved")
    elsewhere = Predictor(tmp_path / "elsewhere", faces="center")
    assert {one.status for one in predict(elsewhere, moved, out)} == {"there"}


def test_the_work_of_another_model_setting_or_source_is_not_replaced(predictor, make_model, media, tmp_path):
    out = tmp_path / "out"
    predict(predictor, media / "a.mp4", out)
    content = (out / "a.csv").read_bytes()
    torch.manual_seed(1)
    make_model(4, heads={"au": {"type": "au", "space": "AU1,AU12"}}).save_pretrained(tmp_path / "other")
    other = Predictor(tmp_path / "other", faces="center")
    (result,) = predict(other, media / "a.mp4", out)
    assert result.status == "failed"
    assert isinstance(result.error, ConfigError)
    assert "another model_sha256" in str(result.error)
    assert "--overwrite" in str(result.error)
    (result,) = predict(predictor, media / "a.mp4", out, smoothing=Smoothing(0.2))
    assert "another smoothing" in str(result.error)
    (media / "a.mp4").write_bytes(video("mp4", frames=9))
    (result,) = predict(predictor, media / "a.mp4", out)
    assert "another source_fingerprint" in str(result.error)
    assert (out / "a.csv").read_bytes() == content
    (result,) = predict(predictor, media / "a.mp4", out, overwrite=True)
    assert (result.status, result.frames) == ("done", 9)
    (out / "b.csv").write_text("name,age\nAda,36\n")
    (result,) = predict(predictor, media / "b.mkv", out)
    assert isinstance(result.error, AnnotationError)
    assert (out / "b.csv").read_text() == "name,age\nAda,36\n"


class Stop(BaseException):
    """Like Ctrl-C."""


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("smoothing", [None, Smoothing(0.3), Smoothing(7, "frames", "median")])
def test_an_interrupted_table_goes_on_to_the_same_rows(predictor, media, tmp_path, suffix, smoothing):
    whole = write_predictions(predictor, media / "a.mp4", tmp_path / f"whole{suffix}", smoothing=smoothing)
    path = tmp_path / f"cut{suffix}"

    def stop_at(frame):
        def progress(done, _):
            if done == frame:
                raise Stop

        return progress

    for frame in (5, 6, 20):
        with pytest.raises(Stop):
            write_predictions(
                predictor, media / "a.mp4", path, smoothing=smoothing, resume=True, progress=stop_at(frame)
            )
        assert read_table(path).frame.tolist() == list(range(frame))
        assert read_table(path).attrs["affectkit"]["complete"] is False
    done = write_predictions(predictor, media / "a.mp4", path, smoothing=smoothing, resume=True)
    assert (done.frames, done.failed, done.complete) == (24, 0, True)
    same(read_table(path), read_table(whole.path))


def test_only_what_is_needed_is_read_again(predictor, memory_video, tmp_path):
    first = memory_video(60)
    path = tmp_path / "t.csv"

    def stop(done, _):
        if done == 40:
            raise Stop

    options = {"smoothing": Smoothing(5, "frames"), "resume": True}
    with pytest.raises(Stop):
        write_predictions(predictor, first, path, progress=stop, **options)
    second = memory_video(60)
    write_predictions(predictor, second, path, **options)
    assert second.decoded <= 60 - 39 + 2 + 1  # half the smoothing's window and the model's frame before
    third = memory_video(60)
    write_predictions(predictor, third, path, **options)
    assert third.decoded == 0


def test_smoothed_tables_say_so(predictor, media, tmp_path):
    smoothing = Smoothing(0.4)
    table = read_table(
        write_predictions(predictor, media / "a.mp4", tmp_path / "t.csv", smoothing=smoothing).path
    )
    rows = list(smoothing(predictor.predict_file(media / "a.mp4")))
    assert table.AU12.tolist() == pytest.approx([row.values["AU12"] for row in rows], abs=1e-6)
    assert table.attrs["affectkit"]["smoothing"]["window_seconds"] == 0.4
    (result,) = predict(predictor, media / "walk", tmp_path / "out", smoothing=smoothing)
    assert "no times" in str(result.error)  # a folder of frames has none


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl", "openface"])
def test_intensities_less_the_persons_usual_ones(make_model, memory_video, tmp_path, name, monkeypatch):
    """The rows in the stream are untouched, so a run that was interrupted ends with the same numbers."""
    heads = {"au": {"type": "au", "space": "AU1,AU12"}, "i": {"type": "intensity", "space": "intensity:AU12"}}
    predictor = Predictor(make_model(heads=heads), faces="center")
    monkeypatch.setattr("affectkit.inference.formats.writer._ROWS", 7)
    options = {"format": "openface"} if name == "openface" else {}
    path = tmp_path / ("o.csv" if options else name)
    column, other = ("AU12_r", "AU12_p") if options else ("AU12_i", "AU12")
    baseline = Baseline(quantile=0.25, most_intensity=5.0, most_logit=0.0)
    plain = read_table(write_predictions(predictor, memory_video(40), path, **options).path)
    usual = plain[column].nsmallest(10).median()  # the calmest quarter of 40 frames
    expected = (plain[column] - usual).clip(lower=0)
    assert 0 < (expected > 0).sum() < 40

    def stop(done, _):
        if done == 33:
            raise Stop

    with pytest.raises(ConfigError, match="another baseline"):
        write_predictions(predictor, memory_video(40), path, baseline=baseline, resume=True, **options)
    path = tmp_path / "less" / path.name
    with pytest.raises(Stop):
        write_predictions(predictor, memory_video(40), path, baseline=baseline, progress=stop, **options)
    begun = read_table(path)
    assert begun[column].tolist() == pytest.approx(
        (plain[column][:33] - plain[column][:33].nsmallest(8).median()).clip(lower=0), abs=0.011
    )
    less = read_table(
        write_predictions(predictor, memory_video(40), path, baseline=baseline, resume=True, **options).path
    )
    assert less[column].tolist() == pytest.approx(expected.tolist(), abs=0.011 if options else 2e-6)
    assert less[other].tolist() == plain[other].tolist()
    assert less.attrs["affectkit"]["baseline"] == baseline.metadata()
    assert less.attrs["affectkit"]["baselines"] == {"0": {"AU12_i": pytest.approx(usual, abs=0.011)}}
    assert plain.attrs["affectkit"]["baseline"] is None


def test_no_baseline_without_units(make_model, media, tmp_path):
    predictor = Predictor(
        make_model(heads={"mood": {"type": "expression", "space": "basic7"}}), faces="center"
    )
    with pytest.raises(ConfigError, match="no action units"):
        write_predictions(predictor, media / "a.mp4", tmp_path / "t.csv", baseline=Baseline())
    assert not (tmp_path / "t.csv.partial").exists()


def test_a_neutral_photo_and_a_neutral_span(make_model, media, tmp_path):
    heads = {"i": {"type": "intensity", "space": "intensity:AU12"}}
    predictor = Predictor(make_model(heads=heads), faces="center")
    photo = media / "photo.png"
    (row,) = predictor.predict_file(photo)
    found = predict(predictor, media, tmp_path / "out", baseline=Baseline(neutral=photo))
    assert [one.error for one in found] == [None] * 4
    assert {one.status for one in found} == {"done"}
    about = read_table(tmp_path / "out" / "a.csv").attrs["affectkit"]
    neutral = {"AU12_i": pytest.approx(row.values["AU12_i"], abs=1e-6)}
    assert about["baseline"] == {"neutral_photo": "photo.png", "neutral_values": neutral}
    assert about["baselines"] == {"0": neutral}
    assert read_table(tmp_path / "out" / "photo.csv")["AU12_i"].tolist() == pytest.approx([0.0], abs=1e-5)
    again = predict(predictor, media, tmp_path / "out", baseline=Baseline(neutral=photo))
    assert {one.status for one in again} == {"there"}
    span = {
        one.source.name: one
        for one in predict(predictor, media, tmp_path / "span", baseline=Baseline(neutral=(0, 1)))
    }
    assert "no times" in str(span["walk"].error)
    assert span["a.mp4"].status == span["photo.png"].status == "done"
    blind = Predictor(make_model(heads=heads))
    with pytest.raises(ConfigError, match="neutral photo has no face"):
        write_predictions(blind, media / "a.mp4", tmp_path / "t.csv", baseline=Baseline(neutral=photo))


def test_a_bad_file_never_stops_the_others(predictor, media, tmp_path):
    (media / "bad.mp4").write_bytes(bytes(500))
    (media / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    out = tmp_path / "out"
    results = {one.source.name: one for one in predict(predictor, media, out, summary=out / "_summary.csv")}
    assert {name: one.status for name, one in results.items()} == {
        "a.mp4": "done",
        "b.mkv": "done",
        "bad.mp4": "failed",
        "c.png": "failed",
        "photo.png": "done",
        "walk": "done",
    }
    assert isinstance(results["bad.mp4"].error, VideoError)
    assert not results["bad.mp4"].table.exists()
    assert "None of its frames could be read" in str(results["c.png"].error)
    assert read_table(results["c.png"].table).success.tolist() == [False]
    summary = pd.read_csv(out / "_summary.csv").set_index("source")
    assert "cannot be read as a video" in summary.error[str(media / "bad.mp4")]
    again = {one.source.name: one.status for one in predict(predictor, media, out)}
    assert (again["bad.mp4"], again["c.png"], again["a.mp4"]) == ("failed", "failed", "there")


def test_a_summary_that_cannot_be_written_costs_no_table(predictor, media, tmp_path):
    out = tmp_path / "out"
    (out / "_summary.csv").mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=r"The summary cannot be written: Is a directory\. 4 of 4 tables are complete"
    ):
        predict(predictor, media, out, summary=out / "_summary.csv")
    assert read_table(out / "walk.csv").attrs["affectkit"]["complete"] is True


def test_a_full_disk_costs_only_the_tables_that_do_not_fit(predictor, media, tmp_path):
    resource = pytest.importorskip("resource")
    (media / "a.mp4").write_bytes(video("mp4", frames=400))
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(predictor, media, whole)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, before[1]))
    try:
        results = predict(predictor, media, out, summary=out / "_summary.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one.status for one in results] == ["failed", "done", "done", "done"]
    assert "a.csv: The table cannot be written: File too large. Choose a writable" in str(results[0].error)
    assert pd.read_csv(out / "_summary.csv").status.tolist() == ["failed", "done", "done", "done"]
    results = predict(predictor, media, out, summary=out / "_summary.csv")
    assert [one.status for one in results] == ["done", "there", "there", "there"]
    assert {path.name for path in out.iterdir()} - {path.name for path in whole.iterdir()} == {"_summary.csv"}
    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_an_unexpected_failure_is_that_files_alone(predictor, media, tmp_path, monkeypatch):
    normal = predictor.predict_video

    def odd(video, **options):
        if video.path.name == "a.mp4":
            raise MemoryError("out of\nmemory")
        return normal(video, **options)

    monkeypatch.setattr(predictor, "predict_video", odd)
    results = predict(predictor, media, tmp_path / "out")
    assert [one.status for one in results] == ["failed", "done", "done", "done"]
    assert "MemoryError: out of memory" in str(results[0].error)
    assert read_table(results[0].table).attrs["affectkit"]["complete"] is False


def test_no_face_is_no_failure_of_the_file(model, media, tmp_path):
    blind = Predictor(model, faces=lambda frames: [[] for _ in frames])
    (result,) = predict(blind, media / "a.mp4", tmp_path / "out")
    assert (result.status, result.frames, result.failed) == ("done", 24, 24)
    assert read_table(result.table).reason.tolist() == ["No face was found."] * 24


def test_ctrl_c_keeps_what_was_written_and_says_so(predictor, media, tmp_path):
    out = tmp_path / "out"

    def interrupt(results, number, done, _):
        if number == 1 and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(predictor, media, out, progress=interrupt, summary=out / "_summary.csv")
    assert pd.read_csv(out / "_summary.csv").status.tolist() == ["done", "begun", "waiting", "waiting"]
    assert read_table(out / "b.csv").frame.tolist() == list(range(4))
    results = predict(predictor, media, out)
    assert [one.status for one in results] == ["there", "done", "done", "done"]
    same(
        read_table(out / "b.csv"),
        read_table(write_predictions(predictor, media / "b.mkv", tmp_path / "b.csv").path),
    )


def test_processes_write_the_same_rows(model, predictor, media, tmp_path):
    predict(predictor, media, tmp_path / "one")
    (media / "bad.mp4").write_bytes(bytes(500))
    make = functools.partial(without_lightning, model)
    heard = []
    results = predict(
        make,
        media,
        tmp_path / "two",
        suffix=".parquet",
        processes=2,
        patience=None,
        progress=lambda *now: heard.append(now[1:]),
    )
    assert [one.status for one in results] == ["done", "done", "failed", "done", "done"]
    assert (0, 0, 24) in heard
    for name in ("a", "b", "photo", "walk"):
        same(read_table(tmp_path / "one" / f"{name}.csv"), read_table(tmp_path / "two" / f"{name}.parquet"))


def test_a_model_that_cannot_be_loaded_is_an_error_at_once(media, tmp_path):
    with pytest.raises(AffectKitError, match="nowhere"):
        predict(functools.partial(Predictor, str(tmp_path / "nowhere")), media, tmp_path / "out")


def test_devices_are_dealt_in_turn(model):
    from affectkit.inference.run import _Start

    asked = []

    def make(device):
        asked.append(device)
        return Predictor(model, faces="center")

    for place in range(3):
        _Start(make, ("cuda:0", "cuda:1"), (None, None, None, None, False, "auto", True), None)(place)
    assert asked == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_what_the_engines_are_told(tmp_path, monkeypatch, engine):
    told = {}

    def engine_of(start, jobs, **options):
        told.update(options, jobs=jobs, start=start)
        yield from ()

    monkeypatch.setattr(run, "run_on_ray" if engine == "ray" else "run_in_processes", engine_of)
    monkeypatch.setattr("os.cpu_count", lambda: 9)
    monkeypatch.chdir(tmp_path)
    media, tables = [Media(Path("in/a.mp4"), Path("a"))], [Path("out/a.csv")]
    arguments = {"devices": ["cpu", "cuda"], "processes": 2, "patience": 7.0, "address": "ray://head:10001"}
    predict_files(Predictor, media, tables, engine=engine, backend="pyav", format="csv", **arguments)
    start = told.pop("start")
    assert start.options == ("csv", None, None, None, False, "pyav", True)
    if engine == "ray":
        jobs = [(tmp_path / "in/a.mp4", tmp_path / "out/a.csv")]  # its workers may stand in another folder
        given = {"workers": 2, "gpus": 1.0, "patience": 7.0, "address": "ray://head:10001"}
        assert (told, start.threads) == ({"jobs": jobs, **given}, None)
        predict_files(Predictor, media, tables, engine=engine)
        assert (told["gpus"], told["workers"]) == (0.0, 1)
    else:
        jobs = [(Path("in/a.mp4"), Path("out/a.csv"))]
        assert (told, start.threads) == ({"jobs": jobs, "processes": 2, "patience": 7.0}, 4)


def test_an_engine_that_is_none(predictor, media, tmp_path):
    with pytest.raises(ConfigError, match="engine 'spark'"):
        predict(predictor, media, tmp_path, engine="spark")


def test_formats_of_openface_take_units_that_are_missing(predictor, media, tmp_path):
    predict(predictor, media / "b.mkv", tmp_path / "out", format="openface", fill_missing=0.0)
    header = (tmp_path / "out" / "b.csv").read_text().splitlines()[0].split(",")
    assert {"frame", "success", "AU45_c"} <= set(header)
    assert json.loads((tmp_path / "out" / "b.json").read_text())["format"] == "openface"
    for format, missing in (("csv", None), (None, None), ("openface", None), ("openface", np.nan)):
        (result,) = predict(predictor, media / "b.mkv", tmp_path / "out", format=format, fill_missing=missing)
        assert "cannot be continued" in str(result.error)
    (result,) = predict(predictor, media / "b.mkv", tmp_path / "out", format="openface", fill_missing=0)
    assert result.status == "there"


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_damaged_media_give_errors_or_flagged_rows(predictor, tmp_path):
    paths = damage(tmp_path / "in", 40, seed=1)
    whole = tmp_path / "in" / "whole.mp4"
    whole.write_bytes(video("mp4"))
    out = tmp_path / "out"
    predict(predictor, whole, out)
    finished = (out / "whole.csv").read_bytes()
    results = predict(predictor, tmp_path / "in", out)
    assert {one.source for one in results} == {*paths, whole}
    kinds = set()
    for one in results:
        if one.status == "failed" and not one.table.exists():
            assert one.error is not None
            assert "unexpected" not in str(one.error)
            assert one.source.name in str(one.error)
            kinds.add("error")
            continue
        table = read_table(one.table)
        assert table.attrs["affectkit"]["complete"] is True
        assert table.frame.tolist() == list(range(one.frames))
        assert table.reason[~table.success].notna().all()
        assert table.AU12[table.success].between(0, 1).all()
        kinds |= {"flagged"} if not table.success.all() else {"clean"}
    assert kinds == {"error", "flagged", "clean"}
    assert (out / "whole.csv").read_bytes() == finished


def test_rows_are_what_the_predictor_gives(predictor, memory_video, tmp_path):
    """With frames that cannot be read, also before the one where work goes on."""
    broken = memory_video(12, broken=(0, 5, 6, 11))
    writer = write_predictions(predictor, broken, tmp_path / "t.csv")
    assert (writer.frames, writer.failed) == (12, 4)
    rows: list[Row] = list(predictor.predict_video(memory_video(12, broken=(0, 5, 6, 11))))
    assert read_table(writer.path).success.tolist() == [row.success for row in rows]


def test_frames_that_give_no_rows_are_signs_of_life(model, memory_video, tmp_path):
    """Where work goes on, faces are searched from the start again: nobody may think that it hangs."""
    predictor = Predictor(model, faces=lambda frames: [[] for _ in frames])
    heard = []

    def stop(done, _):
        heard.append(done)
        if done == 20:
            raise Stop

    with pytest.raises(Stop):
        write_predictions(predictor, memory_video(24), tmp_path / "t.csv", progress=stop)
    heard.clear()
    with pytest.raises(Stop):
        write_predictions(predictor, memory_video(24), tmp_path / "t.csv", progress=stop, resume=True)
    assert heard.count(19) > 19  # the last frame that was written is done again


def test_the_reader_of_videos_can_be_chosen(predictor, media, tmp_path):
    for predict_one in (
        predictor.predict_file,
        functools.partial(write_predictions, predictor, path=tmp_path / "t.csv"),
    ):
        with pytest.raises(ConfigError, match="no video backend 'film'"):
            list(predict_one(media / "a.mp4", backend="film"))
    (result,) = predict(predictor, media / "a.mp4", tmp_path / "out", backend="film")
    assert "no video backend 'film'" in str(result.error)


def test_nothing_is_written_for_what_cannot_be_opened(predictor, tmp_path):
    with pytest.raises(VideoError):
        write_predictions(predictor, tmp_path / "missing.mp4", tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("small", "most", "threads"), [(10**9, None, 1), (10**9, 4, 1), (0, 4, 4), (0, None, 3)]
)
def test_small_models_get_one_thread(model, monkeypatch, small, most, threads):
    given = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(run, "_SMALL", small)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    monkeypatch.setattr("torch.set_num_threads", given.append)
    run.limit_threads(Predictor(model, faces="center"), most)
    assert given == [threads]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    run.limit_threads(Predictor(model, faces="center"), most)
    assert given == [threads]
