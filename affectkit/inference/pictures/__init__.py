"""Pictures of predictions: overlays and timelines."""
