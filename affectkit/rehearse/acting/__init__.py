"""Shared parts of the rehearsals."""
