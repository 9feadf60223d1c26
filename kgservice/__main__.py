"""`python -m kgservice`, which is also how `torchrun -m` starts it."""

from kgservice.cli import main

if __name__ == "__main__":
    main()
