"""Searches for counterfactual rows, one a module."""
