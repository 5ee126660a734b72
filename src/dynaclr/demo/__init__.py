"""The demo: two small experiments with different channels, made up, trained on and embedded in under two minutes."""

from dynaclr.demo.run import run_demo

__all__ = ["run_demo"]
