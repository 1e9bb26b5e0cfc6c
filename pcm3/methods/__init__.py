"""The pretraining methods, each a thin wrapper around the parts."""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.methods.aimclr import AimCLR, AimCLRSettings
from pcm3.methods.autoencoder import AutoEncoder, AutoEncoderSettings
from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.cmd import CMD, CMDSettings
from pcm3.methods.decorrelation import Decorrelation, DecorrelationSettings
from pcm3.methods.displacement import Displacement, DisplacementSettings
from pcm3.methods.latent import LatentPrediction, LatentSettings
from pcm3.methods.mamp import MAMP, MAMPSettings, MAMPViews
from pcm3.methods.ms2l import MS2L, MS2LSettings
from pcm3.methods.pcm3 import PCM3, PCM3Settings, Views
from pcm3.methods.simclr import SimCLR, SimCLRSettings

__all__ = [
    "CMD",
    "MAMP",
    "MS2L",
    "PCM3",
    "AimCLR",
    "AimCLRSettings",
    "AutoEncoder",
    "AutoEncoderSettings",
    "CMDSettings",
    "Decorrelation",
    "DecorrelationSettings",
    "Displacement",
    "DisplacementSettings",
    "LatentPrediction",
    "LatentSettings",
    "MAMPSettings",
    "MAMPViews",
    "MS2LSettings",
    "Method",
    "Output",
    "PCM3Settings",
    "Preset",
    "SimCLR",
    "SimCLRSettings",
    "Views",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
