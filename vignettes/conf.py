"""How the pages of this folder become the site: `make docs`."""

from __future__ import annotations

import os

import causalif

# Notebook kernels inherit these: many small problems, which pools of threads only slow down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

project = "causalif"
author = "causalif developers"
copyright = "2026, causalif developers"
version = release = causalif.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
extensions += ["sphinx-mathjax-offline", "sphinxcontrib.bibtex"]
exclude_patterns = ["_build", "_templates", "conf.py"]
# The first suffix is that of the generated pages of the reference.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".py": "myst-nb"}

# Every page is executed, and an error in a cell is an error of the build.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

templates_path = ["_templates"]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = "causalif"
html_theme_options = {"sidebar_hide_name": False}
html_copy_source = False
