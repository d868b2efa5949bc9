"""HTML pages: of a run, and of a clip with its video."""
