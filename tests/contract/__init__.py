"""The published contract: that it is what the code does, and that every frame is as it was frozen."""
