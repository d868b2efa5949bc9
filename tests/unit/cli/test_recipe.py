import pytest
import yaml

from affectkit.cli import recipe
from affectkit.cli.main import main
from affectkit.errors import ConfigError


def test_list_names_every_recipe_with_its_first_line(capsys):
    assert main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipe.recipe_names()
    assert "joint/demo" in recipe.recipe_names()
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


def content(text):
    return yaml.safe_load(text)


def composed(folder, text, **others):
    """What `main.yaml` with `text` is, beside other files."""
    for name, other in {"main": text, **others}.items():
        (folder / f"{name}.yaml").write_text(other)
    return content(recipe.as_text(recipe.compose(folder / "main.yaml")))


@pytest.mark.parametrize("name", ["joint/demo", "joint/demo.yaml", "recipes/joint/demo.yaml"])
def test_recipes_are_found_by_any_spelling(name, capsys):
    assert main(["recipe", "show", name]) == 0
    assert capsys.readouterr().out == (recipe.recipe_folder() / "joint" / "demo.yaml").read_text(
        encoding="utf-8"
    )


def test_a_users_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "mine.yaml"
    own.write_text("a: 1\n")
    assert recipe.find_recipe("mine.yaml").resolve() == own


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("nope", "a name from `affectkit recipe list`"),
        ("joint/dmeo.yaml", "Did you mean joint/demo?"),
        ("demo", "Did you mean joint/demo?"),
        ("recipes/rafdb", "Did you mean expression/rafdb or zero_shot/rafdb?"),
    ],
)
def test_unknown_recipe_names_the_nearest(name, remedy):
    with pytest.raises(ConfigError, match=f"There is no recipe '{name}'") as raised:
        recipe.find_recipe(name)
    assert remedy in raised.value.remedy


def test_copy_makes_folders_and_never_overwrites(tmp_path, capsys):
    target = tmp_path / "new" / "mine.yaml"
    assert main(["recipe", "copy", "joint/demo", str(target)]) == 0
    source = recipe.find_recipe("joint/demo")
    assert target.read_text().startswith(source.read_text().partition("\nseed_everything")[0])
    assert content(target.read_text()) == content(recipe.as_text(recipe.compose(source)))
    target.write_text("edited")
    assert main(["recipe", "copy", "joint/demo", str(target)]) == 2
    assert target.read_text() == "edited"
    assert "exists" in capsys.readouterr().err
    assert main(["recipe", "copy", "joint/demo", str(tmp_path)]) == 0
    assert (tmp_path / "demo.yaml").exists()


def test_recipes_are_short_and_pieces_are_no_recipes():
    """Comments count: a reader sees on one screen what protocol a recipe follows and where it deviates."""
    long = {name: recipe.find_recipe(name).read_text(encoding="utf-8") for name in recipe.recipe_names()}
    assert {name for name, text in long.items() if len(text.splitlines()) > 40} == set()
    assert "trainer/ddp" in long
    assert not {"data/bp4d", "model/ssm", "trainer/standard"} & set(long)
    assert {path.parent.name for path in recipe.recipe_folder().rglob("*.yaml")} >= {
        "data",
        "model",
        "trainer",
    }


def test_every_piece_is_included_somewhere():
    files = [path.read_text(encoding="utf-8") for path in recipe.recipe_folder().rglob("*.yaml")]
    used = {
        name for text in files for line in text.splitlines() if "include" in line for name in names_of(line)
    }
    folder = recipe.recipe_folder()
    all_files = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    assert used == all_files - set(recipe.recipe_names())


def names_of(line):
    return [
        name.strip() for part in line.split("include: [")[1:] for name in part.partition("]")[0].split(",")
    ]


