"""Bases of the corpora, by how they are annotated: clips, frames of recordings, short movements, lists of clips."""
