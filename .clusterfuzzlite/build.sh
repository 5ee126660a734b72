#!/bin/bash -eu
exec "$SRC/dynaclr/fuzz/build.sh"
