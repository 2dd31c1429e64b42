"""What the hardware allows: nothing but the one thing that has to be done."""
