"""Brief movements in long videos: where they are, and what a model says of them."""
