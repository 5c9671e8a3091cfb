"""Pairwright: from a noisy crawl of image-text pairs to a small training set, a model and an endpoint."""
