"""Vision GNN: models, sets of images, training by stages of layers."""

from daskgnn.vision.data.datasets import load_images
from daskgnn.vision.data.images import ArrayPixels, ImageSet, Pixels
from daskgnn.vision.models.neighbors import kneighbors
from daskgnn.vision.models.pixels import PixelViG
from daskgnn.vision.models.published import make_model
from daskgnn.vision.models.vig import PyramidViG, ViG
from daskgnn.vision.run import evaluate, resume, train

__all__ = [
    "ArrayPixels",
    "ImageSet",
    "PixelViG",
    "Pixels",
    "PyramidViG",
    "ViG",
    "evaluate",
    "kneighbors",
    "load_images",
    "make_model",
    "resume",
    "train",
]
