"""Whose face, and where: detection, tracking, alignment, and crops as a model expects them."""
