"""Harnesses for what Chronicle is measured beside; each says why it cannot run here when it cannot."""
