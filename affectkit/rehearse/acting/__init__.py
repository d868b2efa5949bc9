"""Shared parts of the rehearsals: labels drawn to given counts, and people who show them."""
