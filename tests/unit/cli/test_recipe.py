import pytest

from affectkit.cli import recipe
from affectkit.cli.main import main
from affectkit.errors import ConfigError


def test_list_names_every_recipe_with_its_first_line(capsys):
    assert main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipe.recipe_names()
    assert "joint/demo" in recipe.recipe_names()
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


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


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"No recipe 'nope'.*joint/demo"):
        recipe.find_recipe("nope")


def test_copy_makes_folders_and_never_overwrites(tmp_path, capsys):
    target = tmp_path / "new" / "mine.yaml"
    assert main(["recipe", "copy", "joint/demo", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == recipe.find_recipe("joint/demo").read_text(encoding="utf-8")
    target.write_text("edited")
    assert main(["recipe", "copy", "joint/demo", str(target)]) == 2
    assert target.read_text() == "edited"
    assert "exists already" in capsys.readouterr().err
    assert main(["recipe", "copy", "joint/demo", str(tmp_path)]) == 0
    assert (tmp_path / "demo.yaml").exists()
