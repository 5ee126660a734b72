"""What laws are about: how ``dynaclr``'s own parts are made from a case, and how a law is run on them."""

from dynaclr_strategies.subjects import augment, datamodule, fault, loss, sampler, tables, training
from dynaclr_strategies.subjects.base import SUBJECTS, Subject, run_law

__all__ = ["SUBJECTS", "Subject", "augment", "datamodule", "fault", "loss", "run_law", "sampler", "tables", "training"]
