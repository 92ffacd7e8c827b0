"""``python -m workflow_ctl``: the command, by another name."""

from workflow_ctl.app import main

if __name__ == "__main__":
    main()
