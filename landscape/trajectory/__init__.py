"""Record a training run, and read it back."""
