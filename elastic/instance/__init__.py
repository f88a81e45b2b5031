"""One operator instance: pure state machines, messages in, commands out."""
