"""What each command is asked and does, loaded when it runs: one file per command."""
