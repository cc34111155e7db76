"""`python -m daemon` is `erpsyncd`."""

from daemon.cli import main

if __name__ == "__main__":
    main()
