"""Rendered corpora in the on-disk layouts of real ones, to rehearse with and to test readers against.

Each module writes one corpus, with the quirks of the real one, and returns the truths, which also lie beside it
as `rehearsal.json`. Numbers of rows, people and labels are those published; all else is made up.
"""
