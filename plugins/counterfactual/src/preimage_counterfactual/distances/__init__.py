"""Distances between rows of features, one family a module."""
