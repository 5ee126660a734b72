"""The command `dynaclr`: thin, since what it does lives in the library."""
