"""The reference pages of docs/ are what the code says; `python docs/references.py` writes them."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from typer.main import get_command

from doubleroute.cli import app
from doubleroute.config import Project, json_schema, load_project

DOCS = Path(__file__).parent.parent / "docs"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("references", DOCS / "references.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date() -> None:
    stale = [path.name for path, text in script().references().items() if path.read_text("utf-8") != text]
    assert stale == [], "run `python docs/references.py`"


def test_the_example_of_the_page_loads(tmp_path: Path) -> None:
    page = (DOCS / "project-file.md").read_text("utf-8")
    (tmp_path / "project.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert load_project(tmp_path).name == "moods"


def test_every_key_of_the_project_file_says_what_it_means() -> None:
    schema = json.loads(json_schema())
    parts = [schema, *schema["$defs"].values()]
    keys = [(part["title"], name, key) for part in parts for name, key in part.get("properties", {}).items()]
    assert len(keys) > 60
    assert [(title, name) for title, name, key in keys if "description" not in key] == []
    assert all(part["additionalProperties"] is False for part in parts)


def test_the_schema_holds_every_section() -> None:
    assert set(json.loads(json_schema())["properties"]) == set(Project.model_fields)


def test_every_command_takes_project_json_and_debug_and_has_help_on_one_line() -> None:
    page = (DOCS / "command-line.md").read_text("utf-8")
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--project", "--json", "--debug"} <= options, name
        assert f"## doubleroute {name}\n" in page
        assert len(command.help) <= 70
