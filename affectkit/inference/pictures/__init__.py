"""Predictions and models drawn: overlays, timelines, maps, regions."""