def test_pieces_are_merged_in_order_and_the_own_keys_come_last(tmp_path):
    text = "lr: 3\ninclude: [one.yaml, two.yaml]\nheads: {au: {space: x}}\nsteps: [9]"
    one = "lr: 1\nheads: {au: {space: y, dropout: 0.1}, va: {space: va}}\nsteps: [1, 2]\na: 1.0e-4"
    assert composed(tmp_path, text, one=one, two="lr: 2\na: 2\nb: ${oc.env:HOME}/x") == {
        "lr": 3,
        "heads": {"au": {"space": "x", "dropout": 0.1}, "va": {"space": "va"}},
        "steps": [9],
        "a": 2,
        "b": "${oc.env:HOME}/x",
    }


def test_another_class_replaces_the_piece_with_its_options(tmp_path):
    one = "class_path: A\ninit_args: {x: 1, y: 2}"
    same = "part: {include: [one.yaml], class_path: A, init_args: {x: 3}}"
    other = "part: {include: [one.yaml], class_path: B, init_args: {z: 3}}"
    assert composed(tmp_path, same, one=one) == {"part": {"class_path": "A", "init_args": {"x": 3, "y": 2}}}
    assert composed(tmp_path, other, one=one) == {"part": {"class_path": "B", "init_args": {"z": 3}}}


def test_pieces_go_wherever_a_mapping_is_and_name_files_from_their_own_folder(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "two.yaml").write_text("b: 2")
    text = "list:\n  - {include: [parts/one.yaml], a: 3}\n  - {include: [parts/one.yaml]}"
    others = {"parts/one": "include: [two.yaml]\na: 1"}
    assert composed(tmp_path, text, **others) == {"list": [{"b": 2, "a": 3}, {"b": 2, "a": 1}]}


def test_anchors_of_a_file_are_written_out(tmp_path):
    text = "one: &a {x: 1, y: [2]}\ntwo:\n  <<: *a\n  x: 3\nthree: *a"
    assert composed(tmp_path, text) == {
        "one": {"x": 1, "y": [2]},
        "two": {"x": 3, "y": [2]},
        "three": {"x": 1, "y": [2]},
    }
    text = recipe.as_text(recipe.compose(tmp_path / "main.yaml"))
    assert "&" not in text
    assert "*" not in text


def test_a_shipped_recipe_is_a_piece_of_ones_own(tmp_path):
    found = composed(tmp_path, "include: [au/disfa]\ndata: {init_args: {camera: right}}")
    shipped = content(recipe.as_text(recipe.compose(recipe.find_recipe("au/disfa"))))
    assert shipped["data"]["init_args"].pop("camera") == "left"
    assert found["data"]["init_args"].pop("camera") == "right"
    assert found == shipped


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\ninclude: [nothing]", 2, ("'nothing'", "trainer/standard")),
        ("a: 1\ninclude: one.yaml", 2, ("no list", "include: [trainer/standard]")),
        ("include: [{a: 1}]", 1, ("no list",)),
        ("a:\n  include:\n    - main.yaml", 3, ("'main.yaml' includes itself",)),
        ("include: [list.yaml]", 1, ("'list.yaml' is no mapping",)),
        ("a: 1\nb: [", 2, ("no YAML",)),
        ("a: 1\nb: 2\na: 3", 3, ("'a' is duplicated",)),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, text, line, words):
    with pytest.raises(ConfigError) as caught:
        composed(tmp_path, text, list="- 1")
    assert caught.value.path == tmp_path / "main.yaml"
    assert caught.value.line == line
    assert all(word in str(caught.value) for word in words)


def test_files_that_include_each_other_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'main\.yaml' includes itself") as caught:
        composed(tmp_path, "include: [one.yaml]", one="x: 1\ninclude: [main.yaml]")
    assert (caught.value.path, caught.value.line) == (tmp_path / "one.yaml", 2)


def test_an_option_that_a_piece_misspells_is_named_with_the_pieces_line(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("include: [joint/demo]\ntrainer: {include: [piece.yaml]}")
    (tmp_path / "piece.yaml").write_text("# Mine.\nmax_epoch: 3")
    assert main(["fit", "--config", str(tmp_path / "mine.yaml")]) == 2
    assert f"{tmp_path / 'piece.yaml'}, line 2: There is no option 'max_epoch'" in capsys.readouterr().err
