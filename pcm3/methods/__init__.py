"""The methods: thin wrappers over the parts."""

from pcm3.methods.base import Method
from pcm3.methods.mamp import MAMP, MAMPOutput, MAMPViews
from pcm3.methods.pcm3 import PCM3, PCM3Output, Views

__all__ = ["MAMP", "PCM3", "MAMPOutput", "MAMPViews", "Method", "PCM3Output", "Views"]
