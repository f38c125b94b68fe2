"""What every system that writes text shares."""
