"""Contrastive learning on cells in time-lapse microscopy."""
