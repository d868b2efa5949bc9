"""What a statement loads, seen in a fresh process, and the tasks of all methods."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path


def modules_after(statement):
    """The top-level modules that a fresh interpreter, with warnings as errors, holds after `statement`."""
    return {name.partition(".")[0] for name in _lines(f"{statement}\n{_PRINT}")[-1]}


def modules_after_each(names):
    """Modules and top-level modules that a fresh interpreter holds after importing each name, by name."""
    lines = _lines("\n".join(f"import {name}\n{_PRINT}" for name in names))
    loaded = ({part for name in line for part in (name, name.partition(".")[0])} for line in lines)
    return dict(zip(names, loaded, strict=True))


_PRINT = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def _lines(code):
    command = [sys.executable, "-W", "error::DeprecationWarning:affectkit", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def method_tasks():
    """The task of each method, by the method's folder."""
    from affectkit import methods

    found = {}
    for path in sorted(Path(methods.__file__).parent.glob("*/task.py")):
        module = import_module(f"affectkit.methods.{path.parent.name}.task")
        (name,) = module.__all__
        found[path.parent.name] = getattr(module, name)
    return found
