"""The methods: thin wrappers over the parts."""

from pcm3.methods.pcm3 import PCM3, PCM3Output, Views

__all__ = ["PCM3", "PCM3Output", "Views"]
