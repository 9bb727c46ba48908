"""What capture costs a real engine: none, over the wire, inside it, in turns. Needs no Django."""
