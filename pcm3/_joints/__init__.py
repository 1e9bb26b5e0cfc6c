"""What joint names and the tree of a body tell."""
