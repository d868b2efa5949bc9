"""What a statement loads, seen in a fresh process."""

import json
import subprocess
import sys


def modules_after(statement):
    """The top-level modules that a fresh interpreter, with warnings as errors, holds after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    command = [sys.executable, "-W", "error::DeprecationWarning:affectkit", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(json.loads(done.stdout.splitlines()[-1]))
