"""The command line: wires what the other packages offer."""
