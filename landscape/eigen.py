"""Extreme eigenpairs of an operator."""
