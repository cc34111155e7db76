"""Measurements of erpsyncd on this machine, each beside a peer in the same run; `make bench` runs them all."""
