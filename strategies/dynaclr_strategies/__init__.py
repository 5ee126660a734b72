"""Property-based tests for the sampling cascade of contrastive learning on time-lapse microscopy."""
