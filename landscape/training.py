"""Train an objective and record the run."""
