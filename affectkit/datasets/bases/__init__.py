"""Base classes of the corpora by kind of annotation: recordings, micro-expressions, listed clips, photographs."""
