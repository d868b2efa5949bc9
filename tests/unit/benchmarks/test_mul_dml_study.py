import pytest
import torch


def write_runs(setup, folder, scores):
    """Runs of the rehearsal with their embeddings: by variant the UAR of each seed."""
    import harness
    from mul_dml_setup import VARIANTS

    (folder / setup.name).mkdir()
    for variant, found in scores.items():
        N = VARIANTS[variant].slices
        for seed, uar in enumerate(found):
            results = {
                "uar": uar,
                "uar_trivial": 1 / 7,
                "near_error": 0.2,
                "far_error": 0.1,
                "collapsed": seed,
            }
            results |= {"thresholds": list(range(N)), "between": list(range(N))}
            if variant == "multi":
                results["spearman"] = 0.5 + 0.2 * seed
            generator = torch.Generator().manual_seed(seed)
            torch.save(
                torch.randn(9, N, 4, generator=generator), folder / setup.name / f"{variant}-{seed}.pt"
            )
            content = {"variant": variant, "seed": seed, "results": results, "processor_seconds": 9.0}
            harness.write_run(setup, folder, content)


def test_the_tables_compare_with_single_thresholds(tmp_path):
    from mul_dml_setup import Setup
    from mul_dml_tables import write_tables

    setup = Setup.rehearsal()
    scores = {f"tau_{tau}": [0.4, 0.6] for tau in ("02", "05", "10")}
    write_runs(
        setup,
        tmp_path,
        {"multi": [0.6, 0.8], **scores, "tau_15": [0.6, 0.6], "collapse_none": 4 * [0.0]},
    )
    text = write_tables(setup, tmp_path)
    assert text == (tmp_path / "mul_dml.md").read_text()
    lines = text.splitlines()
    assert "| all slices at 0.2 | 0.500 [-0.771, 1.771] | +0.200 [+0.200, +0.200] | 2 |" in lines
    assert any(
        line.startswith("| the best single threshold, chosen on test (oracle): all slices at 1.5 | +0.100")
        for line in lines
    )
    assert "| the mean over single thresholds | +0.175 [-0.143, +0.493] |" in lines
    assert any("threshold and its mean distance of two classes | 0.600" in line for line in lines)
    assert f"| no dual term | 3 of 4 | {6 / 4 / 16:.2f} |" in lines  # 0, 1, 2 and 3 collapsed slices
    assert (tmp_path / "mul_dml.png").stat().st_size > 1000


def test_alignment_is_1_for_rotations_and_small_for_noise():
    from mul_dml_tables import cka

    rng = torch.Generator().manual_seed(0)
    one, noise = (torch.randn(500, 4, generator=rng) for _ in range(2))
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=rng)).Q
    assert cka(one, 3 * one @ rotation + 1) == pytest.approx(1, abs=1e-5)
    assert cka(one, noise) < 0.05


def test_errors_are_split_into_near_and_far():
    from mul_dml_run import LABELS, accuracy

    truth = torch.arange(7)
    found = truth.clone()
    found[LABELS.index("fear")] = LABELS.index("surprise")
    found[LABELS.index("anger")] = LABELS.index("neutral")
    results = accuracy(found, truth)
    assert results["uar"] == pytest.approx(5 / 7)
    assert results["near_error"] == pytest.approx(1 / 4)  # of four clips of the near pairs
    assert results["far_error"] == pytest.approx(1 / 7)


def test_distances_of_classes_follow_their_slices():
    from mul_dml_run import geometry

    truth = torch.arange(7).repeat_interleave(2)
    near, far = torch.zeros(14, 8), torch.zeros(14, 8)
    near[:, 7] = 1
    near[truth == 0] = torch.eye(8)[0]  # one class away from all others
    far[torch.arange(14), truth] = 1
    results = geometry(torch.stack([near, far], dim=1), truth, torch.tensor([0.1, 2.0]))
    assert results["between"] == pytest.approx([2 * 6 / 21, 2.0])
    assert results["between_spread"][1] == pytest.approx(0, abs=1e-6)
    assert results["spearman"] == pytest.approx(1)
    single = geometry(torch.stack([near, far], dim=1), truth, torch.tensor([1.0, 1.0]))
    assert "spearman" not in single
