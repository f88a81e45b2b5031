"""The coordinator's procedures: state machines that plan, detect failures and drive every change. No I/O."""
