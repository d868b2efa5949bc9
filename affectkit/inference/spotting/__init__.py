"""Brief movements in long videos: their times and predictions."""
