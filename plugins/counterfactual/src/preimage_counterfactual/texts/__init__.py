"""Counterfactual texts: the nearest text that is classified otherwise, the nearest prompt that draws otherwise."""
