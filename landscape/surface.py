"""The loss surface on a plane."""
