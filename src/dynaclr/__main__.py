"""`python -m dynaclr` is the command `dynaclr`."""

import sys

from dynaclr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
