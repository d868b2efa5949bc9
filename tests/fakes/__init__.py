"""Defects put into rehearsals after they were written, as copies of corpora have them."""
