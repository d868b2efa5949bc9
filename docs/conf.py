"""Sphinx configuration of the documentation site."""

import atexit
import importlib
import inspect
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbclient
from jupyter_cache.executors import utils as executors
from jupyter_client import KernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError

import affectkit
from affectkit.datasets import corpora

project = "affectkit"
author = "The affectkit developers"
copyright = "2026, the affectkit developers"
version = release = affectkit.__version__

extensions = [
    "myst_nb",  # brings myst_parser
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
]
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"affectkit {version}"
html_static_path = ["_static"]
html_css_files = ["tutorials.css", "leaderboard.css"]
html_js_files = ["tables.js"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # `name` in docstrings

# Run the tutorials at every build. A cell that fails, times out or writes to stderr fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds per cell; the slowest takes about twelve
nb_execution_in_temp = True
nb_output_stderr = "remove-warn"

# Kernels find the `affectkit` command, stay offline, print nothing else and write to a temporary folder.
_folder = tempfile.mkdtemp(prefix="affectkit-docs-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_places = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")
os.environ |= {name: str(Path(_folder, name.lower())) for name in _places}
os.environ |= {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # no usage reports by onnxruntime
    "OMP_NUM_THREADS": "1",  # models are tiny
    "TTY_COMPATIBLE": "0",  # no progress bars and colours, which kernels request
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm warns without notebook widgets
}
KernelManager.transport_encryption.default_value = "auto"  # otherwise every kernel warns
logging.getLogger("traitlets").setLevel(logging.WARNING)  # hide log messages of other packages
importlib.import_module("matplotlib.font_manager")  # find the fonts once for all kernels


def _execute(notebook, **options):
    """Run a notebook, print errors and join output streams (nb_merge_streams breaks their lines)."""
    try:
        return nbclient.execute(notebook, coalesce_streams=True, **options)
    except (CellExecutionError, CellTimeoutError) as error:
        print(error, file=sys.stderr)  # Sphinx only names a file with the error
        raise


executors.executenb = _execute


def _list_corpora(app, docname, source):
    """Insert the registered corpora into the pages that list them."""
    if docname == "datasets":
        rows = [
            f"| {{py:class}}`~{cls.__module__}.{cls.__name__}` | {inspect.getdoc(cls).partition(chr(10))[0]} "
            f"| {', '.join(p.name for p in getattr(cls, 'protocols', ())) or '–'} | {cls.licence} |"
            for cls in corpora().values()
        ]
        table = ["| dataset | description | protocols | licence |", "|---|---|---|---|", *rows]
        source[0] = source[0].replace("CORPORA\n", "\n".join(table) + "\n", 1)
    if docname == "api/datasets":
        modules = "".join(f".. automodule:: {cls.__module__}\n" for cls in corpora().values())
        source[0] = source[0].replace("READERS\n", f"```{{eval-rst}}\n{modules}```\n", 1)


def setup(app):
    """List corpora, and rebuild tutorials even if only the code has changed."""
    app.connect("source-read", _list_corpora)
    app.connect(
        "env-get-outdated",
        lambda _app, env, *_: sorted(name for name in env.found_docs if name.startswith("tutorials/")),
    )
