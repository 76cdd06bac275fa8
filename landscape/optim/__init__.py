"""Optimizers as torch.optim.Optimizer plug-ins, found by name."""
