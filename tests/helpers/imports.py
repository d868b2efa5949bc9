"""What a statement loads, seen in a fresh process, and the tasks of all methods."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path


def modules_after(statement):
    """The top-level modules that a fresh interpreter, with warnings as errors, holds after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    command = [sys.executable, "-W", "error::DeprecationWarning:affectkit", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(json.loads(done.stdout.splitlines()[-1]))


def method_tasks():
    """The task of each method, by the method's folder."""
    from affectkit import methods

    found = {}
    for path in sorted(Path(methods.__file__).parent.glob("*/task.py")):
        module = import_module(f"affectkit.methods.{path.parent.name}.task")
        (name,) = module.__all__
        found[path.parent.name] = getattr(module, name)
    return found
