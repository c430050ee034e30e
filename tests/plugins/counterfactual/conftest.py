"""What the tests of counterfactuals share."""
